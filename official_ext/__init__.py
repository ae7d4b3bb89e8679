"""Progressive pre-training for TensorFlow Model Garden."""
