"""The record in SQL: SQLAlchemy Core on SQLite, one database a service. PostgreSQL differs by dialect alone."""
