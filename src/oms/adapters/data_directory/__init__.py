"""The data directory of an embedded system: its access rights, the consistency of its files, and backups."""
