"""One folder for each technology. Adapters don't know each other."""
