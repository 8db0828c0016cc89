"""The ports of the stores: `rows` and `store` for every service, and a module for the tables of each service."""
