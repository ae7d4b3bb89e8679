"""What a run costs and how it went: FLOPs, and the report."""
