"""SQLite: one file for each service."""
