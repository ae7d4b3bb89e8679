"""What the TPU compiler says of a training step, without a TPU."""
