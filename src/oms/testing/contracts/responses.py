"""Idempotency keys: a store keeps the response under (scope, key) for 24 h. Part of the order and inventory suites."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from oms.ports.errors import Retryable
from oms.ports.stores.rows import StoredResponse
from oms.testing.contracts.stores import StoreLab

DAY_S = 24 * 60 * 60


def a_response(key: str, scope: str = "customer:u1 POST /orders", body: str = '{"ok":"✓"}') -> StoredResponse:
    """A response to store."""
    return StoredResponse(scope, key, "fingerprint", body)


class ResponseContract(StoreLab):
    """The contract of a store for the responses to commands with an idempotency key."""

    def test_a_stored_response_is_found_by_scope_and_key(self, store: Any) -> None:
        _save(store, a_response("a"), a_response("a", scope="other"), a_response("b"))
        wanted = [(a_response("a").scope, "a"), ("other", "a"), ("other", "b")]
        assert _find(store, *wanted) == {
            (a_response("a").scope, "a"): a_response("a"),
            ("other", "a"): a_response("a", scope="other"),
        }

    def test_a_response_that_is_rolled_back_is_not_stored(self, store: Any) -> None:
        with store.begin() as transaction:
            transaction.save_responses([a_response("a")])
        assert _find(store, (a_response("a").scope, "a")) == {}

    def test_a_key_has_one_response(self, store: Any) -> None:
        _save(store, a_response("a"))
        with pytest.raises(Retryable):
            _save(store, a_response("a", body="another"))
        assert _find(store, (a_response("a").scope, "a"))[a_response("a").scope, "a"] == a_response("a")

    def test_a_concurrent_second_save_waits_and_is_refused(self, store: Any) -> None:
        with store.begin() as first:
            first.save_responses([a_response("a")])
            first.find_responses([(a_response("a").scope, "a")])  # a store may send its writes only with the next query
            assert self.meanwhile(lambda: _refused(store, a_response("a", body="another")), first.commit)

    def test_a_concurrent_second_save_succeeds_if_the_first_rolls_back(self, store: Any) -> None:
        with store.begin() as first:
            first.save_responses([a_response("a")])
            first.find_responses([(a_response("a").scope, "a")])  # a store may send its writes only with the next query
            assert not self.meanwhile(lambda: _refused(store, a_response("a", body="another")), first.rollback)

    def test_a_response_is_kept_for_a_day(self, store: Any) -> None:
        key = (a_response("a").scope, "a")
        _save(store, a_response("a"))
        self.advance(DAY_S - 60)
        assert key in _find(store, key)
        self.advance(120)
        assert _find(store, key) == {}

    def test_a_key_can_be_used_again_after_its_day(self, store: Any) -> None:
        key = (a_response("a").scope, "a")
        _save(store, a_response("a"))
        self.advance(DAY_S + 60)
        _save(store, a_response("a", body="new"))
        assert _find(store, key)[key].body == "new"

    def test_a_purge_removes_expired_responses(self, store: Any) -> None:
        _save(store, a_response("a"), a_response("b"))
        past, future = self.now() - timedelta(days=1), self.now() + timedelta(days=1)
        assert store.purge(future, keys_older_than=past, limit=10) == 0
        assert store.purge(past, keys_older_than=future, limit=10) == 2
        assert _find(store, (a_response("a").scope, "a")) == {}


def _save(store: Any, *responses: StoredResponse) -> None:
    with store.begin() as transaction:
        transaction.save_responses(responses)
        transaction.commit()


def _refused(store: Any, late: StoredResponse) -> bool:
    try:
        _save(store, late)
    except Retryable:
        return True
    return False


def _find(store: Any, *keys: tuple[str, str]) -> dict[tuple[str, str], StoredResponse]:
    with store.begin() as transaction:
        return dict(transaction.find_responses(keys))
