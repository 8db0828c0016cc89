"""Whatever an extension returns or raises, the system goes on: the next order settles and nothing is lost silently."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import oms
from oms.adapters.memory import CountedIds, ManualClock
from oms.adapters.sql.factory import store_in
from oms.domain.errors import OmsError
from oms.domain.events import BY_TOPIC
from oms.settings import Settings
from oms.testing import Shop
from tests.contracts.labs import _shared, give_back_schema, new_schema, postgres_login

Act = Callable[[], Any]
HALF_PAIR = "half \ud83d"
NAMES = ("order", "inventory", "payment", "notification", "step-own")


class Mute(Exception):
    """An error whose text can't be read."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Odd:
    """An object that can't be shown, compared or tested."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")

    def __eq__(self, _other: object) -> bool:
        raise RuntimeError("not comparable")

    __hash__ = None  # type: ignore[assignment]


async def later() -> None:
    raise AssertionError("never run")


async def streamed() -> Any:
    yield


def generated() -> Any:
    yield


def huge() -> str:
    return "x" * 1_000_000


TEXTS = st.sampled_from(["", "a\0b", HALF_PAIR, "plain"]) | st.text(max_size=8) | st.builds(huge)
NUMBERS = st.sampled_from([0, -1, True, 2**31, 2**63, 10**400, -(10**400), 0.5, 1e308, float("nan"), float("-inf")])
PLAIN = st.one_of(
    st.none(),
    TEXTS,
    NUMBERS,
    st.sampled_from([b"\xff\0", Odd, ValueError(HALF_PAIR), oms.Money, object()]),
    st.builds(Odd),
)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", HALF_PAIR]), inner)
)
DEFERRED: list[Act] = [later, streamed, generated]

REFUSALS = (oms.Refused, oms.InvalidValue, oms.Conflict, oms.NotFound)
ERRORS = (oms.Permanent, oms.Retryable, oms.OutcomeUnknown, OmsError, ValueError, RecursionError, MemoryError, OSError)
RAISED = st.one_of(
    st.builds(lambda kind, code, detail: kind(code, detail), st.sampled_from(REFUSALS), PLAIN, PLAIN),
    st.builds(lambda kind, text: kind(text), st.sampled_from(ERRORS), TEXTS),
    st.builds(lambda kind: kind(), st.sampled_from([Mute, SystemExit, GeneratorExit, asyncio.CancelledError])),
)


def returning(value: Any) -> Act:
    return lambda: value


def raising(error: BaseException) -> Act:
    def act() -> Any:
        raise error

    return act


ACTS = st.builds(returning, VALUES) | st.builds(raising, RAISED) | st.sampled_from(DEFERRED)
PLACES = (
    *("price", "check", "send", "handle", "save", "publish", "topic", "call", "run", "then", "order_id", "telemetry"),
    *("charge", "lookup"),
)


REFUSING = ("price", "check", "order_id")
"""Extensions that may keep an order from being accepted."""


class Hostile(CountedIds):
    """Every extension in one: `act` is what the one at `place` does, the others behave."""

    def __init__(self) -> None:
        super().__init__()
        self.place: str | None = None
        self.act: Act = lambda: None
        self.called: set[str] = set()
        self.captured: dict[str, str] = {}

    def at(self, place: str, otherwise: Any) -> Any:
        return self.act() if self.place == place else otherwise

    def price(self, terms: oms.Terms) -> Any:
        return self.at("price", terms.total)

    def check(self, terms: oms.Terms, caller: oms.Principal) -> Any:
        return self.at("check", None)

    def send(self, notification: oms.Notification) -> Any:
        return self.at("send", None)

    def charge(self, charge: oms.Charge) -> Any:
        self.captured[charge.key] = f"p-{charge.key}"
        if self.place == "lookup":
            raise TimeoutError("no answer, so the charge is looked up")
        return self.at("charge", oms.Captured(self.captured[charge.key]))

    def lookup(self, lookup: oms.Lookup) -> Any:
        known = self.captured.get(lookup.key)
        return self.at("lookup", oms.Captured(known) if known else oms.UnknownCharge())

    def void(self, void: oms.Void) -> Any:
        known = self.captured.get(void.key)
        return oms.Captured(known) if known else oms.Voided()

    def refund(self, _refund: oms.Refund) -> Any:
        return oms.Refunded()

    def order_id(self) -> Any:
        made = super().order_id()
        return self.at("order_id", made)

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        self.at("telemetry", None)

    def note(self, event: str, **fields: object) -> None:
        self.at("telemetry", None)

    note_all = alert = note

    def handle(self, _event: oms.AnyEvent, step: oms.StepContext) -> Any:
        step.save(self.at("save", {"seen": True}))
        step.publish(self.at("topic", "own.done"), value=self.at("publish", 1))
        step.call("ship", value=self.at("call", 1))
        return self.at("handle", None)

    def run(self, order_id: oms.OrderId, _payload: Any) -> Any:
        return self.at("run", order_id)

    def then(self, _result: object, step: oms.StepContext) -> Any:
        self.called.add(step.order_id)
        return self.at("then", None)


@contextmanager
def in_memory(_hostile: Hostile) -> Iterator[dict[str, Any]]:
    yield {}


@contextmanager
def in_files(_hostile: Hostile) -> Iterator[dict[str, Any]]:
    with TemporaryDirectory() as directory:
        yield {"settings": Settings(profile="embedded", data=Path(directory))}


@contextmanager
def on_postgres(hostile: Hostile) -> Iterator[dict[str, Any]]:
    clock, shared = ManualClock(), _shared(postgres_login())
    schemas = {name: new_schema(name) for name in NAMES}
    stores = {
        name: store_in(attrs.evolve(shared, schema=schema, clock=clock), name, hostile)
        for name, schema in schemas.items()
    }
    yield {"clock": clock, "stores": stores}
    for name, schema in schemas.items():
        give_back_schema(name, schema)


def goes_on(profile: Callable[[Hostile], Any], place: str, act: Act) -> None:
    hostile = Hostile()
    with profile(hostile) as given_:
        extensions = dict.fromkeys(("gateway", "pricing", "policy", "notifier", "ids", "telemetry"), hostile)
        shop = Shop(**extensions, **given_)
        call = oms.OutsideCall(hostile.run, hostile.then)
        shop.app.subscribe(
            "order.confirmed", group="own", handler=hostile.handle, calls={"ship": call}, publishes=["own.done"]
        )
        try:
            hostile.place, hostile.act = place, act
            first = _placed(shop, "k")
            assert first is not None or place in REFUSING, "no other extension keeps an order from being accepted"
            shop.run()
            shop.advance(minutes=2)
            hostile.place = None
            second = _placed(shop, None)
            assert second is not None, "the next order is accepted"
            shop.run()
            shop.advance(hours=2)
            _is_accounted_for(shop, hostile, second)
            if first is not None:
                _is_accounted_for(shop, hostile, first)
            shop.expect().nothing_owed().promises_kept()
        finally:
            hostile.place = None
            shop.app.stop()


def _placed(shop: Shop, key: str | None) -> oms.Order | None:
    try:
        return shop.place(key=key)
    except Exception:  # noqa: BLE001 - refused, whatever the extension made of it
        return None


def _is_accounted_for(shop: Shop, hostile: Hostile, order: oms.Order) -> None:
    """It is confirmed, and each thing that should follow has happened or is parked where an operator sees it."""
    shop.expect(order).confirmed()
    parked = [letter for letter in shop.parked() if order.id in (letter.order_id, (letter.key or b"").decode())]
    parked += [letter for letter in shop.parked() if order.id.encode() in (letter.key or b"")]
    topics = {letter.topic for letter in parked}
    # An act may also name another topic that a step may write to.
    handled = any(one.order_id == order.id and one.topic not in BY_TOPIC for one in shop.published())
    assert handled or "order.confirmed" in topics
    assert not handled or order.id in hostile.called or "task:call" in topics


@settings(max_examples=40)
@given(place=st.sampled_from(PLACES), act=ACTS)
@example(place="send", act=raising(oms.Permanent(HALF_PAIR)))
@example(place="check", act=later)
@example(place="then", act=raising(oms.Permanent("a\0b")))
@example(place="publish", act=huge)
@example(place="topic", act=returning("own.other"))
def test_the_system_goes_on_in_memory(place: str, act: Act) -> None:
    goes_on(in_memory, place, act)


@settings(max_examples=3)
@given(place=st.sampled_from(PLACES), act=ACTS)
@example(place="send", act=raising(oms.Permanent(HALF_PAIR)))
@example(place="handle", act=raising(oms.Permanent(huge())))
@example(place="telemetry", act=raising(OSError("no space left")))
def test_the_system_goes_on_in_files(place: str, act: Act) -> None:
    goes_on(in_files, place, act)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=100)
@given(act=ACTS)
def test_the_system_goes_on_in_memory_at_length(place: str, act: Act) -> None:
    goes_on(in_memory, place, act)


@pytest.mark.slow
@settings(max_examples=100)
@given(place=st.sampled_from(PLACES), act=ACTS)
def test_the_system_goes_on_in_files_at_length(place: str, act: Act) -> None:
    goes_on(in_files, place, act)


@pytest.mark.hunts
@settings(max_examples=1000)
@given(place=st.sampled_from(PLACES), act=ACTS)
def test_the_system_goes_on_in_files_for_long(place: str, act: Act) -> None:
    goes_on(in_files, place, act)


@pytest.mark.servers
@settings(max_examples=30)
@given(place=st.sampled_from(PLACES), act=ACTS)
@example(place="send", act=raising(oms.Permanent(HALF_PAIR)))
@example(place="send", act=raising(oms.Permanent("a\0b")))
@example(place="handle", act=raising(oms.Permanent("a\0b")))
def test_the_system_goes_on_on_postgres(place: str, act: Act) -> None:
    goes_on(on_postgres, place, act)
