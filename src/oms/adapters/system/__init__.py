"""The host: its clock, names, threads for outside calls, and bells that wake the workers."""
