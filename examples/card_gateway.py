"""A payment gateway for a card provider with payment intents, as Stripe has them, with a durable table of its own.

The provider forgets idempotency keys after a day; `oms` may repeat a call for as long as it has no answer. So the table
remembers for good which intent belongs to which key, and an intent captures once at most: a charge is "create the
intent, note it, confirm it". A void cancels the intent, or notes that there will be none. A refund is noted before it
is sent, and its answer after that; a refund without an answer is searched for in the provider's list.

The tests are in test_card_gateway.py: the contract `GatewayContract`, against a small stand-in for the provider.
"""

from __future__ import annotations

import http.client
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import attrs

import oms

NO_INTENT = ""
"""The intent of a key that was voided before it had one."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS intents (key TEXT PRIMARY KEY, intent TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS refunds (key TEXT PRIMARY KEY, done INTEGER NOT NULL, declined TEXT);
"""
"""A refund is `done` as soon as its answer is known; `declined` is the provider's reason to refuse it."""


class CardGateway(oms.PaymentGateway, oms.GatewayBook):
    """Charges cards through `url`. `path` is the file of the table; `timeout_s` limits each request, in seconds."""

    def __init__(self, url: str, secret: str, path: Path, *, timeout_s: float = 4.0) -> None:
        self._provider = Provider(url, secret, timeout_s)
        self._path = path
        with self._table() as table:
            table.execute("PRAGMA journal_mode=WAL")
            table.executescript(SCHEMA)

    # -- the port

    def charge(
        self, charge: oms.Charge
    ) -> oms.Captured | oms.Declined | oms.Pending | oms.NotAttempted | oms.Unanswered:
        intent = self._intent(charge.key)
        if intent is None:
            try:
                created = self._provider.create_intent(charge)
            except NotSent as error:
                return oms.NotAttempted(str(error))
            intent = self._note(charge.key, created["id"])  # before it can capture
        if intent == NO_INTENT:
            return oms.Declined("voided")
        try:
            return self._answer(self._provider.confirm(intent))
        except NotSent as error:
            return oms.NotAttempted(str(error))

    def lookup(
        self, lookup: oms.Lookup
    ) -> oms.Captured | oms.Refunded | oms.Declined | oms.UnknownCharge | oms.Pending | oms.Unanswered:
        if lookup.of is oms.LookupOf.REFUND:
            return self._known_refund(lookup.key, lookup.charge_key) or oms.UnknownCharge()
        intent = self._intent(lookup.key)
        if intent is None:
            return oms.UnknownCharge()
        if intent == NO_INTENT:
            return oms.Declined("voided")
        found = self._provider.intent(intent)
        return oms.UnknownCharge() if found["status"] == "requires_confirmation" else self._answer(found)

    def void(self, void: oms.Void) -> oms.Voided | oms.Captured | oms.Pending | oms.Unanswered:
        intent = self._note(void.key, NO_INTENT)
        if intent == NO_INTENT:
            return oms.Voided()
        answer = self._answer(self._provider.cancel(intent))
        return oms.Voided() if isinstance(answer, oms.Declined) else answer

    def refund(self, refund: oms.Refund) -> oms.Refunded | oms.Declined | oms.Unanswered:
        intent = self._intent(refund.charge_key)
        if not intent:
            return oms.Declined("nothing was charged under this key")
        known = self._known_refund(refund.key, refund.charge_key)
        if known is not None:
            return known
        with self._table() as table:  # before it is sent
            table.execute("INSERT OR IGNORE INTO refunds VALUES (?, 0, NULL)", (refund.key,))
        status, body = self._provider.refund(refund, intent)
        return self._note_refund(refund.key, body["error"]["message"] if status == 400 else None)

    # -- the book: the provider's own record, for `oms verify` and `shop.expect(order).paid(...)`

    def all_entries(self) -> Iterator[oms.BookEntry]:
        keys = {}
        for intent in self._provider.all_of("payment_intents"):
            keys[intent["id"]] = intent["metadata"]["key"]
            if intent["status"] == "succeeded":
                yield _entry(keys[intent["id"]], oms.BookKind.CAPTURE, intent["amount"], intent["created"])
        for refund in self._provider.all_of("refunds"):
            key = keys[refund["payment_intent"]]
            entry = _entry(key, oms.BookKind.REFUND, refund["amount"], refund["created"])
            yield attrs.evolve(entry, refund_key=refund["metadata"]["key"])

    # -- inside

    def _answer(self, intent: dict[str, Any]) -> oms.Captured | oms.Declined | oms.Pending | oms.Unanswered:
        match intent["status"]:
            case "succeeded":
                return oms.Captured(intent["id"])
            case "canceled":
                return oms.Declined("canceled")
            case "requires_payment_method":  # declined; another card could still pay: cancel it, and it is final
                return self._answer(self._provider.cancel(intent["id"]))
            case "processing":
                return oms.Pending("processing")
            case other:
                return oms.Unanswered(f"the intent is {other}")

    def _known_refund(self, key: str, charge_key: str | None) -> oms.Refunded | oms.Declined | None:
        """The answer to a refund. If an earlier request had none, the provider's list may still have its refund."""
        with self._table() as table:
            row = table.execute("SELECT done, declined FROM refunds WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        if row[0]:
            return oms.Refunded() if row[1] is None else oms.Declined(row[1])
        made = self._provider.all_of("refunds", payment_intent=self._intent(charge_key or key) or "")
        return self._note_refund(key, None) if any(one["metadata"]["key"] == key for one in made) else None

    def _note_refund(self, key: str, declined: str | None) -> oms.Refunded | oms.Declined:
        with self._table() as table:
            table.execute("UPDATE refunds SET done = 1, declined = ? WHERE key = ? AND done = 0", (declined, key))
        return oms.Refunded() if declined is None else oms.Declined(declined)

    def _intent(self, key: str) -> str | None:
        with self._table() as table:
            row = table.execute("SELECT intent FROM intents WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def _note(self, key: str, intent: str) -> str:
        """Keep the intent of a key, unless it has one; returns the one that counts."""
        with self._table() as table:
            table.execute("INSERT OR IGNORE INTO intents VALUES (?, ?)", (key, intent))
            return str(table.execute("SELECT intent FROM intents WHERE key = ?", (key,)).fetchone()[0])

    @contextmanager
    def _table(self) -> Iterator[sqlite3.Connection]:
        """A connection for one use: calls come from several threads."""
        connection = sqlite3.connect(self._path, timeout=self._provider.timeout_s)
        try:
            with connection:
                yield connection
        finally:
            connection.close()


class NotSent(Exception):
    """The provider surely has nothing of the request: there was no connection to send it on."""


class Provider:
    """The provider's HTTP API. Any error but `NotSent` leaves the outcome of a request unknown."""

    def __init__(self, url: str, secret: str, timeout_s: float) -> None:
        self._address, self._secret, self.timeout_s = urlsplit(url), secret, timeout_s

    def create_intent(self, charge: oms.Charge) -> dict[str, Any]:
        form = {
            "amount": charge.amount.minor,
            "currency": charge.amount.currency.code,
            "customer": charge.user_id,
            "metadata[key]": charge.key,
            "metadata[order]": charge.order_id,
            "payment_method": charge.metadata.get("card", "card_visa"),
        }
        return self._intent("POST", "", form, key=f"create {charge.key}")

    def confirm(self, intent: str) -> dict[str, Any]:
        return self._moved(intent, "confirm")

    def cancel(self, intent: str) -> dict[str, Any]:
        return self._moved(intent, "cancel")

    def intent(self, intent: str) -> dict[str, Any]:
        return self._intent("GET", f"/{intent}")

    def refund(self, refund: oms.Refund, intent: str) -> tuple[int, dict[str, Any]]:
        form = {"payment_intent": intent, "amount": refund.amount.minor, "metadata[key]": refund.key}
        # The refund of a whole charge has the key of its charge; the provider wants another one for another request.
        return self._sent("POST", "/v1/refunds", form, key=f"refund {refund.key}", also=(400,))

    def all_of(self, kind: str, **wanted: str) -> Iterator[dict[str, Any]]:
        more, last = True, ""
        while more:
            query = urlencode({**wanted, "limit": 100, **({"starting_after": last} if last else {})})
            _, page = self._sent("GET", f"/v1/{kind}?{query}")
            yield from page["data"]
            more, last = page["has_more"], page["data"][-1]["id"] if page["data"] else ""

    def _moved(self, intent: str, verb: str) -> dict[str, Any]:
        """The intent after a transition; as it is, where it doesn't allow that (400) or the card is declined (402)."""
        status, body = self._sent("POST", f"/v1/payment_intents/{intent}/{verb}", {}, also=(400, 402))
        return body if status == 200 else self.intent(intent)

    def _intent(self, method: str, path: str, form: dict[str, Any] | None = None, key: str = "") -> dict[str, Any]:
        return self._sent(method, f"/v1/payment_intents{path}", form, key=key)[1]

    def _sent(
        self, method: str, path: str, form: dict[str, Any] | None = None, *, key: str = "", also: tuple[int, ...] = ()
    ) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection(
            self._address.hostname or "", self._address.port, timeout=self.timeout_s
        )  # HTTPSConnection for a real provider
        try:
            try:
                connection.connect()
            except OSError as error:
                raise NotSent(f"no connection: {error}") from error
            headers = {"Authorization": f"Bearer {self._secret}", "Content-Type": "application/x-www-form-urlencoded"}
            if key:
                headers["Idempotency-Key"] = key
            connection.request(method, path, urlencode(form) if form is not None else None, headers)
            response = connection.getresponse()
            body = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200 and response.status not in also:
            raise RuntimeError(
                f"{method} {path}: {response.status}"
            )  # unknown, also for a 4xx: the shop has to correct it
        return response.status, body


def _entry(key: str, kind: oms.BookKind, amount: int, created: float) -> oms.BookEntry:
    return oms.BookEntry(key, kind, amount, datetime.fromtimestamp(created, UTC))


def gateway() -> CardGateway:
    """Made by `OMS_PAYMENT_GATEWAY=card_gateway:gateway`."""
    return CardGateway(os.environ["CARD_URL"], os.environ["CARD_SECRET"], Path(os.environ["CARD_TABLE"]))
