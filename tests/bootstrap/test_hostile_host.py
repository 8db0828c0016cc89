"""A host program with a decimal context, a time zone and a locale of its own: amounts, times and texts stay the same."""

from __future__ import annotations

import decimal
import locale
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import oms
from oms.domain.money import MAX_MINOR, Currency, Money
from oms.entrypoints.http import views
from oms.testing import Shop

SIGNALS = [
    decimal.Clamped,
    decimal.DivisionByZero,
    decimal.FloatOperation,
    decimal.Inexact,
    decimal.InvalidOperation,
    decimal.Overflow,
    decimal.Rounded,
    decimal.Subnormal,
    decimal.Underflow,
]
ROUNDINGS = [decimal.ROUND_UP, decimal.ROUND_DOWN, decimal.ROUND_CEILING, decimal.ROUND_FLOOR, decimal.ROUND_05UP]
CURRENCIES = st.sampled_from(["USD", "JPY", "BHD", "CLF"]).map(Currency.of)
EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def contexts(draw: st.DrawFn) -> decimal.Context:
    return decimal.Context(
        prec=draw(st.integers(1, 6)),
        rounding=draw(st.sampled_from(ROUNDINGS)),
        Emin=draw(st.sampled_from([-999999, -1, 0])),
        Emax=draw(st.sampled_from([999999, 1, 0])),
        capitals=draw(st.integers(0, 1)),
        clamp=draw(st.integers(0, 1)),
        traps=draw(st.lists(st.sampled_from(SIGNALS), unique=True)),
    )


@contextmanager
def host(context: decimal.Context, zone: str = "UTC") -> Iterator[None]:
    with patch.dict(os.environ, {"TZ": zone, "LC_ALL": "C"}), decimal.localcontext(context):
        time.tzset()
        known = locale.setlocale(locale.LC_ALL)
        try:
            locale.setlocale(locale.LC_ALL, "")
            yield
        finally:
            locale.setlocale(locale.LC_ALL, known)
    time.tzset()


@EXAMPLES
@given(contexts(), CURRENCIES, st.integers(0, MAX_MINOR))
def test_amounts_are_the_same_in_any_decimal_context(context: decimal.Context, currency: Currency, minor: int) -> None:
    exact = Money(minor, currency)
    wanted, written = exact.amount, str(exact)
    with host(context):
        assert exact.amount.as_tuple() == wanted.as_tuple()
        assert Money.of(str(wanted), currency) == Money.of(wanted, currency) == exact
        assert str(exact) == written
        with pytest.raises(oms.InvalidValue):
            Money.of(f"{minor}.00001", currency)
        with pytest.raises(oms.InvalidValue):
            Money.of("none", currency)


@pytest.mark.parametrize("profile", ["memory", "embedded"])
def test_orders_are_the_same_in_any_host(profile: str, tmp_path: Path) -> None:
    app = oms.create(environ={}, profile=profile, data=tmp_path, default_stock=100, log_level="error")
    _ = app.system

    @settings(EXAMPLES, max_examples=15)
    @given(contexts(), st.sampled_from(["America/St_Johns", "Pacific/Kiritimati"]), st.integers(1, 10**13))
    def any_host(context: decimal.Context, zone: str, minor: int) -> None:
        amount = f"{minor // 100}.{minor % 100:02}"
        with host(context, zone):
            order = app.orders.place(app.draft("ann", amount, {"cup": 1}))
            app.run()
            found = app.orders.get(order.id)
            shown = views.order_view(found)
        assert str(shown.total_amount) == amount.removesuffix(".00")
        assert found.terms is not None
        assert found.terms.total == Money(minor, app.currency)
        assert found.deadline_at == order.deadline_at
        assert found.deadline_at.tzinfo == UTC

    any_host()
    assert app.dead_letters.page() == []
    app.stop()


def test_a_whole_saga_in_a_hostile_host() -> None:
    context = decimal.Context(prec=1, Emin=0, Emax=0, traps=SIGNALS)
    with host(context, "Pacific/Kiritimati"):
        shop = Shop()
        order = shop.place(amount="12345.67")
        shop.run()
        assert shop.status(order) == "CONFIRMED"
        (paid,) = shop.published("payment.success")
    assert paid.amount.amount == Decimal("12345.67")  # type: ignore[union-attr]
