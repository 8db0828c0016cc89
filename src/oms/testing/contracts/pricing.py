"""Pricing: it returns a legal total in the system's currency, always the same for equal terms, or refuses with a code.

A subclass defines the fixture `pricing` and the attributes `skus` (products that have a price) and `currency`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oms.domain.errors import DomainError
from oms.domain.money import MAX_MINOR, Currency, Money
from oms.domain.terms import Terms
from oms.testing.contracts.extension_calls import THREADS, assert_plain, at_once, unchanged, within
from oms.testing.contracts.extension_samples import HOSTILE_METADATA, any_terms, terms
from oms.testing.contracts.samples import SUITE_CHECKS

UNKNOWN = "no-such-product"


class PricingContract:
    """The contract of `Pricing`."""

    currency = Currency.of("USD")
    """The system's currency (`OMS_CURRENCY`)."""

    skus: tuple[str, ...] = ("sku-a", "sku-b")
    """Products that have a price."""

    within_s = 5.0
    """Time limit of one call, in seconds. The caller of `place` waits for it."""

    @pytest.fixture
    def pricing(self) -> Any:
        """The pricing to test."""
        raise NotImplementedError("a contract suite needs the fixture `pricing`")

    def test_price_is_a_plain_function(self, pricing: Any) -> None:
        assert_plain(pricing, "price")

    def test_products_have_a_price(self, pricing: Any) -> None:
        for sku in self.skus:
            found = self.priced(pricing, self.terms({sku: 1}))
            assert isinstance(found, Money), f"{sku} has no price: {found!r}"

    @settings(max_examples=50, deadline=None, suppress_health_check=SUITE_CHECKS)
    @given(data=st.data())
    def test_any_order_gets_a_legal_total_or_a_refusal(self, pricing: Any, data: st.DataObject) -> None:
        self.priced(pricing, data.draw(any_terms(self.currency, self.skus)))

    def test_an_unknown_product_is_no_crash(self, pricing: Any) -> None:
        self.priced(pricing, self.terms({UNKNOWN: 1}))
        self.priced(pricing, self.terms({self.skus[0]: 1, UNKNOWN: 1}))

    def test_equal_terms_have_the_equal_total(self, pricing: Any) -> None:
        items = dict.fromkeys(self.skus, 3)
        first = self.priced(pricing, self.terms(items))
        self.priced(pricing, self.terms({self.skus[0]: 7}))
        again = self.priced(pricing, self.terms(dict(reversed(items.items()))))
        assert again == first, f"equal terms cost {first} and then {again}: a repeated request would be another order"

    def test_the_metadata_may_hold_any_text(self, pricing: Any) -> None:
        self.priced(pricing, self.terms({self.skus[0]: 1}, metadata=HOSTILE_METADATA))

    def test_it_prices_from_several_threads_at_once(self, pricing: Any) -> None:
        orders = [self.terms({self.skus[0]: number}) for number in range(1, THREADS + 1)]
        alone = [self.priced(pricing, order) for order in orders]
        together = at_once(self.within_s, [partial(_answer, pricing, order) for order in orders])
        assert together == alone, f"calls at the same time cost {together}, one after the other {alone}"

    def terms(self, items: dict[str, int], **more: Any) -> Terms:
        """Return terms in the system's currency."""
        return terms(self.currency, items, **more)

    def priced(self, pricing: Any, terms: Terms) -> object:
        """Return the total or the refusal's code; fail on an illegal result, a changed argument or a slow call."""
        with unchanged("terms", terms.items, terms.metadata):
            found = within(self.within_s, lambda: _answer(pricing, terms))
        if isinstance(found, Money):
            self.assert_legal(found)
        else:
            assert isinstance(found, str), f"price must return Money, not {type(found).__name__}: {found!r}"
        return found

    def assert_legal(self, total: Money) -> None:
        """Fail unless the total can be charged."""
        assert total.currency == self.currency, f"the total is in {total.currency}, not in {self.currency}"
        assert type(total.minor) is int, f"the total can't be charged: {total.minor!r} isn't whole minor units (an int)"
        assert 0 <= total.minor <= MAX_MINOR, (
            f"the total can't be charged: {total.minor} is out of bounds (0 to {MAX_MINOR} minor units)"
        )


_OF_MONEY = ("invalid_amount", "invalid_currency")
"""Codes of `Money` for illegal amounts. To refuse an order, pricing raises an error with another code."""


def _assert_meant(refusal: DomainError) -> None:
    assert refusal.code not in _OF_MONEY, f"price made an amount that can't be charged: {refusal}"


def _answer(pricing: Any, terms: Terms) -> object:
    try:
        found = pricing.price(terms)
    except DomainError as refusal:
        _assert_meant(refusal)
        return refusal.code
    except Exception as error:
        raise AssertionError(f"price may raise `DomainError` only, not {type(error).__name__}: {error}") from error
    assert not isinstance(found, str), f"price must return Money, not the text {found!r}"
    return found
