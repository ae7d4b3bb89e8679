"""Trained models as SavedModels for serving."""

# Here, so that the command can show them without importing TensorFlow.
SIGNATURES = {
    'bert': ('serving_default', 'token_ids', 'embed'),
    'gpt': ('next_token_logits', 'next_token', 'generate'),
}
# Fillings that `serving_default` offers for a mask, and pieces that
# `next_token` offers, if not told otherwise.
TOP_K = 5
