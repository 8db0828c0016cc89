"""The currency of a store is that of its first start: another one is refused, in every way of opening it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from sqlalchemy import create_engine, text

import oms
from oms.adapters.gateways.simulated import SimulatedGateway
from oms.adapters.gateways.sqlite_book import SqliteBook
from oms.adapters.memory.clock import CountedIds, ManualClock
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.adapters.sql import factory
from oms.adapters.sql.provisioning.migrate import migrate
from oms.adapters.sql.sqlite.database import sqlite_database
from oms.adapters.system.clock import SystemClock
from oms.bootstrap.operators import reconcile
from oms.operations.promises import check
from oms.ports.evidence import BookEntry, BookKind
from oms.testing import Shop

KINDS = ("order", "inventory", "payment", "notification", "step-mine")


def create(directory: Path, currency: str, **given: Any) -> oms.App:
    app = oms.create(profile="embedded", environ={}, data=directory, currency=currency, log_level="error", **given)
    app.subscribe("order.confirmed", group="mine", handler=lambda _event, _step: None)
    return app


def placed(directory: Path) -> oms.App:
    app = create(directory, "USD")
    app.orders.place(app.draft("ann", "19.80", {"x": 1}))
    app.stop()
    return app


def test_a_system_of_another_currency_does_not_start(tmp_path: Path) -> None:
    placed(tmp_path)
    app = create(tmp_path, "EUR")
    for use in (app.start, app.run, lambda: app.orders, lambda: app.stock):
        with pytest.raises(oms.SettingsError, match=r"OMS_CURRENCY: it is EUR, .* order store are in USD"):
            use()
    again = create(tmp_path, "USD")
    assert again.orders.page().total == 1
    again.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_each_store_knows_its_currency(tmp_path: Path, kind: str) -> None:
    placed(tmp_path)
    with create_engine(f"sqlite:///{tmp_path / kind}.db").begin() as connection:
        connection.execute(text("UPDATE pinned SET value = 'JPY' WHERE name = 'currency'"))
    name = kind.removeprefix("step-")
    with pytest.raises(oms.SettingsError, match=f"the {name} store are in JPY"):
        create(tmp_path, "USD").run()


@pytest.mark.parametrize("look", [oms.verify, reconcile])
def test_commands_that_only_look_refuse_another_currency(tmp_path: Path, look: Any) -> None:
    app = placed(tmp_path)
    look(app.settings)
    with pytest.raises(oms.SettingsError, match="it is EUR"):
        look(attrs.evolve(app.settings, currency="EUR"))


def test_the_first_start_says_so_once(tmp_path: Path) -> None:
    for expected in (5, 0):
        telemetry = RecordingTelemetry()
        app = create(tmp_path, "USD", telemetry=telemetry)
        app.run()
        app.stop()
        assert sum(note.event == "currency pinned" for note in telemetry.notes) == expected


def test_who_only_looks_at_a_new_store_leaves_it_as_it_is(tmp_path: Path) -> None:
    app = create(tmp_path, "USD")
    assert app.system.order.service.store.currency() is None  # type: ignore[attr-defined]
    app.stop()


_NOTIFICATION = """
    notifications (id, order_id, kind, user_id, total_minor, currency, metadata)
    VALUES ('n', 'o', 'order.confirmed', 'u', 1, 'EUR', '{}')
"""
ROWS = {
    "order": ("order_0004", "orders (id, state, version, early, currency) VALUES ('o', 'CREATED', 1, '', 'EUR')"),
    "payment": ("payment_0003", "payments (order_id, state, metadata, currency) VALUES ('o', 'CAPTURED', '{}', 'EUR')"),
    "notification": ("notification_0002", _NOTIFICATION),
}


@pytest.mark.parametrize("kind", ROWS)
def test_a_store_from_before_has_the_currency_of_its_rows(tmp_path: Path, kind: str) -> None:
    revision, row = ROWS[kind]
    path = tmp_path / f"{kind}.db"
    database = sqlite_database(path, ManualClock())
    migrate(database, kind, revision)
    database.close()
    with create_engine(f"sqlite:///{path}").begin() as connection:
        connection.execute(text(f"INSERT INTO {row}"))
    store = factory.sqlite_store(kind, path, ManualClock(), CountedIds())
    assert store.currency() == "EUR"
    store.close()


class OtherBook:
    """A gateway's book in its own currency, or without the currency's name."""

    def __init__(self, entries: Iterable[BookEntry], currency: str | None) -> None:
        self._entries, self._currency = list(entries), currency

    def all_entries(self) -> Iterable[BookEntry]:
        return [attrs.evolve(entry, currency=self._currency) for entry in self._entries]


@pytest.mark.parametrize("profile", ["memory", "embedded"])
def test_the_simulated_gateway_names_currencies(profile: str, tmp_path: Path) -> None:
    shop = Shop(settings=oms.Settings(profile=profile, data=tmp_path, currency="EUR"), gateway=_simulated(tmp_path))
    shop.cancel(_confirmed(shop), by_operator=True)
    shop.run()
    entries = list(shop.evidence.book.all_entries())  # type: ignore[union-attr]
    assert [(entry.kind, entry.currency) for entry in entries] == [(BookKind.CAPTURE, "EUR"), (BookKind.REFUND, "EUR")]
    assert [entry.refund_key for entry in entries] == [None, entries[0].key]
    shop.close()


def test_a_book_from_before_names_none(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    with create_engine(f"sqlite:///{path}").begin() as connection:
        connection.execute(text("CREATE TABLE entries (number INTEGER PRIMARY KEY, key, kind, amount, at)"))
        connection.execute(text("INSERT INTO entries VALUES (1, 'k', 'CAPTURE', 5, '2026-01-01T00:00:00+00:00')"))
    for _ in range(2):
        assert [(one.currency, one.refund_key) for one in SqliteBook.read_only(path).all_entries()] == [(None, None)]
        SqliteBook(path).close()


def _simulated(directory: Path) -> SimulatedGateway:
    return SimulatedGateway(SqliteBook(directory / "book.db"), SystemClock(), success_rate=1.0)


def _confirmed(shop: Shop) -> oms.Order:
    order = shop.place()
    shop.run()
    return shop.app.orders.get(order.id)


@pytest.mark.parametrize(("currency", "broken"), [("EUR", True), ("USD", False), (None, False)])
def test_money_of_another_currency_breaks_p4(currency: str | None, broken: bool) -> None:
    shop = Shop()
    order = shop.place()
    shop.run()
    book = OtherBook(shop.evidence.book.all_entries(), currency)  # type: ignore[union-attr]
    evidence = attrs.evolve(shop.evidence, book=book)
    report = check(evidence, shop.codec, now=datetime.now(UTC), deadline_s=900, settle_s=60)
    found = [(one.promise, one.subject) for one in report.violations]
    assert found == ([("P4", order.id)] if broken else [])
    assert {entry.kind for entry in book.all_entries()} == {BookKind.CAPTURE}
    shop.close()


def test_an_order_in_another_currency_is_refused() -> None:
    app = oms.create(profile="memory", environ={}, currency="USD")
    command = oms.PlaceOrder.of("ann", oms.Money.of(5, oms.Currency.of("EUR")), {"x": 1})
    with pytest.raises(oms.InvalidValue) as refused:
        app.orders.place(command)
    assert refused.value.code == "invalid_currency"
    app.stop()
