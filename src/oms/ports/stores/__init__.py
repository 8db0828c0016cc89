"""The stores: what every store has (rows, transaction, store), and one module for each service's own."""
