"""HTTP and command line: each turns input into a use case's arguments, and its result into output."""
