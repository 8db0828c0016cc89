"""Statements that run often: compiled once for each dialect and schema.

Running a statement through SQLAlchemy costs 100 us by itself, 30 of them for its cache key. A compiled text costs only
the driver's own 20 to 30 us.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs
import msgspec
from sqlalchemy import BindParameter, Column, ColumnElement, Dialect, Table, any_, bindparam, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import Select
from sqlalchemy.types import Text, TypeEngine, UserDefinedType

from oms.adapters.sql.core.types import Instant, array_text, from_driver, refuse_zero, to_driver

Convert = Callable[[Any], Any]
Columns = Mapping[str, Column[Any]]

_PREFIX = "given_"  # SQLAlchemy keeps the columns' own names for itself
_KEYS = "keys"
_json = msgspec.json.Encoder().encode


def columns_of(table: Table, *names: str) -> dict[str, Column[Any]]:
    """Columns of a table by name; all of them if none is named."""
    return {name: table.c[name] for name in names or table.c.keys()}


def parameter(column: Column[Any], name: str | None = None) -> ColumnElement[Any]:
    """A value that each run of a statement supplies, by the column's name or by `name`."""
    return typed_parameter(name or column.name, column.type)


def typed_parameter(name: str, type_: TypeEngine[Any]) -> BindParameter[Any]:
    """A value that each run of a statement supplies by name, of a type that no column has."""
    return bindparam(parameter_name(name), type_=type_, required=False)  # a statement is compiled before it has values


def parameter_name(name: str) -> str:
    """Return the name of a parameter in the compiled text."""
    return _PREFIX + name


def or_server_time(at: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """A given time, or if it is NULL the server's time at the beginning of the transaction."""
    return func.coalesce(at, _ServerTime())


class _ServerTime(FunctionElement[datetime]):
    """The server's time. NULL on SQLite, where every statement is given a time."""

    inherit_cache = True
    type = Instant()


@compiles(_ServerTime, "postgresql")
def _server_time(_element: object, _compiler: object, **_: object) -> str:
    return "now()"


@compiles(_ServerTime, "sqlite")
def _no_server_time(_element: object, _compiler: object, **_: object) -> str:
    return "NULL"


@attrs.frozen(eq=False)
class Statement:
    """A SELECT, UPDATE or DELETE; with `among`, of the rows that have one of a run's keys in this column.

    `parameters` are the values of a run by name, with the column whose type each has (`parameter` in the statement).
    """

    sql: Select[Any] | UpdateBase
    among: Column[Any] | None = None
    parameters: Columns = attrs.field(factory=dict)
    _compiled: dict[tuple[str, str | None], CompiledStatement] = attrs.field(factory=dict, init=False, repr=False)
    """By the dialect's name: each engine has a dialect object of its own, and a SQLite file has three engines."""

    def compiled(self, dialect: Dialect, schema: str | None) -> CompiledStatement:
        """Return the statement for a dialect and for tables in this schema."""
        found = self._compiled.get((dialect.name, schema))
        if found is None:
            found = self._compiled[dialect.name, schema] = CompiledStatement.of(self, dialect, schema)
        return found


@attrs.frozen
class CompiledStatement:
    """A text for the driver. `positions` are the names of the values of a text with positional parameters."""

    text: str
    positions: tuple[str, ...] | None
    constants: Mapping[str, Any]
    converters: Mapping[str, Convert]
    row: Callable[[Iterable[Any]], Any]
    result_converters: tuple[tuple[int, Convert], ...]
    write_keys: Callable[[Sequence[str]], str]

    @classmethod
    def of(cls, statement: Statement, dialect: Dialect, schema: str | None) -> CompiledStatement:
        """Compile."""
        on_sqlite = dialect.name == "sqlite"
        compiled = _compile(_among_keys(statement, on_sqlite=on_sqlite), dialect, schema)
        columns = _result_columns(statement.sql)
        converters = {parameter_name(name): to_driver(at.type, dialect) for name, at in statement.parameters.items()}
        result_converters = [(at, from_driver(column.type, dialect)) for at, column in enumerate(columns)]
        return cls(
            text=str(compiled),
            positions=tuple(compiled.positiontup) if on_sqlite else None,
            constants={name: value for name, value in compiled.params.items() if not name.startswith(_PREFIX)},
            converters={name: convert for name, convert in converters.items() if convert is not None},
            row=_row_type(columns),
            result_converters=tuple((at, convert) for at, convert in result_converters if convert is not None),
            write_keys=_json_text if on_sqlite else array_text,
        )

    def parameters(self, keys: Collection[str] | None, values: Mapping[str, Any]) -> Any:
        """Return the parameters of a run for the driver."""
        refuse_zero(values.values())
        named = {**self.constants, **{parameter_name(name): value for name, value in values.items()}}
        if keys is not None:
            named[parameter_name(_KEYS)] = self.write_keys(sorted(set(keys)))
        for name, convert in self.converters.items():
            named[name] = convert(named[name])
        return named if self.positions is None else [named[name] for name in self.positions]

    def rows(self, results: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the driver's rows as named tuples with converted values."""
        if not self.result_converters:
            return [self.row(values) for values in results]
        rows = []
        for values in results:
            converted = list(values)
            for at, convert in self.result_converters:
                converted[at] = convert(converted[at])
            rows.append(self.row(converted))
        return rows


def _compile(statement: Any, dialect: Dialect, schema: str | None) -> Any:
    return statement.compile(
        dialect=dialect,
        compile_kwargs={"render_postcompile": True},
        **({"schema_translate_map": {None: schema}, "render_schema_translate": True} if schema else {}),
    )


def _result_columns(statement: Any) -> list[ColumnElement[Any]]:
    """The columns of a SELECT or of a RETURNING; none for a statement without rows."""
    return list(statement.exported_columns) if isinstance(statement, Select) or statement.exported_columns else []


def _row_type(columns: Sequence[ColumnElement[Any]]) -> Callable[[Iterable[Any]], Any]:
    named: Any = namedtuple("Row", [str(column.key) for column in columns], rename=True)  # type: ignore[misc]
    make: Callable[[Iterable[Any]], Any] = named._make
    return make


# -- any number of keys as one parameter


class _TextArray(UserDefinedType[str]):
    """An array in its text form; the cast is of the parameter itself, so that the planner sees how many keys it has."""

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_: Any) -> str:
        return "TEXT[]"


def _among_keys(statement: Statement, *, on_sqlite: bool) -> Any:
    sql: Any = statement.sql
    if statement.among is None:
        return sql
    return sql.where(_in_json(statement.among) if on_sqlite else statement.among == _any_of_array())


def _any_of_array() -> ColumnElement[Any]:
    return any_(typed_parameter(_KEYS, _TextArray()))


def _in_json(column: Column[Any]) -> ColumnElement[bool]:
    """One JSON text for all keys: SQLite limits the number of parameters, but a text to a thousand million bytes."""
    keys = func.json_each(typed_parameter(_KEYS, Text())).table_valued("value", name="given_keys_each")
    return column.in_(select(keys.c.value))


def _json_text(keys: Sequence[str]) -> str:
    return _json(keys).decode()
