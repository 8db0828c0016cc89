"""The tables, statements and stores of each service, for both databases."""
