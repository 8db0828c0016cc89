"""What a caller can do with a system, one entry point for each use case."""
