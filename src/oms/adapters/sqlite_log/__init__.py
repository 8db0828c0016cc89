"""A durable log in one SQLite file: the broker of a system that runs in one process."""
