"""SQL stores with SQLAlchemy Core: on SQLite one file for each service, on PostgreSQL one schema and role for each.

- `factory` opens a store and is what the rest of `oms` uses, with `provisioning`.
- `stores` has the tables of each service, its statements, its transaction and its store.
- `core` runs statements on a connection; it compiles each statement once, and translates driver errors.
- `postgres` and `sqlite` open a database.
- `provisioning` migrates (`migrations` has the scripts), and sets up and checks a PostgreSQL server.
"""
