"""The contract that the stores of all services share: transactions, the inbox and attempt counters.

The suite of each service (`orders`, `inventory`, ...) extends `StoreContract`. A subclass defines

- the fixture `new_store`: a function that makes a new, empty store on each call;
- `advance(seconds)`: moves the store's clock forward. For an adapter whose clock can't be moved, leave `controls_time`
  False: the tests then wait for short leases and skip longer times;
- `now()`: the store's time, if it isn't the machine's;
- `reopen(store)`, if `survives_restart` is True: the same tables after a crash of the process.

Set `concurrent = False` for a store that runs one transaction at a time, so that a second `begin` waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from oms.ports.errors import PortError
from oms.ports.messages import MessageId
from oms.ports.stores.rows import Delivery
from oms.testing.contracts.samples import flush, letter, request, row

T = TypeVar("T")
NewStore = Callable[[], Any]


class StoreLab:
    """The fixtures, flags and helpers that all store suites share; the module's docstring describes them."""

    controls_time = True
    """Whether a test can move the store's clock."""

    concurrent = True
    """Whether the store runs several transactions at the same time."""

    survives_restart = False
    """Whether the tables survive a crash of the process."""

    waits_s = 0.2
    """A call that must wait for another transaction may not end within this time, in seconds."""

    @pytest.fixture
    def new_store(self) -> NewStore:
        """A function that makes a new, empty store on each call."""
        raise NotImplementedError("a contract suite needs the fixture `new_store`")

    @pytest.fixture
    def store(self, new_store: NewStore) -> Any:
        """An empty store."""
        return new_store()

    def advance(self, seconds: float) -> None:
        """Move the store's clock forward; wait if it can't be moved."""
        if seconds > 10:
            pytest.skip("this suite can't set the clock of this store")
        time.sleep(seconds)

    def now(self) -> datetime:
        """Return the store's time."""
        return datetime.now(UTC)

    def reopen(self, store: Any) -> Any:
        """Return the same tables as a new process opens them after a crash."""
        raise NotImplementedError("a store that survives a restart needs `reopen`")

    def meanwhile(self, waiting: Callable[[], T], release: Callable[[], object]) -> T:
        """Return the result of a call; fail if it doesn't wait until `release` has been called."""
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(waiting)
            time.sleep(self.waits_s)
            assert not call.done(), "the call should have waited for the other transaction"
            release()
            return call.result(timeout=10)


def ids(*names: str) -> list[MessageId]:
    """Return message ids."""
    return [MessageId(name) for name in names]


class StoreContract(StoreLab):
    """Transactions, inbox and attempt counters."""

    def test_a_message_is_new_once(self, store: Any) -> None:
        assert _claim(store, "g", "a", "b") == {"a", "b"}
        assert _claim(store, "g", "b", "c") == {"c"}

    def test_each_group_has_its_own_inbox(self, store: Any) -> None:
        _claim(store, "g", "a")
        assert _claim(store, "h", "a") == {"a"}
        assert set(store.all_inbox()) == {("g", "a"), ("h", "a")}

    def test_a_repeat_within_a_claim_or_a_transaction_is_not_new(self, store: Any) -> None:
        with store.begin() as transaction:
            assert sorted(transaction.claim_inbox("g", ids("a", "a"))) == ["a"]
            assert list(transaction.claim_inbox("g", ids("a"))) == []
            transaction.commit()

    def test_an_empty_claim_has_no_effect(self, store: Any) -> None:
        assert _claim(store, "g") == set()

    def test_a_rolled_back_claim_has_no_effect(self, store: Any) -> None:
        with store.begin() as transaction:
            transaction.claim_inbox("g", ids("a"))
            transaction.rollback()
        assert list(store.all_inbox()) == []
        assert _claim(store, "g", "a") == {"a"}

    def test_a_concurrent_claim_waits_and_finds_the_message_handled(self, store: Any) -> None:
        with store.begin() as first:
            first.claim_inbox("g", ids("a"))
            assert self.meanwhile(lambda: _claim(store, "g", "a", "b"), first.commit) == {"b"}

    def test_a_concurrent_claim_waits_and_succeeds_if_the_first_rolls_back(self, store: Any) -> None:
        with store.begin() as first:
            first.claim_inbox("g", ids("a"))
            assert self.meanwhile(lambda: _claim(store, "g", "a"), first.rollback) == {"a"}

    def test_one_claim_takes_many_messages(self, store: Any) -> None:
        many = [f"m{number}" for number in range(1200)]
        assert _claim(store, "g", *many) == set(many)
        assert {name for _, name in store.all_inbox()} == set(many)

    def test_leaving_without_commit_undoes_everything(self, store: Any) -> None:
        _write_everything(store, end=False)
        _assert_nothing(store)

    def test_an_exception_undoes_everything(self, store: Any) -> None:
        with pytest.raises(ZeroDivisionError):
            _write_everything(store, fail=True)
        _assert_nothing(store)

    def test_rollback_after_commit_is_harmless(self, store: Any) -> None:
        with store.begin() as transaction:
            transaction.claim_inbox("g", ids("a"))
            transaction.commit()
            transaction.rollback()
        assert list(store.all_inbox()) == [("g", "a")]

    def test_no_write_is_possible_after_the_end(self, store: Any) -> None:
        with store.begin() as transaction:
            transaction.commit()
        with pytest.raises(PortError):
            transaction.claim_inbox("g", ids("a"))
        assert list(store.all_inbox()) == []

    def test_uncommitted_changes_are_invisible_to_others(self, store: Any) -> None:
        with store.begin() as transaction:
            transaction.flush(Delivery(outbox=[row("r")], tasks=[request("t")], parked=[letter("d")]))
            _assert_nothing(store)
            transaction.commit()
        assert [owed.id for owed in store.all_outbox()] == ["r"]
        assert [(task.kind.value, task.key) for task in store.all_tasks()] == [("charge", "t")]
        assert [parked.id for parked in store.all_dead_letters()] == ["d"]

    def test_an_empty_transaction_commits(self, store: Any) -> None:
        flush(store, Delivery())
        store.ping()
        _assert_nothing(store)

    def test_the_first_currency_is_pinned(self, store: Any) -> None:
        assert store.currency() is None
        assert store.pin_currency("EUR") == "EUR"
        assert store.pin_currency("USD") == "EUR"
        assert store.currency() == "EUR"

    def test_the_time_of_the_first_handled_message_is_known(self, store: Any) -> None:
        assert store.first_handled("g") is None
        _claim(store, "g", "a")
        first = store.first_handled("g")
        assert first.tzinfo is not None
        _claim(store, "g", "b")
        assert store.first_handled("g") == first
        assert store.first_handled("h") is None

    def test_committed_changes_survive_a_crash(self, store: Any) -> None:
        if not self.survives_restart:
            pytest.skip("this store loses its data at a restart")
        _write_everything(store)
        again = self.reopen(store)
        assert list(again.all_inbox()) == [("g", "a")]
        assert [owed.id for owed in again.all_outbox()] == ["r"]
        assert [parked.id for parked in again.all_dead_letters()] == ["d"]


def _claim(store: Any, group: str, *names: str) -> set[str]:
    with store.begin() as transaction:
        new = list(transaction.claim_inbox(group, ids(*names)))
        transaction.commit()
    assert len(new) == len(set(new))
    return set(new)


def _write_everything(store: Any, *, end: bool = True, fail: bool = False) -> None:
    with store.begin() as transaction:
        transaction.claim_inbox("g", ids("a"))
        transaction.flush(Delivery(outbox=[row("r")], tasks=[request("t")], parked=[letter("d")]))
        if fail:
            raise ZeroDivisionError
        if end:
            transaction.commit()


def _assert_nothing(store: Any) -> None:
    assert list(store.all_inbox()) == []
    assert list(store.all_outbox()) == []
    assert list(store.all_tasks()) == []
    assert list(store.all_dead_letters()) == []
