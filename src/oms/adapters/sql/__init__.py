"""The record in SQL: SQLAlchemy Core on SQLite, one database a service. PostgreSQL differs by dialect alone.

`schema` has the tables, `migrations` brings a database there. A service's file (`orders`, `inventory`, ...) has its
transaction and its store on top of what all of them share (`transaction`, `store`); `link` is the only place that
runs statements, `border` the only one that knows the driver's errors, `sqlite` the only one that knows SQLite.
"""
