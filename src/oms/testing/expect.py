"""What a test expects of a shop, in words that can be read on: `shop.expect(order).confirmed().paid(100)`.

An expectation that isn't met prints the story: messages, states, stock, what is owed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Self

from oms.bootstrap.system import SERVICES
from oms.domain.events import Reason
from oms.domain.order import OrderState
from oms.domain.payment import PaymentState
from oms.domain.reservation import ReservationState
from oms.domain.values import OrderId
from oms.ports.stores.rows import DeadLetter
from oms.testing.shop_report import story_of
from oms.testing.shop_view import ShopView

__tracebackhide__ = True  # what failed is the test's own line


class Unmet(AssertionError):
    """An expectation that isn't met; the text ends with the story. `short` is the text without it."""

    def __init__(self, shop: ShopView, wanted: str, found: str) -> None:
        super().__init__(f"expected {wanted}\n   found {found}\n\n{story_of(shop)}")
        self.shop = shop
        self.short = f"expected {wanted}, found {found}"


class OrderExpectation:
    """What is expected of one order. Every method answers with the expectation itself, for the next one."""

    def __init__(self, shop: ShopView, order: OrderId) -> None:
        self._shop, self._order = shop, order

    # -- where it is

    def confirmed(self) -> Self:
        """It is held, paid and confirmed."""
        return self.in_state(OrderState.CONFIRMED)

    def rejected(self) -> Self:
        """Its stock was short."""
        return self.in_state(OrderState.REJECTED)

    def cancelled(self, reason: Reason | str | None = None) -> Self:
        """It ended cancelled, for this reason where one is named: `PAYMENT_DECLINED`."""
        self.in_state(OrderState.CANCELLED)
        if reason is not None:
            wanted, found = Reason(reason), self._shop.order(self._order).reason
            self._is(wanted, found, f"cancelled because of {wanted.value}", found.value if found else "no reason")
        return self

    def in_state(self, state: OrderState | str) -> Self:
        """The order's own state."""
        wanted, order = OrderState(state), self._shop.order(self._order)
        why = f" ({order.reason.value})" if order.reason else ""
        return self._is(wanted, order.state, wanted.value, f"{order.state.value}{why}")

    # -- its stock and money

    def reservation(self, state: ReservationState | str) -> Self:
        """The state of its reservation; ABSENT where there is none."""
        wanted = ReservationState(state)
        rows = self._shop.stores()["inventory"].reservations([self._order])
        found = rows[self._order].state if self._order in rows else ReservationState.ABSENT
        return self._is(wanted, found, f"a reservation {wanted.value}", found.value)

    def holds(self, items: Mapping[str, int]) -> Self:
        """So many units of each product are held for it, and none of others; sold ones aren't held any more."""
        row = self._shop.stores()["inventory"].reservations([self._order]).get(self._order)
        found = dict(row.items) if row is not None and row.state is ReservationState.HELD else {}
        return self._is(dict(items), found, f"held units {dict(items)}", str(found))

    def holds_nothing(self) -> Self:
        """No unit is held for it."""
        return self.holds({})

    def payment(self, state: PaymentState | str) -> Self:
        """The state of its payment; ABSENT where there is none."""
        wanted = PaymentState(state)
        rows = self._shop.stores()["payment"].payments([self._order])
        found = rows[self._order].state if self._order in rows else PaymentState.ABSENT
        return self._is(wanted, found, f"a payment {wanted.value}", found.value)

    def paid(self, amount: Decimal | int | str) -> Self:
        """Captures less refunds in the gateway's own book."""
        wanted, found = self._shop.app.money(amount), self._shop.paid(self._order)
        return self._is(wanted, found, f"{wanted} paid", str(found))

    def paid_nothing(self) -> Self:
        """No money was taken, or all of it went back."""
        return self.paid(0)

    # -- what became known of it

    def published(self, *topics: str) -> Self:
        """Events of these topics, and no others; their order doesn't count, nor do copies."""
        return self._are(topics, self._shop.topics(self._order), "published")

    def not_published(self, topic: str) -> Self:
        """No event of this topic."""
        found = self._shop.topics(self._order)
        return self._is(False, topic in found, f"no {topic} published", ", ".join(found))  # noqa: FBT003

    def told(self, *kinds: str) -> Self:
        """The customer was told of these events, and of no others."""
        return self._are(kinds, [one.kind for one in self._shop.notifications(self._order)], "told")

    def remembered(self, group: str, document: Mapping[str, object] | None) -> Self:
        """What a step of your own saved of it; None where it saved nothing."""
        stores = self._shop.stores()
        if group not in stores or group in SERVICES:
            raise ValueError(f"there is no step {group!r}")
        text = stores[group].document(group, self._order)
        found = None if text is None else json.loads(text)
        return self._is(document, found, f"{group} remembers {document}", str(found))

    def parked(self, *topics: str) -> Self:
        """Messages of these topics wait as dead letters, and no others of this order."""
        letters = [one for one in self._shop.parked() if one.order_id == self._order]
        return self._are(topics, [one.topic for one in letters], "parked")

    def nothing_parked(self) -> Self:
        """No message of it waits as a dead letter."""
        return self.parked()

    # -- inside

    def _are(self, wanted: Collection[str], found: Collection[str], what: str) -> Self:
        words, instead = (", ".join(sorted(names)) or "nothing" for names in (wanted, found))
        return self._is(sorted(wanted), sorted(found), f"{words} {what}", instead)

    def _is(self, wanted: object, found: object, words: str, instead: str) -> Self:
        if wanted != found:
            raise Unmet(self._shop, f"of order {self._order}: {words}", instead)
        return self


class SystemExpectation:
    """What is expected of the shop as a whole."""

    def __init__(self, shop: ShopView) -> None:
        self._shop = shop

    def stock(
        self, sku: str, *, on_hand: int | None = None, held: int | None = None, available: int | None = None
    ) -> Self:
        """Units of a product; what isn't named isn't looked at."""
        row = self._shop.stock(sku)
        wanted = {"on hand": on_hand, "held": held, "available": available}
        found = {"on hand": row.on_hand, "held": row.held, "available": row.available}
        asked = {name: units for name, units in wanted.items() if units is not None}
        there = {name: found[name] for name in asked}
        return self._is(asked, there, f"{sku}: {_words(asked)}", _words(there))

    def published(self, topic: str, times: int = 1) -> Self:
        """So many events of a topic, of all orders together; copies don't count."""
        found = len(self._shop.published(topic))
        return self._is(times, found, f"{times} times {topic} published", str(found))

    def parked(self, count: int) -> Self:
        """So many dead letters wait for an operator."""
        letters = self._shop.parked()
        return self._is(count, len(letters), f"{count} dead letters", "; ".join(map(_letter, letters)) or "none")

    def nothing_parked(self) -> Self:
        """No dead letter waits."""
        return self.parked(0)

    def nothing_owed(self) -> Self:
        """No event waits to be sent, and no task to be done."""
        stores = self._shop.stores()
        owed = [f"{name}: {row.message.topic}" for name, store in stores.items() for row in store.all_outbox()]
        owed += [f"{name}: {task.kind.value}" for name, store in stores.items() for task in store.all_tasks()]
        return self._is([], owed, "nothing owed", ", ".join(owed))

    def promises_kept(self) -> Self:
        """Every promise of `oms`, against everything on record."""
        broken = [str(violation) for violation in self._shop.report().violations]
        return self._is([], broken, "every promise kept", "; ".join(broken))

    def _is(self, wanted: object, found: object, words: str, instead: str) -> Self:
        if wanted != found:
            raise Unmet(self._shop, words, instead)
        return self


def _words(units: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in units.items())


def _letter(letter: DeadLetter) -> str:
    return f"{letter.topic}: {letter.cause}"
