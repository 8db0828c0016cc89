"""The host: its clock, names and threads for outside calls."""
