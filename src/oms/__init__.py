"""Orders that settle exactly once."""
