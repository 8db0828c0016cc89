"""A user's own steps: consumer groups with the same inbox, retries, dead letters and outbox as the four services."""
