"""Delivery of notifications: a repeat carries the same id, a failure raises, and each call respects its time limit.

A subclass defines the fixture `notifier`, and methods that observe its receiver and make it fail:

- `delivered()` returns the ids of the notifications that the receiver got, in order, including repeats. Set
  `shows_deliveries = False` if the test can't see them.
- `unreachable()` is a context manager during which the receiver doesn't answer; set `can_be_unreachable = False` for a
  notifier that has no receiver.
- `refusing()` is a context manager during which the receiver refuses notifications permanently; set `can_refuse = False`
  if it never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import pytest

from oms.domain.events import Reason
from oms.domain.money import Currency
from oms.domain.tasks import composite_key
from oms.ports.errors import Permanent
from oms.testing.contracts.extension_calls import THREADS, assert_plain, at_once, unchanged, within
from oms.testing.contracts.extension_samples import HOSTILE_METADATA, HOSTILE_TEXTS, IDS, notification

KINDS = (
    "order.confirmed",
    "order.rejected",
    "order.cancelled",
    "payment.success",
    "payment.failed",
    "payment.voided",
    "payment.refunded",
    "order.shipped",
    "order.completed",
    "payment.refund_paid",
)


class NotifierContract:
    """The contract of `Notifier`."""

    currency = Currency.of("USD")
    within_s = 10.0
    """Time limit of one delivery, in seconds, also when the receiver hangs."""

    shows_deliveries = True
    """Whether a test can see the notifications that the receiver got."""

    can_be_unreachable = True
    """Whether the receiver can fail to answer."""

    can_refuse = True
    """Whether the receiver can refuse notifications permanently."""

    @pytest.fixture
    def notifier(self) -> Any:
        """A notifier whose receiver accepts notifications."""
        raise NotImplementedError("a contract suite needs the fixture `notifier`")

    def delivered(self) -> Sequence[str]:
        """Return the ids of the notifications that the receiver has got so far."""
        raise NotImplementedError("return the ids that the receiver got, or set `shows_deliveries = False`")

    def unreachable(self) -> AbstractContextManager[object]:
        """A context manager during which the receiver doesn't answer."""
        raise NotImplementedError("make the receiver unreachable, or set `can_be_unreachable = False`")

    def refusing(self) -> AbstractContextManager[object]:
        """A context manager during which the receiver refuses notifications permanently."""
        raise NotImplementedError("make the receiver refuse for good, or set `can_refuse = False`")

    def test_send_is_a_plain_function(self, notifier: Any) -> None:
        assert_plain(notifier, "send")

    @pytest.mark.parametrize("kind", KINDS)
    def test_news_of_each_kind_is_delivered(self, notifier: Any, kind: str) -> None:
        self.deliver(notifier, self.notification(f"n1:{kind}", kind))
        self.deliver(
            notifier, self.notification(f"n2:{kind}", kind, reason=Reason.OPERATOR, metadata={"channel": "web"})
        )
        self.assert_delivered(f"n1:{kind}", f"n2:{kind}")

    def test_a_repeat_reaches_the_receiver_under_the_same_id(self, notifier: Any) -> None:
        for _ in range(3):
            self.deliver(notifier, self.notification("same"))
        self.deliver(notifier, self.notification("other"))
        self.assert_delivered("same", "other")

    def test_metadata_may_hold_any_text(self, notifier: Any) -> None:
        for number, text in enumerate(HOSTILE_TEXTS):
            self.deliver(notifier, self.notification(f"text-{number}", metadata={"text": text, text[:40]: "name"}))
        self.deliver(notifier, self.notification("all", metadata=HOSTILE_METADATA))
        self.assert_delivered(*(f"text-{number}" for number in range(len(HOSTILE_TEXTS))), "all")

    def test_ids_may_hold_separators(self, notifier: Any) -> None:
        names = [f"{name}:order.confirmed" for name in IDS]
        names += [composite_key(name, "order.shipped", "shipment-1") for name in IDS]
        for name in names:
            self.deliver(notifier, self.notification(name))
        self.assert_delivered(*names)

    def test_it_delivers_from_several_threads_at_once(self, notifier: Any) -> None:
        names = [f"thread-{number}" for number in range(THREADS)]
        answers = at_once(self.within_s, [partial(notifier.send, self.notification(name)) for name in names])
        assert answers == [None] * THREADS, f"send must return None, not {answers!r}"
        self.assert_delivered(*names)

    def test_the_notification_stays_as_it_is(self, notifier: Any) -> None:
        notification = self.notification("n", metadata={"channel": "web"})
        with unchanged("notification", notification):
            self.deliver(notifier, notification)

    def test_an_unreachable_receiver_is_an_error_and_worth_another_try(self, notifier: Any) -> None:
        if not self.can_be_unreachable:
            pytest.skip("this notifier has no receiver that can be unreachable")
        with self.unreachable():
            error = self.failure(notifier)
        assert error is not None, (
            "send returned although the receiver got nothing: the notification counts as delivered"
        )
        assert isinstance(error, Exception), f"send raised {error!r}, which is no `Exception` and would end a thread"
        assert not isinstance(error, Permanent), "an outage is no refusal: with `Permanent` it is never tried again"
        self.deliver(notifier, self.notification("n"))

    def test_a_refusal_is_permanent(self, notifier: Any) -> None:
        if not self.can_refuse:
            pytest.skip("the receiver of this notifier never refuses")
        with self.refusing():
            error = self.failure(notifier)
        assert isinstance(error, Permanent), (
            f"a refusal must raise `oms.Permanent`, or it is retried for 24 h: {error!r}"
        )

    def notification(self, id: str, kind: str = "order.confirmed", **more: Any) -> Any:  # noqa: A002 - the field's name
        """Return a notification."""
        return notification(id, kind, currency=self.currency, **more)

    def deliver(self, notifier: Any, notification: Any) -> None:
        """Deliver a notification; fail if that takes longer than the time limit."""
        answer = within(self.within_s, lambda: notifier.send(notification))
        assert answer is None, f"send must return None, not {answer!r}"

    def failure(self, notifier: Any) -> BaseException | None:
        """Return the error of one delivery, or None; fail if it takes longer than the time limit."""
        try:
            within(self.within_s, lambda: notifier.send(self.notification("fails")))
        except AssertionError:
            raise
        except BaseException as error:  # noqa: BLE001 - the suite checks the error
            return error
        return None

    def assert_delivered(self, *names: str) -> None:
        """Fail unless the receiver got exactly these ids, each at least once."""
        if self.shows_deliveries:
            found = self.delivered()
            assert set(found) == set(names), f"the receiver got {sorted(set(found))}, not {sorted(set(names))}"
