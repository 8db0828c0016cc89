"""Policy: it accepts an order by returning None and refuses it by raising `Refused`; no other result is legal.

A subclass defines the fixture `policy` and, unless `refuses = False`, the method `refused`, which returns the terms and
the caller of an order that the policy refuses. `skus` are products that may be ordered.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oms.domain.errors import DomainError, Refused
from oms.domain.money import Currency
from oms.domain.terms import Terms
from oms.ports.extensions import Principal
from oms.testing.contracts.extension_calls import THREADS, assert_plain, at_once, unchanged, within
from oms.testing.contracts.extension_samples import CALLERS, HOSTILE_METADATA, any_terms, terms
from oms.testing.contracts.samples import SUITE_CHECKS


class PolicyContract:
    """The contract of `Policy`."""

    currency = Currency.of("USD")
    skus: tuple[str, ...] = ("sku-a", "sku-b")
    within_s = 5.0
    """Time limit of one call, in seconds. The caller of `place` waits for it."""

    refuses = True
    """Whether the policy refuses any orders."""

    @pytest.fixture
    def policy(self) -> Any:
        """The policy to test."""
        raise NotImplementedError("a contract suite needs the fixture `policy`")

    def accepted(self) -> tuple[Terms, Principal]:
        """Return the terms and the caller of an order that the policy accepts."""
        return self.terms({self.skus[0]: 1}), CALLERS[0]

    def refused(self) -> tuple[Terms, Principal]:
        """Return the terms and the caller of an order that the policy refuses."""
        raise NotImplementedError("return (terms, caller) of an order that is refused, or set `refuses = False`")

    def test_check_is_a_plain_function(self, policy: Any) -> None:
        assert_plain(policy, "check")

    def test_an_order_is_accepted(self, policy: Any) -> None:
        refusal = self.verdict(policy, *self.accepted())
        assert refusal is None, f"the order of `accepted()` was refused: {refusal}"

    def test_an_order_is_refused(self, policy: Any) -> None:
        if not self.refuses:
            pytest.skip("this policy refuses nothing")
        refusal = self.verdict(policy, *self.refused())
        assert isinstance(refusal, Refused), "the order of `refused()` was accepted: only `raise oms.Refused` refuses"

    @settings(max_examples=50, deadline=None, suppress_health_check=SUITE_CHECKS)
    @given(data=st.data(), caller=st.sampled_from(CALLERS))
    def test_any_order_is_accepted_or_refused(self, policy: Any, data: st.DataObject, caller: Principal) -> None:
        self.verdict(policy, data.draw(any_terms(self.currency, self.skus)), caller)

    def test_an_unknown_product_is_no_crash(self, policy: Any) -> None:
        self.verdict(policy, self.terms({"no-such-product": 1}), CALLERS[0])

    def test_the_metadata_may_hold_any_text(self, policy: Any) -> None:
        self.verdict(policy, self.terms({self.skus[0]: 1}, metadata=HOSTILE_METADATA), CALLERS[0])

    def test_it_checks_from_several_threads_at_once(self, policy: Any) -> None:
        orders = [self.terms({self.skus[0]: number}) for number in range(1, THREADS + 1)]
        at_once(self.within_s, [partial(_verdict, policy, order, CALLERS[0]) for order in orders])

    def terms(self, items: dict[str, int], **more: Any) -> Terms:
        """Return terms in the system's currency."""
        return terms(self.currency, items, **more)

    def verdict(self, policy: Any, terms: Terms, caller: Principal) -> DomainError | None:
        """Return None or the refusal; fail on an illegal result, a changed argument or an exceeded time limit."""
        with unchanged("terms", terms.items, terms.metadata):
            return within(self.within_s, lambda: _verdict(policy, terms, caller))


def _verdict(policy: Any, terms: Terms, caller: Principal) -> DomainError | None:
    try:
        found = policy.check(terms, caller)
    except DomainError as refusal:
        return refusal
    except Exception as error:
        raise AssertionError(f"check may raise `Refused` only, not {type(error).__name__}: {error}") from error
    assert found is None, f"check must return None to accept and raise `Refused` to refuse; it returned {found!r}"
    return None
