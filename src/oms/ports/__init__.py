"""What the core asks of the world: one Protocol for each place where I/O, time or chance crosses."""
