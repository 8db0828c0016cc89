"""The outbox: a row is inserted with a lease, swept when the lease has expired, and deleted when it is sent.

Part of every store's suite.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from oms.ports.messages import Outgoing
from oms.ports.stores.rows import Delivery, OutboxRow
from oms.testing.contracts.samples import ODD_HEADERS, owe, row
from oms.testing.contracts.stores import StoreLab

LEASE_S = 0.5
LAPSED_S = 0.6


class OutboxContract(StoreLab):
    """The contract of a store for committed messages that aren't published yet."""

    def test_a_row_is_leased_to_the_process_that_committed_it(self, store: Any) -> None:
        owe(store, [row("a", self.now() + timedelta(seconds=LEASE_S))])
        assert _sweep(store) == []
        assert [owed.id for owed in store.all_outbox()] == ["a"]

    def test_a_row_with_an_expired_lease_is_swept(self, store: Any) -> None:
        if not self.controls_time:
            pytest.skip("this store takes the time of a row's first lease from its own clock")
        owe(store, [row("a", self.now() + timedelta(seconds=LEASE_S))])
        self.advance(30)
        assert _sweep(store) == ["a"]

    def test_a_row_without_a_lease_is_swept_at_once(self, store: Any) -> None:
        owe(store, [row("a")])
        assert _sweep(store) == ["a"]

    def test_a_swept_row_is_leased_again(self, store: Any) -> None:
        owe(store, [row("a")])
        (swept,) = store.claim_outbox(10, LEASE_S)
        assert swept.leased_until is not None
        assert swept.leased_until > self.now()
        assert _sweep(store) == []
        self.advance(LAPSED_S)
        assert _sweep(store) == ["a"]

    def test_bytes_are_read_back_unchanged(self, store: Any) -> None:
        messages = [
            Outgoing("order.created", None, b"\x00\xff", ODD_HEADERS),
            Outgoing("order.created", b"", b"", ()),
            Outgoing("a-topic", b"\xfe", b"{}", (("k", b"v"),)),
        ]
        owe(store, [OutboxRow(f"r{number}", message) for number, message in enumerate(messages)])
        found = sorted(store.claim_outbox(10, LEASE_S), key=lambda owed: str(owed.id))
        assert [owed.message for owed in found] == messages

    def test_a_claim_returns_at_most_its_limit_and_each_row_once(self, store: Any) -> None:
        owe(store, [row(f"r{number}") for number in range(5)])
        first, second = _sweep(store, 3), _sweep(store, 3)
        assert (len(first), len(second)) == (3, 2)
        assert sorted(first + second) == [f"r{number}" for number in range(5)]

    def test_rows_are_found_in_any_order_of_ids(self, store: Any) -> None:
        """A relay that remembers the highest id it saw would never find `a`."""
        owe(store, [row("b")])
        assert _sweep(store) == ["b"]
        store.mark_sent(["b"])
        owe(store, [row("a")])
        assert _sweep(store) == ["a"]

    def test_a_lower_id_that_commits_later_is_claimed(self, store: Any) -> None:
        if not self.concurrent:
            pytest.skip("this store runs one transaction at a time")
        with store.begin() as slow:
            slow.flush(Delivery(outbox=[row("a")]))
            owe(store, [row("b")])
            assert _sweep(store) == ["b"]
            store.mark_sent(["b"])
            slow.commit()
        assert _sweep(store) == ["a"]

    def test_a_sent_row_is_removed(self, store: Any) -> None:
        owe(store, [row("a"), row("b")])
        store.mark_sent(["a", "unknown"])
        store.mark_sent(["a"])
        store.mark_sent([])
        assert [owed.id for owed in store.all_outbox()] == ["b"]
        assert _sweep(store) == ["b"]

    def test_a_row_that_is_given_back_can_be_claimed(self, store: Any) -> None:
        owe(store, [row("a", self.now() + timedelta(hours=1)), row("b", self.now() + timedelta(hours=1))])
        store.return_outbox(["a", "unknown"])
        assert _sweep(store) == ["a"]

    def test_a_row_that_was_sent_cannot_be_given_back(self, store: Any) -> None:
        owe(store, [row("a")])
        store.mark_sent(["a"])
        store.return_outbox(["a"])
        assert list(store.all_outbox()) == []

    def test_next_due_and_backlog_include_the_outbox(self, store: Any) -> None:
        assert (store.backlog().outbox, store.backlog().oldest_outbox_at) == (0, None)
        owe(store, [row("a"), row("b", self.now() + timedelta(hours=1))])
        assert store.next_due() <= self.now()
        assert store.backlog().outbox == 2
        assert abs(store.backlog().oldest_outbox_at - self.now()) < timedelta(seconds=5)

    def test_a_lease_postpones_next_due(self, store: Any) -> None:
        owe(store, [row("a")])
        store.claim_outbox(10, 600)
        assert store.next_due() > self.now() + timedelta(seconds=300)

    def test_rows_of_excluded_topics_keep_their_lease_and_do_not_count(self, store: Any) -> None:
        blocked = [OutboxRow(f"b{number}", Outgoing("ship.unread", None, b"{}")) for number in range(5)]
        owe(store, [*blocked, row("x"), row("y")])
        assert sorted(owed.id for owed in store.claim_outbox(3, LEASE_S, ["ship.unread", "another"])) == ["x", "y"]
        assert list(store.claim_outbox(3, LEASE_S, ["ship.unread"])) == []
        assert sorted(_sweep(store)) == [owed.id for owed in blocked]

    def test_next_due_ignores_leases_of_excluded_topics(self, store: Any) -> None:
        owe(store, [OutboxRow("a", Outgoing("ship.unread", None, b"{}"))])
        assert store.next_due() <= self.now()
        assert store.next_due(["ship.unread"]) is None
        owe(store, [row("b", self.now() + timedelta(hours=1))])
        assert store.next_due(["ship.unread"]) > self.now() + timedelta(minutes=30)

    def test_many_rows_are_sent(self, store: Any) -> None:
        names = [f"r{number:04d}" for number in range(1200)]
        owe(store, [row(name) for name in names])
        assert sorted(_sweep(store, 2000)) == names
        store.mark_sent(names)
        assert list(store.all_outbox()) == []


def _sweep(store: Any, limit: int = 100) -> list[str]:
    return [owed.id for owed in store.claim_outbox(limit, LEASE_S)]
