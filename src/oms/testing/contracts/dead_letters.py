"""Dead letters, attempt counters, and the removal of rows after their retention period. Part of every store's suite."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs
import pytest

from oms.ports.broker import TopicPartition
from oms.ports.stores.rows import DeadLetterState, Delivery, summary_of
from oms.testing.contracts.samples import AT, flush, letter
from oms.testing.contracts.stores import StoreLab, ids

PARKED, REDRIVEN, DISCARDED = DeadLetterState.PARKED, DeadLetterState.REDRIVEN, DeadLetterState.DISCARDED
P0, P1 = TopicPartition("order.created", 0), TopicPartition("order.created", 1)


class DeadLetterContract(StoreLab):
    """The contract of a store for dead letters, attempt counters and purges."""

    def test_a_dead_letter_keeps_every_field(self, store: Any) -> None:
        flush(store, Delivery(parked=[letter("a")]))
        assert store.dead_letter("a") == letter("a")
        assert list(store.dead_letters()) == [summary_of(letter("a"))]
        assert list(store.all_dead_letters()) == [letter("a")]
        assert store.dead_letter("unknown") is None

    def test_pages_list_the_oldest_first(self, store: Any) -> None:
        ages = {"a": 3, "b": 9, "c": 6}
        flush(store, Delivery(parked=[letter(name, AT - timedelta(hours=age)) for name, age in ages.items()]))
        assert [one.id for one in store.dead_letters()] == ["b", "c", "a"]
        assert [one.id for one in store.dead_letters(limit=2)] == ["b", "c"]
        assert [one.id for one in store.dead_letters(limit=2, offset=2)] == ["a"]

    def test_a_state_changes_under_a_lock(self, store: Any) -> None:
        flush(store, Delivery(parked=[letter("a"), letter("b")]))
        with store.begin() as transaction:
            assert [one.id for one in transaction.lock_dead_letters(["a", "unknown"])] == ["a"]
            transaction.mark_dead_letters(["a"], REDRIVEN)
            transaction.commit()
        assert store.dead_letter("a").state is REDRIVEN
        assert [one.id for one in store.dead_letters(PARKED)] == ["b"]
        assert [one.id for one in store.dead_letters(REDRIVEN)] == ["a"]
        assert store.backlog().parked == 1

    def test_a_rollback_keeps_the_state(self, store: Any) -> None:
        flush(store, Delivery(parked=[letter("a")]))
        with store.begin() as transaction:
            transaction.mark_dead_letters(["a"], DISCARDED)
        assert store.dead_letter("a").state is PARKED

    def test_parking_a_known_letter_again_replaces_every_field(self, store: Any) -> None:
        flush(store, Delivery(parked=[letter("a", state=REDRIVEN), letter("b")]))
        again = attrs.evolve(
            letter("a", AT + timedelta(hours=1)),
            cause="ValueError",
            detail="another one",
            attempts=9,
            value=b"{}",
            headers=(),
            order_id=None,
        )
        with store.begin() as transaction:
            transaction.lock_dead_letters(["a"])
            transaction.park_again([again])
            transaction.commit()
        assert store.dead_letter("a") == again
        assert store.dead_letter("b") == letter("b")
        assert store.backlog().parked == 2

    def test_an_absent_letter_cannot_be_parked_again(self, store: Any) -> None:
        with store.begin() as transaction:
            transaction.park_again([letter("a")])
            transaction.commit()
        assert store.dead_letter("a") is None

    def test_a_second_lock_sees_the_first_change(self, store: Any) -> None:
        flush(store, Delivery(parked=[letter("a")]))
        with store.begin() as first:
            first.lock_dead_letters(["a"])
            first.mark_dead_letters(["a"], REDRIVEN)
            assert self.meanwhile(lambda: _locked_state(store), first.commit) is REDRIVEN

    def test_a_batch_at_the_same_offset_increases_the_attempt_count(self, store: Any) -> None:
        assert store.start_attempts("g", {P0: 7, P1: 1}) == {P0: 1, P1: 1}
        assert store.start_attempts("g", {P0: 7}) == {P0: 2}
        assert store.start_attempts("g", {P0: 7, P1: 2}) == {P0: 3, P1: 1}

    def test_a_batch_at_another_offset_resets_the_attempt_count(self, store: Any) -> None:
        store.start_attempts("g", {P0: 7})
        assert store.start_attempts("g", {P0: 8}) == {P0: 1}
        assert store.start_attempts("g", {P0: 7}) == {P0: 1}

    def test_each_group_has_its_own_attempt_counts(self, store: Any) -> None:
        store.start_attempts("g", {P0: 7})
        assert store.start_attempts("h", {P0: 7}) == {P0: 1}

    def test_a_partition_that_is_given_back_has_no_attempt_count(self, store: Any) -> None:
        store.start_attempts("g", {P0: 7, P1: 1})
        store.clear_attempts("g", [P0])
        store.clear_attempts("h", [P1])
        assert store.start_attempts("g", {P0: 7, P1: 1}) == {P0: 1, P1: 2}

    def test_attempt_counts_survive_a_crash(self, store: Any) -> None:
        if not self.survives_restart:
            pytest.skip("this store loses its data at a restart")
        store.start_attempts("g", {P0: 7})
        assert self.reopen(store).start_attempts("g", {P0: 7}) == {P0: 2}

    def test_a_purge_removes_expired_rows(self, store: Any) -> None:
        self._fill(store)
        now = self.now()
        assert store.purge(now - timedelta(days=1), keys_older_than=now - timedelta(days=1), limit=100) == 0
        later = now + timedelta(days=1)
        assert store.purge(later, keys_older_than=later, limit=100) == 4
        assert list(store.all_inbox()) == []
        assert [one.id for one in store.all_dead_letters()] == ["parked"]

    def test_a_purge_removes_at_most_its_limit(self, store: Any) -> None:
        self._fill(store)
        later = self.now() + timedelta(days=1)
        assert [store.purge(later, keys_older_than=later, limit=3) for _ in range(3)] == [3, 1, 0]

    def _fill(self, store: Any) -> None:
        """Store two inbox rows and one dead letter in each state."""
        now = self.now()
        with store.begin() as transaction:
            transaction.claim_inbox("g", ids("a", "b"))
            letters = [letter("parked", now), letter("redriven", now), letter("discarded", now)]
            transaction.flush(Delivery(parked=letters))
            transaction.commit()
        with store.begin() as transaction:
            transaction.mark_dead_letters(["redriven"], REDRIVEN)
            transaction.mark_dead_letters(["discarded"], DISCARDED)
            transaction.commit()


def _locked_state(store: Any) -> DeadLetterState:
    with store.begin() as transaction:
        (found,) = transaction.lock_dead_letters(["a"])
    state: DeadLetterState = found.state
    return state
