"""Makes the records of many settled orders by copying those of one order, for measurements of memory.

The copies differ only in their ids. All records are consistent: `oms verify` finds no violation.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zlib import crc32

from oms.adapters.gateways.sqlite_book import SqliteBook
from oms.adapters.wire.names import message_id
from oms.domain.events import BY_TOPIC
from oms.settings import Settings
from oms.testing.shop import Shop

ITEMS = {"apple": 1, "pear": 2}
CHUNK = 2_000

Row = tuple[Any, ...]


def many_orders(directory: Path, count: int) -> Settings:
    """Make an embedded system with `count` confirmed orders in a new directory, and return its settings."""
    settings = Settings(profile="embedded", data=directory)
    with Shop(settings=settings) as shop:
        shop.clock.set(datetime.now(UTC))
        order = shop.place(ITEMS, amount=30, key="key-1")
        shop.run()
        shop.expect(order).confirmed()
    for name in ("order", "inventory", "payment", "notification"):
        with closing(sqlite3.connect(directory / f"{name}.db", isolation_level=None)) as database:
            _copy_tables(database, order.id, count)
    with closing(sqlite3.connect(directory / "broker.db", isolation_level=None)) as database:
        _copy_log(database, order.id, count)
    SqliteBook(directory / "gateway.db").close()
    with closing(sqlite3.connect(directory / "gateway.db", isolation_level=None)) as database:
        at = datetime.now(UTC).isoformat()
        lines = ((f"oms-{_id(number)}", "CAPTURE", 3000, at, "USD") for number in range(count - 1))
        first = ((f"oms-{order.id}", "CAPTURE", 3000, at, "USD"),)
        _insert(
            database, "entries (key, kind, amount, at, currency)", 5, (line for each in (first, lines) for line in each)
        )
    return settings


def _copy_tables(database: sqlite3.Connection, order_id: str, count: int) -> None:
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        rows = [row for row in database.execute(f"SELECT * FROM {table}") if _ids_in(row, order_id)]  # noqa: S608
        if rows:
            made = [_copier(row, order_id) for row in rows]
            copies = (copy(number) for number in range(count - 1) for copy in made)
            _insert(database, table, len(rows[0]), copies)
    if "stock" in tables:
        for sku, units in ITEMS.items():
            more = "UPDATE stock_ledger SET on_hand = on_hand + ? WHERE reference = 'default' AND sku = ?"
            database.execute(more, ((count - 1) * units, sku))


def _copy_log(database: sqlite3.Connection, order_id: str, count: int) -> None:
    (partitions,) = database.execute("SELECT partitions FROM log").fetchone()
    rows = database.execute("SELECT topic, partition, offset, key, headers, value, at FROM records").fetchall()
    made = [_copier(row, order_id) for row in rows]
    ends = Counter({(row[0], row[1]): row[2] + 1 for row in rows})

    def copies() -> Iterator[Row]:
        for number in range(count - 1):
            partition = crc32(_id(number).encode()) % partitions
            for copy in made:
                topic, _, _, *rest = copy(number)
                place = topic, partition
                yield (*place, ends[place], *rest)
                ends[place] += 1

    _insert(database, "records", 7, copies())
    for (topic, partition), end in ends.items():
        database.execute("UPDATE offsets SET next = ? WHERE topic = ? AND partition = ?", (end, topic, partition))


def _insert(database: sqlite3.Connection, table: str, width: int, rows: Iterator[Row]) -> None:
    database.execute("BEGIN")
    database.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * width)})", rows)  # noqa: S608 - the names are constants
    database.execute("COMMIT")


def _id(number: int) -> str:
    return f"00000000-0000-7000-9000-{number:012x}"


def _names(order_id: str) -> Mapping[str, str]:
    """Return the ids of the order and of its messages, by their role."""
    return {"id": order_id, **{topic: message_id(order_id, topic) for topic in BY_TOPIC}}


def _ids_in(row: Sequence[object], order_id: str) -> bool:
    return any(name in _text(value) for value in row for name in _names(order_id).values())


def _copier(row: Row, order_id: str) -> Callable[[int], Row]:
    """Return a function that copies a row for the n-th order."""
    names = _names(order_id)
    by_id = {name: kind for kind, name in names.items()}
    pattern = re.compile("|".join(map(re.escape, by_id)))
    columns: list[tuple[int, list[str], list[str], bool]] = []
    for index, value in enumerate(row):
        text = _text(value)
        kinds = [by_id[name] for name in pattern.findall(text)]
        if kinds:
            columns.append((index, pattern.split(text), kinds, isinstance(value, bytes)))
        elif value == "key-1":
            columns.append((index, ["key-", ""], ["number"], False))

    def copy(number: int) -> Row:
        known: dict[str, str] = {"id": _id(number), "number": str(number + 2)}
        made = list(row)
        for index, parts, kinds, is_bytes in columns:
            text = parts[0]
            for kind, part in zip(kinds, parts[1:], strict=True):
                name = known.get(kind)
                if name is None:
                    name = known[kind] = message_id(known["id"], kind)
                text += name + part
            made[index] = text.encode("latin-1") if is_bytes else text
        return tuple(made)

    return copy


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
