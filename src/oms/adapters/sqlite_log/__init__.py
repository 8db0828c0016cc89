"""The broker of the embedded profile: a durable log in one SQLite file, for one process."""
