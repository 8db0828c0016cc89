"""alembic's scripts: one folder of versions for each kind of store."""
