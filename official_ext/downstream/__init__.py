"""Fine-tuning: GLUE and SQuAD."""
