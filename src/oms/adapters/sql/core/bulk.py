"""Statements that run for many rows at once.

SQLite runs one for each row, without a round trip between them. PostgreSQL is given the columns as arrays and runs a
single statement over `unnest`: one round trip, one plan, no prepared statement, and an exact count of rows. The
arrays are written by us (`arrays.py`) and cast in the statement.

500 outbox rows took PostgreSQL 8 ms this way, 21 ms with the driver's executemany, and 7 ms with COPY, which knows
neither ON CONFLICT nor RETURNING. On SQLite, SQLAlchemy's own executemany spends more on named parameters (8 us a row)
than SQLite on the row itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs
from sqlalchemy import (
    Column,
    ColumnElement,
    Dialect,
    String,
    Table,
    Text,
    bindparam,
    column,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from oms.adapters.sql.core.types import Instant, array_text, bounds_of, refuse_zero, to_driver

Row = tuple[Any, ...]
Columns = Mapping[str, Column[Any]]
Values = Mapping[str, ColumnElement[Any]]


class Given:
    """The values of one row, as the expressions of a statement: `given.sku`, and `given.into(table)`."""

    def __init__(self, values: Values, insert: Callable[[Table, Values], Any]) -> None:
        self._values, self._insert = values, insert

    def __getattr__(self, name: str) -> ColumnElement[Any]:
        return self._values[name]

    def all_of(self, names: Iterable[str]) -> dict[str, ColumnElement[Any]]:
        """These values by name."""
        return {name: self._values[name] for name in names}

    def into(self, table: Table, **instead: ColumnElement[Any]) -> Any:
        """An INSERT of the values that are named as the table's columns; it knows ON CONFLICT."""
        return self._insert(table, {name: value for name, value in self._values.items() if name in table.c} | instead)


@attrs.frozen
class Bulk:
    """A statement and what is given to it; compiled once a dialect and schema.

    `each` names what every row has, in the order of its tuple, and the column whose type it has; `once` what is the
    same for all rows. The first `key` values of a row are its name: rows are written in the order of these, so that
    two transactions never wait for each other crosswise.
    """

    statement: Callable[[Given], UpdateBase] = attrs.field(eq=False)
    each: Columns
    once: Columns = attrs.field(factory=dict)
    key: int = 1
    _compiled: dict[tuple[str, str | None], _Each | _Together] = attrs.field(
        factory=dict, init=False, repr=False, eq=False
    )

    def on(self, dialect: Dialect, schema: str | None, rows: Iterable[Row], once: Mapping[str, Any]) -> tuple[str, Any]:
        """The text and the parameters for the driver: a list of tuples (run it for each), or one mapping."""
        compiled = self._compiled.get((dialect.name, schema))
        if compiled is None:
            kind = _Together if dialect.name == "postgresql" else _Each
            compiled = self._compiled[dialect.name, schema] = kind.of(self, dialect, schema)
        columns: list[Sequence[Any]] = list(zip(*sorted(rows, key=lambda row: row[: self.key]), strict=True))
        return compiled.text, compiled.parameters(columns, [once[name] for name in self.once])


def stamp(at: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """A given time, or where that is NULL the server's own at the beginning of the transaction."""
    return func.coalesce(at, _ServerTime())


class _ServerTime(FunctionElement[datetime]):
    """The time of a server; SQLite is none, and is always given one."""

    inherit_cache = True
    type = Instant()


@compiles(_ServerTime, "postgresql")
def _server_time(_element: object, _compiler: object, **_: object) -> str:
    return "now()"


@compiles(_ServerTime, "sqlite")
def _no_time(_element: object, _compiler: object, **_: object) -> str:
    return "NULL"


def of(table: Table, *names: str) -> dict[str, Column[Any]]:
    """Columns of a table by name; all of them where none is named."""
    return {name: table.c[name] for name in names or table.c.keys()}


def _place(name: str) -> str:
    # SQLAlchemy keeps the columns' own names for itself.
    return f"given_{name}"


@attrs.frozen
class _Each:
    """For SQLite: `places` says which of the values each `?` is; `constants` are of the statement's own."""

    text: str
    places: tuple[int, ...]
    constants: tuple[Any, ...]
    converters: tuple[tuple[int, Callable[[Any], Any]], ...]
    checks: tuple[tuple[int, Callable[[Sequence[Any]], None]], ...]
    """What PostgreSQL's columns refuse and SQLite's don't."""

    @classmethod
    def of(cls, bulk: Bulk, dialect: Dialect, schema: str | None) -> _Each:  # noqa: ARG003 - a file has no schemas
        given = {**bulk.each, **bulk.once}
        names = tuple(map(_place, given))
        values = {name: bindparam(_place(name), type_=column_.type) for name, column_ in given.items()}
        statement: Any = bulk.statement(Given(values, _row_into))
        compiled = statement.compile(dialect=dialect)
        own = tuple(name for name in compiled.positiontup if name not in names)
        known = names + own
        return cls(
            str(compiled),
            tuple(known.index(name) for name in compiled.positiontup),
            tuple(compiled.binds[name].effective_value for name in own),
            tuple(
                (place, convert)
                for place, column_ in enumerate(given.values())
                if (convert := to_driver(column_.type, dialect)) is not None
            ),
            tuple(
                (place, check)
                for place, column_ in enumerate(given.values())
                if (check := bounds_of(column_.type)) is not None
            ),
        )

    def parameters(self, columns: list[Sequence[Any]], once: Sequence[Any]) -> list[Row]:
        size = len(columns[0])
        each = len(columns)
        for place, check in self.checks:
            check(columns[place] if place < each else (once[place - each],))
        columns = [*columns, *([value] * size for value in (*once, *self.constants))]
        for place, convert in self.converters:
            known = {value: convert(value) for value in set(columns[place])}  # a batch has few times
            columns[place] = [known[value] for value in columns[place]]
        return list(zip(*(columns[place] for place in self.places), strict=True))


def _row_into(table: Table, values: Values) -> Any:
    return sqlite.insert(table).values(values)


@attrs.frozen
class _Together:
    """For PostgreSQL: an array for each column."""

    text: str
    arrays: tuple[str, ...]
    scalars: tuple[str, ...]
    constants: Mapping[str, Any]

    @classmethod
    def of(cls, bulk: Bulk, dialect: Dialect, schema: str | None) -> _Together:
        types = {name: _wide(column_) for name, column_ in bulk.each.items()}
        arrays = (bindparam(_place(name), type_=postgresql.ARRAY(type_)) for name, type_ in types.items())
        rows = func.unnest(*arrays).table_valued(*(column(name, type_) for name, type_ in types.items()), name="given")
        rows = rows.render_derived()
        values = {name: rows.c[name] for name in types}
        values |= {name: bindparam(_place(name), type_=_wide(column_)) for name, column_ in bulk.once.items()}
        statement: Any = bulk.statement(Given(values, _rows_into))
        compiled = statement.compile(
            dialect=dialect, schema_translate_map={None: schema}, render_schema_translate=schema is not None
        )
        names = tuple(map(_place, types)), tuple(map(_place, bulk.once))
        own = {name: value for name, value in compiled.params.items() if name not in (*names[0], *names[1])}
        return cls(str(compiled), *names, own)

    def parameters(self, columns: list[Sequence[Any]], once: Sequence[Any]) -> dict[str, Any]:
        refuse_zero(once)
        arrays = dict(zip(self.arrays, map(array_text, columns), strict=True))
        return {**self.constants, **arrays, **dict(zip(self.scalars, once, strict=True))}


def _wide(column_: Column[Any]) -> TypeEngine[Any]:
    # A cast to varchar(n) would cut what is too long; as it is, the column refuses it.
    return Text() if isinstance(column_.type, String) else column_.type


def _rows_into(table: Table, values: Values) -> Any:
    return postgresql.insert(table).from_select(list(values), select(*values.values()))
