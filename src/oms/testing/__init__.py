"""The harness for a user's own tests."""
