"""Migrations of both databases; setup and checks of a PostgreSQL server."""
