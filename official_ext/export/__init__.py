"""Trained models as SavedModels for serving."""

# Here, so that the command can show them without importing TensorFlow.
SIGNATURES = {
    # With a masked-language-model head, and without one.
    'bert': ('serving_default', 'token_ids', 'embed', 'embed_token_ids'),
    'encoder': ('serving_default', 'embed', 'embed_token_ids'),
    'gpt': ('next_token_logits', 'next_token', 'generate'),
    # Fine-tuned.
    'classification': ('serving_default', 'token_ids'),
    'regression': ('serving_default', 'token_ids'),
    'question_answering': ('serving_default', 'token_ids'),
}
# Fillings that `serving_default` offers for a mask, and pieces that
# `next_token` offers, if not told otherwise.
TOP_K = 5
# What the text signatures of a BERT do with rows of different lengths.
PADDINGS = ('none', 'buckets')
