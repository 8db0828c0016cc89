"""The store of a user's own steps: documents by compare-and-set on their text."""

from __future__ import annotations

from typing import Any

import pytest

from oms.ports import limits
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
    """What `StepStore` promises."""

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
