"""A SavedModel behind real gRPC calls, compared and timed."""
