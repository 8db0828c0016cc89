"""The record in SQL: SQLAlchemy Core on SQLite, a file a service, or on PostgreSQL, a schema and a role a service.

`schema` has the tables, `migrations` brings a database there. A service's file (`orders`, `inventory`, ...) has its
transaction and its store on top of what all of them share (`transaction`, `store`); `link` is the only place that
runs statements, `bulk` writes those over many rows once for both databases, `border` is the only one that knows the
drivers' errors. `sqlite` and `postgres` open a database; `logins`, `roles` and `checks` are PostgreSQL's alone.
"""
