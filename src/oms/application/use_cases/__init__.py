"""The use cases of a running system, for HTTP, the command line and host programs."""
