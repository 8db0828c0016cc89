"""Use cases: one for each operation that HTTP, the command line or a host program asks of a running system."""
