"""Trained models as SavedModels for serving."""
