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
from oms.domain.commands import RefundOrder, ShipOrder
from oms.domain.events import BY_TOPIC
from oms.settings import Settings
from oms.testing.shop import Shop

ITEMS = {"apple": 1, "pear": 2}
RETURNED = {"pear": 1}
CHUNK = 2_000

Row = tuple[Any, ...]


def many_orders(directory: Path, count: int, *, shipped: bool = False) -> Settings:
    """Make an embedded system with `count` confirmed orders in a new directory, and return its settings.

    With `shipped`, each is shipped, and one pear comes back.
    """
    settings = Settings(profile="embedded", data=directory)
    with Shop(settings=settings) as shop:
        shop.clock.set(datetime.now(UTC))
        order = shop.place(ITEMS, amount=30, key="key-1")
        shop.run()
        shop.expect(order).confirmed()
        parts = _shipped(shop, order.id) if shipped else ()
    names = (*BY_TOPIC, *parts)
    for name in ("order", "inventory", "payment", "notification"):
        with closing(sqlite3.connect(directory / f"{name}.db", isolation_level=None)) as database:
            _copy_tables(database, order.id, names, count)
            if name == "inventory":
                _stock_up(database, count, returned=shipped)
    with closing(sqlite3.connect(directory / "broker.db", isolation_level=None)) as database:
        _copy_log(database, order.id, names, count)
    SqliteBook(directory / "gateway.db").close()
    with closing(sqlite3.connect(directory / "gateway.db", isolation_level=None)) as database:
        ids = (order.id, *(_id(number) for number in range(count - 1)))
        lines = (line for order_id in ids for line in _book_lines(order_id, refunded=shipped))
        _insert(database, "entries (key, kind, amount, at, currency)", 5, lines)
    return settings


def _shipped(shop: Shop, order_id: str) -> Sequence[str]:
    """Ship the order and take one pear back; return the names of the messages about its parts."""
    shop.app.orders.ship(ShipOrder.of(order_id))
    shop.run()
    shop.app.orders.refund(RefundOrder.of(order_id, "RETURN", "too many", items=RETURNED, amount=5, restock=True))
    shop.run()
    (order,) = shop.evidence.order.all_orders()
    (payment,) = shop.evidence.payment.all_payments()
    return [f"{event.topic}/{event.part}" for event in (*order.part_events(), *payment.part_events())]


def _book_lines(order_id: str, *, refunded: bool) -> Iterator[Row]:
    at = datetime.now(UTC).isoformat()
    yield f"oms-{order_id}", "CAPTURE", 3000, at, "USD"
    if refunded:
        yield f"oms-{order_id}", "REFUND", 500, at, "USD"


def _stock_up(database: sqlite3.Connection, count: int, *, returned: bool) -> None:
    """Give the products the units that the copied orders have taken."""
    for sku, units in ITEMS.items():
        taken = units - (RETURNED.get(sku, 0) if returned else 0)
        more = "UPDATE stock_ledger SET on_hand = on_hand + ? WHERE reference = 'default' AND sku = ?"
        database.execute(more, ((count - 1) * taken, sku))


def _copy_tables(database: sqlite3.Connection, order_id: str, names: Sequence[str], count: int) -> None:
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        rows = [row for row in database.execute(f"SELECT * FROM {table}") if _ids_in(row, order_id, names)]  # noqa: S608
        if rows:
            made = [_copier(row, order_id, names) for row in rows]
            copies = (copy(number) for number in range(count - 1) for copy in made)
            _insert(database, table, len(rows[0]), copies)


def _copy_log(database: sqlite3.Connection, order_id: str, names: Sequence[str], count: int) -> None:
    (partitions,) = database.execute("SELECT partitions FROM log").fetchone()
    rows = database.execute("SELECT topic, partition, offset, key, headers, value, at FROM records").fetchall()
    made = [_copier(row, order_id, names) for row in rows]
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


def _ids(order_id: str, names: Sequence[str]) -> Mapping[str, str]:
    """Return the ids of the order and of its messages, by their role: topic, or topic and part."""
    return {"id": order_id, **{name: message_id(order_id, name) for name in names}}


def _ids_in(row: Sequence[object], order_id: str, names: Sequence[str]) -> bool:
    return any(name in _text(value) for value in row for name in _ids(order_id, names).values())


def _copier(row: Row, order_id: str, names: Sequence[str]) -> Callable[[int], Row]:
    """Return a function that copies a row for the n-th order."""
    by_id = {name: kind for kind, name in _ids(order_id, names).items()}
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
