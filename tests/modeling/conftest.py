"""Compiles quickly rather than well: the models are tiny."""

import os

# Read once, when XLA is first used.
os.environ.setdefault('XLA_FLAGS', '--xla_backend_optimization_level=0')
