"""Text in, sharded pre-training records out, and the vocabulary between."""
