"""Statements that the stores ask again and again: compiled once a dialect and schema, not looked up for each run.

A run through SQLAlchemy costs 100 us by itself, its cache's key alone 30; a compiled text given to the driver costs
the driver's own 20 to 30.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import attrs
import msgspec
from sqlalchemy import BindParameter, Column, ColumnElement, Dialect, any_, bindparam, func, select
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.selectable import Select
from sqlalchemy.types import Text, TypeEngine, UserDefinedType

from oms.adapters.sql.core.types import Instant, array_text, refuse_zero, to_driver

Convert = Callable[[Any], Any]
Statement = Select[Any] | UpdateBase

_AMONG = "given_keys"
_json = msgspec.json.Encoder().encode


class _Texts(UserDefinedType[str]):
    """An array in its text form; the cast is of the parameter itself, so that the planner sees how many there are."""

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_: Any) -> str:
        return "TEXT[]"


@attrs.frozen(eq=False)
class Query:
    """A SELECT, UPDATE or DELETE, perhaps of the rows whose column `among` is one of the keys that a run is given.

    `once` are the values that a run is given by name: `given(name)` in the statement.
    """

    statement: Statement
    among: Column[Any] | None = None
    once: Mapping[str, Column[Any]] = attrs.field(factory=dict)
    _compiled: dict[tuple[str, str | None], Compiled] = attrs.field(factory=dict, init=False, repr=False)
    """By the dialect's name: each engine has a dialect of its own, and a file of SQLite has three engines."""

    def on(self, dialect: Dialect, schema: str | None) -> Compiled:
        """Its text for a dialect, with tables in this schema."""
        found = self._compiled.get((dialect.name, schema))
        if found is None:
            found = self._compiled[dialect.name, schema] = Compiled.of(self, dialect, schema)
        return found


def given(column: Column[Any], name: str | None = None) -> ColumnElement[Any]:
    """The place of a value that each run is given: by the column's name unless it has one of its own."""
    return place(name or column.name, column.type)


def place(name: str, type_: TypeEngine[Any]) -> BindParameter[Any]:
    """The same for what is no column's."""
    return bindparam(f"given_{name}", type_=type_, required=False)  # a text is compiled before it has values


@attrs.frozen
class Compiled:
    """A text for the driver. `places` are the names of a positional text's values in their order."""

    text: str
    places: tuple[str, ...] | None
    constants: Mapping[str, Any]
    binds: Mapping[str, Convert]
    row: Callable[[Iterable[Any]], Any]
    results: tuple[tuple[int, Convert], ...]
    write_keys: Callable[[Sequence[str]], str]

    @classmethod
    def of(cls, query: Query, dialect: Dialect, schema: str | None) -> Compiled:
        """Compile."""
        statement: Any = query.statement
        on_sqlite = dialect.name == "sqlite"
        if query.among is not None:
            statement = statement.where(_among_json(query.among) if on_sqlite else _among_array(query.among))
        compiled = statement.compile(
            dialect=dialect,
            compile_kwargs={"render_postcompile": True},
            **({"schema_translate_map": {None: schema}, "render_schema_translate": True} if schema else {}),
        )
        columns = list(statement.exported_columns) if _answers(statement) else []
        converters = {f"given_{name}": to_driver(column.type, dialect) for name, column in query.once.items()}
        names = [str(column.key) for column in columns]
        named: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc]
        own = {name: value for name, value in compiled.params.items() if not name.startswith("given_")}
        return cls(
            str(compiled),
            tuple(compiled.positiontup) if on_sqlite else None,
            own,
            {name: convert for name, convert in converters.items() if convert is not None},
            named._make,
            tuple((at, convert) for at, column in enumerate(columns) if (convert := _own_result(column, dialect))),
            _json_text if on_sqlite else array_text,
        )

    def parameters(self, keys: Collection[str] | None, once: Mapping[str, Any]) -> Any:
        """What goes with the text."""
        refuse_zero(once.values())
        values = {**self.constants, **{f"given_{name}": value for name, value in once.items()}}
        if keys is not None:
            values[_AMONG] = self.write_keys(sorted(set(keys)))
        for name, convert in self.binds.items():
            values[name] = convert(values[name])
        return values if self.places is None else [values[name] for name in self.places]

    def rows(self, answer: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The driver's rows, with names and our own types."""
        if not self.results:
            return [self.row(values) for values in answer]
        made = []
        for values in answer:
            changed = list(values)
            for at, convert in self.results:
                changed[at] = convert(changed[at])
            made.append(self.row(changed))
        return made


def _answers(statement: Any) -> bool:
    return isinstance(statement, Select) or bool(statement.exported_columns)


def _among_array(column: Column[Any]) -> ColumnElement[bool]:
    return column == any_(place("keys", _Texts()))


def _among_json(column: Column[Any]) -> ColumnElement[bool]:
    """One text for any number of keys; its limit is that of a text, a thousand million bytes."""
    keys = func.json_each(place("keys", Text())).table_valued("value", name="given_keys_each")
    return column.in_(select(keys.c.value))


def _json_text(keys: Sequence[str]) -> str:
    return _json(keys).decode()


def _own_result(column: ColumnElement[Any], dialect: Dialect) -> Convert | None:
    return column.type.result_processor(dialect, None) if isinstance(column.type, Instant) else None
