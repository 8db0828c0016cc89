"""The store of a user's own steps: one JSON document for each order, replaced by compare-and-set on its text."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from oms.ports import limits
from oms.ports.broker import TopicPartition
from oms.ports.errors import Retryable
from oms.testing.contracts.dead_letters import DeadLetterContract
from oms.testing.contracts.limits import LimitContract, refuses
from oms.testing.contracts.outbox import OutboxContract
from oms.testing.contracts.registration import RegistrationContract
from oms.testing.contracts.stores import StoreContract
from oms.testing.contracts.tasks import TaskContract


class StepStoreContract(
    StoreContract, TaskContract, OutboxContract, RegistrationContract, DeadLetterContract, LimitContract
):
    """The contract of `StepStore`."""

    def test_a_document_is_read_back_unchanged(self, store: Any) -> None:
        _save(store, "g", "k", None, '{"a": "✓"}')
        assert store.document("g", "k") == '{"a": "✓"}'
        assert store.document("h", "k") is None
        assert store.document("g", "other") is None
        assert _locked(store, "g", "k", "other") == {"k": '{"a": "✓"}'}

    def test_the_size_of_a_document_is_limited(self, new_store: Any) -> None:
        refuses(new_store, lambda store, text: _save(store, text, "k", None, "1"), limits.ID)
        refuses(new_store, lambda store, text: _save(store, "g", text, None, "1"), limits.DOCUMENT_KEY)
        refuses(new_store, lambda store, text: _save(store, "g", "k", None, text), None)

    def test_groups_are_independent(self, store: Any) -> None:
        _save(store, "g", "k", None, "1")
        _save(store, "h", "k", None, "2")
        assert (store.document("g", "k"), store.document("h", "k")) == ("1", "2")

    def test_a_document_is_replaced_by_compare_and_set(self, store: Any) -> None:
        _save(store, "g", "k", None, "1")
        _save(store, "g", "k", "1", "2")
        with pytest.raises(Retryable):
            _save(store, "g", "k", "1", "3")
        assert store.document("g", "k") == "2"

    def test_inserting_a_known_document_is_retryable(self, store: Any) -> None:
        _save(store, "g", "k", None, "1")
        with pytest.raises(Retryable):
            _save(store, "g", "k", None, "2")
        with pytest.raises(Retryable):
            _save(store, "g", "unknown", "1", "2")

    def test_a_second_lock_sees_the_first_change(self, store: Any) -> None:
        _save(store, "g", "k", None, "1")
        with store.begin() as first:
            first.lock_documents("g", ["k"])
            first.save_documents("g", [("k", "1", "2")])
            assert self.meanwhile(lambda: _locked(store, "g", "k"), first.commit) == {"k": "2"}

    def test_the_first_start_offsets_are_pinned_for_ever(self, store: Any) -> None:
        first = {TopicPartition("t", 1): 2**40, TopicPartition("t", 0): 0, TopicPartition("x" * limits.TOPIC, 7): 3}
        assert store.start_offsets("g") is None
        assert store.pin_start_offsets("g", first) == first
        assert store.pin_start_offsets("g", {TopicPartition("t", 0): 9}) == first
        assert store.start_offsets("g") == first
        assert store.start_offsets("h") is None
        assert store.pin_start_offsets("h", {}) == store.start_offsets("h") == {}

    def test_processes_that_pin_start_offsets_at_once_get_the_same(self, store: Any) -> None:
        wanted = [{TopicPartition("t", 0): number} for number in range(8)]
        with ThreadPoolExecutor(8) as pool:
            kept = list(pool.map(lambda one: store.pin_start_offsets("g", one), wanted))
        assert kept == [kept[0]] * 8
        assert kept[0] in wanted

    def test_a_rollback_keeps_the_document(self, store: Any) -> None:
        with store.begin() as transaction:
            transaction.save_documents("g", [("k", None, "1")])
            assert store.document("g", "k") is None
        assert store.document("g", "k") is None


def _save(store: Any, group: str, key: str, before: str | None, after: str) -> None:
    with store.begin() as transaction:
        transaction.save_documents(group, [(key, before, after)])
        transaction.commit()


def _locked(store: Any, group: str, *keys: str) -> dict[str, str]:
    with store.begin() as transaction:
        return dict(transaction.lock_documents(group, keys))
