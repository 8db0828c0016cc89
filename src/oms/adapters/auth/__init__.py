"""Who callers are."""
