"""Expectations of a test about a shop, as chained calls: `shop.expect(order).confirmed().paid(100)`.

A failed expectation prints the story: messages, states, stock, unsent rows and open tasks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any, Self

from oms.bootstrap.system import SERVICES
from oms.domain.events import Reason
from oms.domain.fulfilment import LineCounts
from oms.domain.money import Money
from oms.domain.order import Order
from oms.domain.order_table import OrderPayment, OrderState
from oms.domain.payment import PaymentState
from oms.domain.refund import WHOLE, OrderRefund, RefundState
from oms.domain.reservation import ReservationState
from oms.domain.shipment import Shipment
from oms.domain.values import OrderId
from oms.ports.stores.rows import DeadLetter
from oms.testing.shop_report import story_of
from oms.testing.shop_view import ShopView, part_id

__tracebackhide__ = True  # pytest shows the failed line of the test, not this module


class Unmet(AssertionError):
    """A failed expectation. Its text ends with the story; `short` is the text without the story."""

    def __init__(self, shop: ShopView, wanted: str, found: str) -> None:
        super().__init__(f"expected {wanted}\n   found {found}\n\n{story_of(shop)}")
        self.shop = shop
        self.short = f"expected {wanted}, found {found}"


class OrderExpectation:
    """Expectations about one order. Each method checks one and returns the object, so calls can be chained."""

    def __init__(self, shop: ShopView, order: OrderId) -> None:
        self._shop, self._order = shop, order

    # -- the order's state

    def confirmed(self) -> Self:
        """Expect that the order is confirmed: its stock is reserved and its payment captured."""
        return self.in_state(OrderState.CONFIRMED)

    def rejected(self) -> Self:
        """Expect that the order is rejected because stock is short."""
        return self.in_state(OrderState.REJECTED)

    def cancelled(self, reason: Reason | str | None = None) -> Self:
        """Expect that the order is cancelled, for this reason if one is given (`PAYMENT_DECLINED`)."""
        self.in_state(OrderState.CANCELLED)
        if reason is not None:
            wanted, found = Reason(reason), self._shop.order(self._order).reason
            self._is(wanted, found, f"cancelled because of {wanted.value}", found.value if found else "no reason")
        return self

    def in_state(self, state: OrderState | str) -> Self:
        """Expect this state of the order."""
        wanted, order = OrderState(state), self._shop.order(self._order)
        why = f" ({order.reason.value})" if order.reason else ""
        return self._is(wanted, order.state, wanted.value, f"{order.state.value}{why}")

    def fulfilling(self) -> Self:
        """Expect that something of the order was shipped or refunded, and that units are open."""
        return self.in_state(OrderState.FULFILLING)

    def completed(self) -> Self:
        """Expect that every unit of the order was shipped or cancelled."""
        return self.in_state(OrderState.COMPLETED)

    # -- the order's shipments and refunds

    def shipped(self, items: Mapping[str, int]) -> Self:
        """Expect that exactly these units were shipped, in all parcels together."""
        return self._units("shipped", items, lambda counts: counts.shipped)

    def cancelled_units(self, items: Mapping[str, int]) -> Self:
        """Expect that refunds have cancelled exactly these units."""
        return self._units("cancelled", items, lambda counts: counts.cancelled)

    def returned(self, items: Mapping[str, int]) -> Self:
        """Expect that exactly these units came back."""
        return self._units("returned", items, lambda counts: counts.returned)

    def parcels(self, *parcels: Mapping[str, int]) -> Self:
        """Expect exactly these shipments, the oldest first."""
        found = [dict(one.items) for one in self._shop.order(self._order).fulfilment.shipments]
        wanted = [dict(one) for one in parcels]
        return self._is(wanted, found, f"parcels {wanted}", str(found))

    def refunded(self, amount: Decimal | int | str) -> Self:
        """Expect that this amount was refunded, as far as the order service has heard.

        It includes refunds that an operator resolved, which aren't in the gateway's book.
        """
        order, wanted = self._shop.order(self._order), self._shop.app.money(amount)
        paid = (one.amount.minor for one in order.fulfilment.refunds if one.state is RefundState.PAID)
        minor = order.agreed.total.minor if order.payment is OrderPayment.REFUNDED else sum(paid)
        found = Money(minor, order.agreed.total.currency)
        return self._is(wanted, found, f"{wanted} refunded", str(found))

    def refund(self, of: OrderRefund | str, state: RefundState | str) -> Self:
        """Expect this state of a refund, or of that of the whole order (`whole`), as the order service has heard it."""
        wanted, order, name = RefundState(state), self._shop.order(self._order), part_id(of)
        refund = order.fulfilment.refund(name)
        if refund is None and name != WHOLE:
            raise ValueError(f"order {self._order} has no refund {name}")
        found = order.fulfilment.state_of(refund) if refund is not None else _state_of_whole(order)
        return self._is(wanted, found, f"refund {name} {wanted.value}", found.value if found else "no refund")

    # -- the order's stock and money

    def reservation(self, state: ReservationState | str) -> Self:
        """Expect this state of the order's reservation; ABSENT if there is none."""
        wanted = ReservationState(state)
        rows = self._shop.stores()["inventory"].reservations([self._order])
        found = rows[self._order].state if self._order in rows else ReservationState.ABSENT
        return self._is(wanted, found, f"a reservation {wanted.value}", found.value)

    def holds(self, items: Mapping[str, int]) -> Self:
        """Expect that exactly these units of each product are held for the order. Sold units aren't held any more."""
        row = self._shop.stores()["inventory"].reservations([self._order]).get(self._order)
        found = dict(row.items) if row is not None and row.state is ReservationState.HELD else {}
        return self._is(dict(items), found, f"held units {dict(items)}", str(found))

    def holds_nothing(self) -> Self:
        """Expect that no unit is held for the order."""
        return self.holds({})

    def payment(self, state: PaymentState | str) -> Self:
        """Expect this state of the order's payment; ABSENT if there is none."""
        wanted = PaymentState(state)
        rows = self._shop.stores()["payment"].payments([self._order])
        found = rows[self._order].state if self._order in rows else PaymentState.ABSENT
        return self._is(wanted, found, f"a payment {wanted.value}", found.value)

    def paid(self, amount: Decimal | int | str) -> Self:
        """Expect this amount of captures minus refunds in the gateway's own book."""
        wanted, found = self._shop.app.money(amount), self._shop.paid(self._order)
        return self._is(wanted, found, f"{wanted} paid", str(found))

    def paid_nothing(self) -> Self:
        """Expect that no money was captured, or that all of it was refunded."""
        return self.paid(0)

    # -- events, notifications, documents and dead letters

    def published(self, *topics: str) -> Self:
        """Expect events of exactly these topics, in any order; copies count once."""
        return self._are(topics, self._shop.topics(self._order), "published")

    def not_published(self, topic: str) -> Self:
        """Expect no event of this topic."""
        found = self._shop.topics(self._order)
        return self._is(False, topic in found, f"no {topic} published", ", ".join(found))  # noqa: FBT003

    def notified(self, *kinds: str) -> Self:
        """Expect that the customer got notifications of exactly these events."""
        return self._are(kinds, [one.kind for one in self._shop.notifications(self._order)], "notified")

    def notified_of(self, *parts: Shipment | OrderRefund | str) -> Self:
        """Expect that the customer got one notification of each of these shipments and refunds, and of no other one."""
        found = [one.part for one in self._shop.notifications(self._order) if one.part]
        return self._are([part_id(one) for one in parts], found, "notified of")

    def remembered(self, group: str, document: Mapping[str, object] | None) -> Self:
        """Expect this document of the order in a step of your own; None if the step saved none."""
        stores = self._shop.stores()
        if group not in stores or group in SERVICES:
            raise ValueError(f"there is no step {group!r}")
        text = stores[group].document(group, self._order)
        found = None if text is None else json.loads(text)
        return self._is(document, found, f"document of {group}: {document}", str(found))

    def parked(self, *topics: str) -> Self:
        """Expect parked dead letters of exactly these topics for the order."""
        letters = [one for one in self._shop.parked() if one.order_id == self._order]
        return self._are(topics, [one.topic for one in letters], "parked")

    def nothing_parked(self) -> Self:
        """Expect no parked dead letter for the order."""
        return self.parked()

    # -- private

    def _units(self, what: str, items: Mapping[str, int], count: Callable[[LineCounts], int]) -> Self:
        order = self._shop.order(self._order)
        counts = order.fulfilment.counts(order.agreed.items)
        found = {sku: units for sku, one in counts.items() if (units := count(one))}
        wanted = {sku: units for sku, units in items.items() if units}
        return self._is(wanted, found, f"{_named(wanted)} {what}", _named(found))

    def _are(self, wanted: Collection[str], found: Collection[str], what: str) -> Self:
        words, instead = (", ".join(sorted(names)) or "nothing" for names in (wanted, found))
        return self._is(sorted(wanted), sorted(found), f"{words} {what}", instead)

    def _is(self, wanted: object, found: object, words: str, instead: str) -> Self:
        if wanted != found:
            raise Unmet(self._shop, f"of order {self._order}: {words}", instead)
        return self


class SystemExpectation:
    """Expectations about the whole shop. Each method checks one and returns the object."""

    def __init__(self, shop: ShopView) -> None:
        self._shop = shop

    def stock(
        self, sku: str, *, on_hand: int | None = None, held: int | None = None, available: int | None = None
    ) -> Self:
        """Expect these units of a product; a count that is left out isn't checked."""
        row = self._shop.stock(sku)
        wanted = {"on hand": on_hand, "held": held, "available": available}
        found = {"on hand": row.on_hand, "held": row.held, "available": row.available}
        expected = {name: units for name, units in wanted.items() if units is not None}
        there = {name: found[name] for name in expected}
        return self._is(expected, there, f"{sku}: {_words(expected)}", _words(there))

    def published(self, topic: str, times: int = 1) -> Self:
        """Expect this number of events of a topic, for all orders together; copies count once."""
        found = len(self._shop.published(topic))
        return self._is(times, found, f"{times} times {topic} published", str(found))

    def parked(self, count: int) -> Self:
        """Expect this number of parked dead letters."""
        letters = self._shop.parked()
        return self._is(count, len(letters), f"{count} dead letters", "; ".join(map(_letter, letters)) or "none")

    def nothing_parked(self) -> Self:
        """Expect no parked dead letter."""
        return self.parked(0)

    def nothing_owed(self) -> Self:
        """Expect that no event remains to be published and no task to be done."""
        stores = self._shop.stores()
        owed = [f"{name}: {row.message.topic}" for name, store in stores.items() for row in store.all_outbox()]
        owed += [f"{name}: {task.kind.value}" for name, store in stores.items() for task in store.all_tasks()]
        return self._is([], owed, "nothing owed", ", ".join(owed))

    def promises_kept(self) -> Self:
        """Expect that all stores, the log, the gateway's book and the gate keep every promise of `oms`."""
        broken = [str(violation) for violation in self._shop.report().violations]
        return self._is([], broken, "every promise kept", "; ".join(broken))

    def _is(self, wanted: object, found: object, words: str, instead: str) -> Self:
        if wanted != found:
            raise Unmet(self._shop, words, instead)
        return self


def _state_of_whole(order: Order) -> RefundState | None:
    """Return the state of the refund that undoes a cancelled order's payment; None before the order is cancelled."""
    if order.payment is OrderPayment.REFUNDED:
        return RefundState.PAID
    refusal = order.fulfilment.refusal(WHOLE)
    if refusal is not None and refusal.instruction is None:
        return RefundState.REFUSED
    return RefundState.DUE if order.state is OrderState.CANCELLING else None


def _named(items: Mapping[Any, int]) -> str:
    return ", ".join(f"{units} {sku}" for sku, units in items.items()) or "nothing"


def _words(units: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in units.items())


def _letter(letter: DeadLetter) -> str:
    return f"{letter.topic}: {letter.cause}"
