"""Adapters to the host: clock, ids and temporary files."""
