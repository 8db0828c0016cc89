"""The values that every store refuses. All stores refuse the same, so a test in memory fails where production would.

Texts are limited in characters (`oms.ports.limits`) and contain neither U+0000 nor lone surrogates; integers have 64
bits, counters 32. Part of every store's suite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import attrs
import pytest

from oms.domain.tasks import TaskKind, TaskRequest
from oms.ports import limits
from oms.ports.broker import TopicPartition
from oms.ports.errors import Permanent
from oms.ports.messages import MessageId, Outgoing
from oms.ports.stores.rows import Delivery, OutboxRow, StoredResponse
from oms.testing.contracts.samples import flush, letter
from oms.testing.contracts.stores import StoreLab

HALF_PAIR = "half \ud83d"
UNSTORABLE = ("a\0b", HALF_PAIR)
BEYOND_64_BITS = 2**63

Write = Callable[[Any, Any], object]


def bad_texts(limit: int | None) -> Iterator[str]:
    """Yield texts that a field of at most `limit` characters (None: unlimited) must refuse."""
    yield from UNSTORABLE
    if limit is not None:
        yield "x" * (limit + 1)


def refuses(new_store: Callable[[], Any], write: Write, limit: int | None, good: str | None = None) -> None:
    """Check that a field accepts the longest text and refuses every bad one; `write(store, text)` writes the field."""
    write(new_store(), ("é" * (limit or 2000)) if good is None else good)
    for bad in bad_texts(limit):
        with pytest.raises(Permanent):
            write(new_store(), bad)


def refuses_number(new_store: Callable[[], Any], write: Write, bound: int = BEYOND_64_BITS) -> None:
    """Check that a field accepts `bound - 1` and refuses `bound`."""
    write(new_store(), bound - 1)
    with pytest.raises(Permanent):
        write(new_store(), bound)


def _claim(group: Any, message: Any) -> Callable[[Any], None]:
    def act(store: Any) -> None:
        with store.begin() as transaction:
            transaction.claim_inbox(group, [MessageId(message)])
            transaction.commit()

    return act


def _task(**fields: Any) -> Delivery:
    return Delivery(tasks=[attrs.evolve(TaskRequest(TaskKind.CHARGE, "k"), **fields)])


_DELIVERIES: dict[str, tuple[int | None, Callable[[str], Delivery]]] = {
    "outbox.id": (limits.TOKEN, lambda text: Delivery(outbox=[OutboxRow(text, Outgoing("t", None, b""))])),
    "outbox.topic": (limits.TOPIC, lambda text: Delivery(outbox=[OutboxRow("a", Outgoing(text, None, b""))])),
    "task.key": (limits.TASK_KEY, lambda text: _task(key=text)),
    "task.payload": (None, lambda text: _task(payload=text)),
    "task.trace": (limits.TRACE, lambda text: _task(trace=text)),
    "dead_letter.id": (limits.TOKEN, lambda text: Delivery(parked=[letter(text)])),
}


def _park(field: str, store: Any, number: int) -> None:
    changed: Any = {field: number}
    flush(store, Delivery(parked=[attrs.evolve(letter("a"), **changed)]))


class LimitContract(StoreLab):
    """The values that the store of any service refuses in the tables that all services have."""

    @pytest.mark.parametrize("field", _DELIVERIES)
    def test_a_text_that_exceeds_its_column_is_refused(self, new_store: Any, field: str) -> None:
        limit, delivery = _DELIVERIES[field]
        refuses(new_store, lambda store, text: flush(store, delivery(text)), limit)

    def test_texts_of_an_inbox_row_are_limited(self, new_store: Any) -> None:
        refuses(new_store, lambda store, text: _claim(text, "m")(store), limits.ID)
        refuses(new_store, lambda store, text: _claim("g", text)(store), limits.ID)

    def test_a_header_must_be_encodable(self, new_store: Any) -> None:
        def write(name: str) -> None:
            flush(new_store(), Delivery(outbox=[OutboxRow("a", Outgoing("t", None, b"", ((name, b"1"),)))]))

        write("a\0b")  # accepted: JSON escapes U+0000
        with pytest.raises(Permanent):
            write(HALF_PAIR)

    def test_values_of_an_attempt_counter_are_limited(self, new_store: Any) -> None:
        place = TopicPartition("t", 0)
        refuses(new_store, lambda store, text: store.start_attempts(text, {place: 0}), limits.ID)
        refuses(new_store, lambda store, text: store.start_attempts("g", {TopicPartition(text, 0): 0}), limits.TOPIC)
        refuses_number(new_store, lambda store, number: store.start_attempts("g", {place: number}))
        refuses_number(
            new_store, lambda store, number: store.start_attempts("g", {TopicPartition("t", number): 0}), 2**31
        )

    def test_a_dead_letter_takes_any_text_and_limits_its_numbers(self, new_store: Any) -> None:
        store = new_store()
        for number, text in enumerate((*bad_texts(1000), "")):
            hostile: dict[str, Any] = dict.fromkeys(
                ("group", "message_id", "topic", "cause", "detail", "order_id"), text
            )
            hostile |= {"id": str(number), "headers": ((text, b"1"),)}
            flush(store, Delivery(parked=[attrs.evolve(letter("a"), **hostile)]))
        assert store.backlog().parked == 4
        for field, bound in (("partition", 2**31), ("attempts", 2**31), ("offset", BEYOND_64_BITS)):
            refuses_number(new_store, partial(_park, field), bound)


class ResponseLimitContract(StoreLab):
    """The values that a store refuses in responses under idempotency keys."""

    @pytest.mark.parametrize(
        ("field", "limit"),
        [("scope", limits.SCOPE), ("key", limits.KEY), ("fingerprint", limits.FINGERPRINT), ("body", None)],
    )
    def test_texts_of_a_stored_response_are_limited(self, new_store: Any, field: str, limit: int | None) -> None:
        def write(store: Any, text: str) -> None:
            with store.begin() as transaction:
                transaction.save_responses([attrs.evolve(StoredResponse("s", "k", "f", "{}"), **{field: text})])
                transaction.commit()

        refuses(new_store, write, limit)
