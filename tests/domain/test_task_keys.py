"""The keys of tasks: fields that can be told apart, and the order that each key belongs to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms.domain.payment import Payment, order_of_key, refund_of_key
from oms.domain.payment_refund import refund_key
from oms.domain.tasks import TaskKind, call_of, composite_key, key_fields, order_of
from oms.domain.values import OrderId

FIELD = st.one_of(st.text(), st.integers())
ID = st.text("aZ9._:-", min_size=1, max_size=64)


@given(st.lists(FIELD, min_size=1), st.lists(FIELD))
def test_a_composite_key_names_its_fields_and_nothing_else(some: list[str | int], others: list[str | int]) -> None:
    key = composite_key(*some)
    assert key_fields(key) == tuple(some)
    assert (composite_key(*others) == key) == (others == some)


@given(ID)
def test_an_id_is_no_composite_key(plain: str) -> None:
    assert key_fields(plain) is None


@given(ID, ID)
def test_the_order_of_a_task_is_read_from_its_key(order_id: str, sku: str) -> None:
    assert order_of(TaskKind.CALL, composite_key("mail", order_id, "0", 1)) == order_id
    assert order_of(TaskKind.NOTIFY, f"{order_id}:order.confirmed") == order_id
    assert order_of(TaskKind.GATE_DELTA, composite_key("restock", order_id, sku)) == order_id
    assert order_of(TaskKind.CHARGE, order_id) == order_id
    assert order_of(TaskKind.REFUND, order_id) == order_id
    assert order_of(TaskKind.REFUND, composite_key(order_id, "r-1")) == order_id
    assert order_of(TaskKind.NOTIFY, composite_key(order_id, "order.shipped", "s-1")) == order_id
    assert order_of(TaskKind.GATE_DELTA, composite_key("refund", order_id, "r-1", sku)) == order_id


def test_a_count_of_stock_belongs_to_no_order() -> None:
    assert order_of(TaskKind.GATE_DELTA, composite_key("count", "reference", "apple")) is None


@pytest.mark.parametrize(("key", "name", "order_id"), [("mail:7", "mail", "7"), ("call off:a:b", "call off", "a:b")])
def test_keys_of_the_old_form_are_read_as_before(key: str, name: str, order_id: str) -> None:
    assert call_of(key) == (name, order_id)
    assert order_of(TaskKind.GATE_DELTA, "restock:a:b:c") is None, "it names two orders"


def test_the_key_of_a_payment_names_its_order() -> None:
    assert order_of_key(Payment(order_id=OrderId("a-b:1")).key) == "a-b:1"
    assert order_of_key("oms/a-b:1/refund/r-1/2") == "a-b:1"
    assert order_of_key("web-shop-17") is None
    assert refund_of_key(Payment(order_id=OrderId("a-b:1")).key) == "whole"
    assert refund_of_key(refund_key(OrderId("a-b:1"), "r-1", 2)) == "r-1"
    for other in ("web-shop-17", "oms/o/capture/1", "oms/o", ""):
        assert refund_of_key(other) is None
