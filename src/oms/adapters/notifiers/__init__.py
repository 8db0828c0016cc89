"""Who tells the customer."""
