"""Orders that are placed, shipped and partly refunded over HTTP, without an end, by clients that repeat lost requests."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from http.client import HTTPException
from queue import Empty, Queue
from typing import Any

import attrs

from tests.support.cluster import request

PRODUCTS = 12
UNITS, PRICE, SHIPPING = 3, 59.97, 4.90
TOTAL_CENTS = 6487
REFUSED, LOST = "refused", "answer lost"
SCRIPT = (
    {"metadata": {"case": REFUSED}, "behaviour": "refuse_refund", "reason": "the account is closed"},
    {"metadata": {"case": LOST}, "behaviour": "no_answer_after_refund"},
)
"""The gateway refuses each attempt of some refunds, and loses each response of others."""

COMMAND_S = 180.0
"""Time limit of one command with all its repeats, in seconds."""

REPEATED = ("request_in_flight", "outcome_unknown", "unavailable", "overloaded")


def sku_of(number: int) -> str:
    return f"lamp-{number % PRODUCTS}"


def is_cancelled(number: int) -> bool:
    """Whether the whole order is cancelled after its confirmation."""
    return number % 10 == 9


def is_refused(number: int) -> bool:
    """Whether the gateway refuses every refund of the order; some of these orders are cancelled."""
    return number % 5 == 1 or number % 20 == 19


def case_of(number: int) -> str:
    """The case of the gateway's script."""
    return REFUSED if is_refused(number) else LOST if number % 5 == 3 else ""


def body_of(number: int) -> Mapping[str, object]:
    lines = [{"productId": sku_of(number), "quantity": UNITS, "amount": PRICE, "name": "Lamp"}]
    metadata = {"case": case_of(number)} if case_of(number) else {}
    total = round(PRICE + SHIPPING, 2)
    charges = [{"kind": "shipping", "amount": SHIPPING}]
    return {"userId": "ann", "amount": total, "lines": lines, "charges": charges, "metadata": metadata}


def plan_of(number: int) -> list[tuple[str, Mapping[str, object]]]:
    """The commands about an order: (path below the order, body)."""
    if is_cancelled(number):
        return [("cancel", {"by": "operator"})]
    lamp = {"items": {sku_of(number): 1}}
    plan: list[tuple[str, Mapping[str, object]]] = [("shipments", {**lamp, "carrier": "DHL"})]
    if number % 2:
        plan.append(("refunds", {"kind": "CANCEL", "reason": "a test", **lamp}))
    plan.append(("shipments", {}))
    if number % 4 == 1:
        plan.append(("refunds", {"kind": "RETURN", "reason": "a test", "restock": True, **lamp}))
    if number % 6 == 0:
        plan.append(("refunds", {"kind": "GOODWILL", "reason": "a test", "amount": 0.5}))
    return plan


def sold_units(number: int) -> int:
    """The units that are gone from the stock at the end."""
    return 0 if is_cancelled(number) else UNITS - (number % 2) - (number % 4 == 1)


@attrs.define(eq=False)
class FulfilmentLoad:
    """Keeps between `low` and `high` orders in flight: placed, and neither completed nor cancelled yet."""

    port: int
    find_confirmed: Callable[[], Iterable[str]]
    """Returns the ids of the orders in state CONFIRMED; called again and again in one thread."""

    low: int
    high: int
    numbers: dict[str, int] = attrs.field(factory=dict)
    """The numbers of the orders, by id."""

    refunded_cents: Counter[str] = attrs.field(factory=Counter)
    """What the responses to the commands add up to, by order."""

    ended: set[str] = attrs.field(factory=set)
    errors: list[str] = attrs.field(factory=list)
    commands: Counter[str] = attrs.field(factory=Counter)
    _confirmed: Queue[str] = attrs.field(factory=Queue)
    _placing: threading.Event = attrs.field(factory=threading.Event)
    _stopped: threading.Event = attrs.field(factory=threading.Event)
    _threads: list[threading.Thread] = attrs.field(factory=list)
    _lock: threading.Lock = attrs.field(factory=threading.Lock)
    _next: int = 0

    def start(self, placing: int = 8, operators: int = 8) -> None:
        self._placing.set()
        acts = [*[self._place] * placing, *[self._operate] * operators, self._find_confirmed]
        self._threads = [threading.Thread(target=self._noting_errors, args=(act,), daemon=True) for act in acts]
        for thread in self._threads:
            thread.start()

    @property
    def in_flight(self) -> int:
        return len(self.numbers) - len(self.ended)

    def drain(self, timeout_s: float) -> None:
        """Place no further order, and wait until all have ended."""
        self._placing.clear()
        until = time.monotonic() + timeout_s
        while self.in_flight and not self.errors:
            assert time.monotonic() < until, f"{self.in_flight} orders don't end"
            time.sleep(0.2)

    def stop(self) -> None:
        self._placing.clear()
        self._stopped.set()
        for thread in self._threads:
            thread.join(30)

    def send(self, path: str, body: object, key: str) -> tuple[int, Any]:
        """Send a command until it gets a definite response, under one idempotency key."""
        until = time.monotonic() + COMMAND_S
        while not self._stopped.is_set():
            assert time.monotonic() < until, f"no response: {path} {body}"
            try:
                status, answer = request(self.port, "POST", path, body, headers={"Idempotency-Key": key})
            except (OSError, HTTPException, ValueError):
                time.sleep(0.2)  # the process has died, perhaps after its commit
                continue
            if not (status >= 400 and answer["code"] in REPEATED):
                return status, answer
            time.sleep(0.1)
        raise AssertionError("stopped")

    def show(self, order_id: str) -> Any:
        while not self._stopped.is_set():
            try:
                status, order = request(self.port, "GET", f"/orders/{order_id}")
            except (OSError, HTTPException, ValueError):
                status = 0
            if status == 200:
                return order
            time.sleep(0.2)
        raise AssertionError("stopped")

    def _noting_errors(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - the test reports it
            if not self._stopped.is_set():
                self.errors.append(repr(error))

    def _place(self) -> None:
        while self._placing.is_set():
            with self._lock:
                number, self._next = self._next, self._next + (self.in_flight < self.high)
                wanted = self._next > number
            if not wanted:
                time.sleep(0.05)
                continue
            status, order = self.send("/orders", body_of(number), f"place-{number}")
            assert status == 201, order
            self.numbers[order["id"]] = number

    def _find_confirmed(self) -> None:
        known: set[str] = set()
        while not self._stopped.is_set():
            for order_id in set(self.find_confirmed()) & self.numbers.keys() - known:
                known.add(order_id)
                self._confirmed.put(order_id)
            time.sleep(0.3)

    def _operate(self) -> None:
        while not self._stopped.is_set():
            if self._placing.is_set() and self.in_flight < self.low:
                time.sleep(0.05)
                continue
            try:
                order_id = self._confirmed.get(timeout=0.2)
            except Empty:
                continue
            if order_id.startswith("again "):
                self._decide(order_id.removeprefix("again "))
            else:
                self._carry_out(order_id)

    def _carry_out(self, order_id: str) -> None:
        for place, (path, body) in enumerate(plan_of(self.numbers[order_id])):
            status, answer = self.send(f"/orders/{order_id}/{path}", body, f"{order_id}-{place}")
            assert status in (201, 202), (path, body, answer)
            self.commands[path] += 1
            if path == "refunds":
                self.refunded_cents[order_id] += round(answer["amount"] * 100)
        self._decide(order_id)

    def _decide(self, order_id: str) -> None:
        """Retry each refused refund once, then resolve it; the order has ended when all of its refunds are paid."""
        order = self.show(order_id)
        views = [order["payment"], *order.get("refunds", ())]
        for refusal in (view["refusal"] for view in views if "refusal" in view):
            if "instruction" in refusal:
                continue
            what = "retry" if refusal["attempt"] == 1 else "resolve"
            path, key = f"/orders/{order_id}/payment/{what}", f"{order_id}-{refusal['of']}-{refusal['attempt']}"
            status, answer = self.send(path, {"of": refusal["of"], "why": "a test"}, key)
            assert status == 202 or answer["code"] == "nothing_refused", answer
            self.commands[what] += 1
        paid = all(refund["state"] == "PAID" for refund in order.get("refunds", ()))
        if order["status"] == "CANCELLED" or (order["status"] == "COMPLETED" and paid):
            with self._lock:
                self.ended.add(order_id)
            return
        time.sleep(0.05)
        self._confirmed.put(f"again {order_id}")
