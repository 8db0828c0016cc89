"""Outside to command, result to outside: HTTP, command line, runner."""
