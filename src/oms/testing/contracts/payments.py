"""The payment service's store: one row for each order, and the first transaction that inserts it wins."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from oms.domain.payment import Payment, PaymentState
from oms.ports import limits
from oms.ports.errors import Permanent, Retryable
from oms.testing.contracts.dead_letters import DeadLetterContract
from oms.testing.contracts.limits import HALF_PAIR, LimitContract, refuses
from oms.testing.contracts.outbox import OutboxContract
from oms.testing.contracts.registration import RegistrationContract
from oms.testing.contracts.samples import AT, LATER, order_id, terms
from oms.testing.contracts.stores import StoreContract
from oms.testing.contracts.tasks import TaskContract

ONE, TWO = order_id(1), order_id(2)


class PaymentStoreContract(
    StoreContract, TaskContract, OutboxContract, RegistrationContract, DeadLetterContract, LimitContract
):
    """The contract of `PaymentStore` and `PaymentEvidence`."""

    def test_a_payment_is_read_back_unchanged(self, store: Any) -> None:
        started = _start(store)
        assert store.payments([ONE, TWO]) == {ONE: started}
        captured = started.captured("p-1", at=AT + LATER).aggregate
        _save(store, started, captured)
        assert store.payments([ONE]) == {ONE: captured}
        assert list(store.all_payments()) == [captured]
        with store.begin() as transaction:
            assert transaction.lock_payments([TWO, ONE]) == {ONE: captured}

    def test_texts_and_numbers_of_a_payment_are_limited(self, new_store: Any) -> None:
        def write(store: Any, **fields: Any) -> None:
            started = Payment(order_id=ONE).start(terms(), at=AT).aggregate
            _save(store, Payment(order_id=ONE), attrs.evolve(started, **fields))

        for field in ("order_id", "user_id", "payment_id"):
            refuses(new_store, lambda store, text, field=field: write(store, **{field: text}), limits.ID)  # type: ignore[misc]
        with pytest.raises(Permanent):
            write(new_store(), metadata={HALF_PAIR: "v"})

    def test_a_tombstone_is_a_payment(self, store: Any) -> None:
        agreed = terms()
        tombstone = Payment(order_id=ONE).cancel(agreed.user_id, agreed.total, at=AT).aggregate
        _save(store, Payment(order_id=ONE), tombstone)
        assert store.payments([ONE]) == {ONE: tombstone}
        assert tombstone.state is PaymentState.VOIDED

    def test_inserting_a_known_payment_is_retryable(self, store: Any) -> None:
        started = _start(store)
        with pytest.raises(Retryable):
            _start(store)
        assert store.payments([ONE]) == {ONE: started}

    def test_saving_an_outdated_state_is_retryable(self, store: Any) -> None:
        started = _start(store)
        declined = started.declined(at=AT).aggregate
        _save(store, started, declined)
        with pytest.raises(Retryable):
            _save(store, started, started.captured("p-1", at=AT).aggregate)
        assert store.payments([ONE]) == {ONE: declined}

    def test_charge_and_tombstone_compete_for_one_row(self, store: Any) -> None:
        agreed = terms()
        tombstone = Payment(order_id=ONE).cancel(agreed.user_id, agreed.total, at=AT).aggregate
        with store.begin() as first:
            first.save_payments([(Payment(order_id=ONE), tombstone)])
            first.lock_payments([ONE])
            assert self.meanwhile(lambda: _refused(store), first.commit)
        assert store.payments([ONE]) == {ONE: tombstone}

    def test_a_second_lock_sees_the_first_change(self, store: Any) -> None:
        started = _start(store)
        captured = started.captured("p-1", at=AT).aggregate
        with store.begin() as first:
            first.lock_payments([ONE])
            first.save_payments([(started, captured)])
            assert self.meanwhile(lambda: _locked(store), first.commit) == {ONE: captured}

    def test_a_rollback_keeps_the_payment(self, store: Any) -> None:
        started = _start(store)
        with store.begin() as transaction:
            transaction.save_payments([(started, started.declined(at=AT).aggregate)])
            assert store.payments([ONE]) == {ONE: started}
        assert store.payments([ONE]) == {ONE: started}


def _start(store: Any) -> Payment:
    started = Payment(order_id=ONE).start(terms(), at=AT).aggregate
    _save(store, Payment(order_id=ONE), started)
    return started


def _save(store: Any, before: Payment, after: Payment) -> None:
    with store.begin() as transaction:
        transaction.save_payments([(before, after)])
        transaction.commit()


def _refused(store: Any) -> bool:
    try:
        _start(store)
    except Retryable:
        return True
    return False


def _locked(store: Any) -> dict[str, Payment]:
    with store.begin() as transaction:
        return dict(transaction.lock_payments([ONE]))
