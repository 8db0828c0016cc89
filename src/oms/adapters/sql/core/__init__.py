"""What every SQL store is built on: connections, statements, column types and the translation of driver errors."""
