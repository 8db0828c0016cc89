"""The shop: the handlers of the four services, the stock gate, users' own steps, and the use cases."""
