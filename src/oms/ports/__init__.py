"""The core's interfaces to the outside: one Protocol for each place where I/O, time or chance crosses the boundary."""
