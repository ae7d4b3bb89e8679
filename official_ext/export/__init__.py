"""Trained models as SavedModels for serving."""

# Here, so that the command can show them without importing TensorFlow.
SIGNATURES = ('serving_default', 'token_ids', 'embed')
# Fillings that `serving_default` offers for a mask, if not told otherwise.
TOP_K = 5
