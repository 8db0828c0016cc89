"""The base of every SQL store: connections, statements, column types and the translation of driver errors."""
