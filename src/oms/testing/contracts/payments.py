"""The payment service's store: one row for each order, and the first transaction that inserts it wins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from oms.domain.events import OrderPaymentInstructed
from oms.domain.payment import Payment, PaymentState
from oms.domain.refund import Instruction
from oms.domain.state_machine import Transition
from oms.domain.values import Metadata, Sku
from oms.ports import limits
from oms.ports.errors import Permanent, Retryable
from oms.testing.contracts.dead_letters import DeadLetterContract
from oms.testing.contracts.limits import HALF_PAIR, LimitContract, refuses
from oms.testing.contracts.outbox import OutboxContract
from oms.testing.contracts.registration import RegistrationContract
from oms.testing.contracts.samples import AT, LATER, order_id, refund_requested, terms
from oms.testing.contracts.stores import StoreContract
from oms.testing.contracts.tasks import TaskContract

ONE, TWO = order_id(1), order_id(2)
Step = Callable[[Payment], Transition[Payment]]


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

    def test_refunds_are_read_back_unchanged_after_each_step(self, store: Any) -> None:
        payment = _captured(store)
        steps: tuple[Step, ...] = (
            _requested("r-1", "2.50"),
            _requested("r-2", "0"),
            lambda known: known.part_refund_refused("r-1", "closed ✓", at=AT),
            lambda known: known.instructed(_instruction("r-1"), at=AT),
            lambda known: known.part_refund_paid("r-1", at=AT + LATER),
            _requested("r-3", "10.00", metadata={}),
            _requested("r-4", "0", metadata={"channel": "other"}),
        )
        for step in steps:
            payment = _take(store, payment, step)
            assert store.payments([ONE]) == {ONE: payment}
            assert _locked(store) == {ONE: payment}
            assert list(store.all_payments()) == [payment]
        states = [(refund.state.value, refund.attempt) for refund in payment.refunds]
        assert states == [("PAID", 1), ("PAID", 2), ("DUE", 1), ("PAID", 1)]
        assert payment.part_events() == store.payments([ONE])[ONE].part_events()

    def test_the_refused_refund_of_a_whole_payment_is_stored(self, store: Any) -> None:
        payment = _captured(store)
        for step in (_cancelled, lambda known: known.refund_refused("closed", at=AT)):
            payment = _take(store, payment, step)
        found = store.payments([ONE])[ONE]
        assert (found, found.whole_refund.refused) == (payment, "closed")
        assert found.refund_key(found.whole_refund) == payment.key

    def test_two_refunds_wait_for_each_other_and_both_are_stored(self, store: Any) -> None:
        payment = _captured(store)
        step = _requested("r-1", "2.50")(payment)

        def second() -> Payment:
            with store.begin() as transaction:
                known: Payment = transaction.lock_payments([ONE])[ONE]
                after = _requested("r-2", "3.50")(known).aggregate
                transaction.save_payments([(known, after)])
                transaction.commit()
            return after

        with store.begin() as first:
            first.lock_payments([ONE])
            first.save_payments([(payment, step.aggregate)])
            after = self.meanwhile(second, first.commit)
        assert [refund.id for refund in after.refunds] == ["r-1", "r-2"]
        assert store.payments([ONE]) == {ONE: after}

    def test_a_refund_keeps_its_metadata_and_reason_encodable(self, new_store: Any) -> None:
        def write(**fields: Any) -> None:
            store = new_store()
            payment = _captured(store)
            (refund,) = _requested("r-1", "2.50")(payment).aggregate.refunds
            _save(store, payment, attrs.evolve(payment, refunds=(attrs.evolve(refund, **fields),)))

        for field, make in (("refused", str), ("metadata", lambda text: {"k": text})):
            write(**{field: make("a\0b")})  # accepted: JSON escapes U+0000
            with pytest.raises(Permanent):
                write(**{field: make(HALF_PAIR)})

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


def _requested(name: str, amount: str, metadata: Metadata | None = None) -> Step:
    event = refund_requested(name, amount, {Sku("sku-a"): 1}, metadata)
    return lambda payment: payment.refund_requested(event, at=AT)


def _instruction(refund: str) -> OrderPaymentInstructed:
    return OrderPaymentInstructed(ONE, terms().user_id, refund, Instruction.RETRY, 1, "ops", "again")


def _cancelled(payment: Payment) -> Transition[Payment]:
    return payment.cancel(terms().user_id, terms().total, at=AT)


def _captured(store: Any) -> Payment:
    return _take(store, _start(store), lambda payment: payment.captured("p-1", at=AT))


def _take(store: Any, payment: Payment, step: Step) -> Payment:
    after = step(payment).aggregate
    _save(store, payment, after)
    return after


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
