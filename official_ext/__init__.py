"""Progressive pre-training for TensorFlow Model Garden: models grow while they train."""
