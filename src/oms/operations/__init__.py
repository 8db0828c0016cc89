"""Everything that looks across services: promises, reconciliation, repair, and the import from the Spring system."""
