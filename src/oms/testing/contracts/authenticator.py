"""Authentication: valid credentials identify their caller, all other headers give None, and no call raises.

A subclass defines the fixture `authenticator` and the method `known`, which returns headers (names in lower case)
with the principal that they identify. `expired` may return headers that are no longer valid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oms.domain.errors import InvalidValue
from oms.domain.values import checked_id
from oms.ports.extensions import Principal, Role
from oms.testing.contracts.extension_calls import THREADS, assert_plain, at_once, unchanged, within
from oms.testing.contracts.samples import SUITE_CHECKS

HEADERS = ("authorization", "x-api-key", "cookie", "x-user", "x-forwarded-user")
HOSTILE_VALUES = (
    "",
    " ",
    "Bearer",
    "Bearer ",
    "bearer \t x",
    "Basic Og==",
    "Basic \xff\xfe",
    "Bearer " + "a" * 8000,
    "\xff\x80\udcff",
    "\x00",
    "Bearer eyJhbGciOiJub25lIn0.e30.",
    "../../etc/passwd",
    "null",
    "²",
)
"""Header values as the HTTP server passes them to an authenticator: each byte as one latin-1 character."""

Headers = Mapping[str, str]


class AuthenticatorContract:
    """The contract of `Authenticator`."""

    within_s = 5.0
    """Time limit of one call, in seconds. The request waits for it."""

    credentials_are_secret = True
    """Whether a changed credential is invalid. False if a proxy authenticates users and names them in a header."""

    trusts_everyone = False
    """Whether callers without any header are accepted."""

    @pytest.fixture
    def authenticator(self) -> Any:
        """The authenticator to test."""
        raise NotImplementedError("a contract suite needs the fixture `authenticator`")

    def known(self) -> Sequence[tuple[Headers, Principal]]:
        """Return valid headers, each with the principal that they identify."""
        raise NotImplementedError("return headers and their principals: [({'authorization': ...}, Principal(...))]")

    def expired(self) -> Sequence[Headers]:
        """Return headers that were valid earlier and aren't any more."""
        return ()

    def test_authenticate_is_a_plain_function(self, authenticator: Any) -> None:
        assert_plain(authenticator, "authenticate")

    def test_known_headers_have_their_principal(self, authenticator: Any) -> None:
        for headers, principal in self.known():
            for _ in range(2):
                found = self.caller(authenticator, headers)
                assert found == principal, f"the caller should be {principal}, not {found}"

    def test_other_headers_change_nothing(self, authenticator: Any) -> None:
        more = {"host": "localhost", "user-agent": "x" * 5000, "accept": "\xff", "x-unknown": ""}
        for headers, principal in self.known():
            assert self.caller(authenticator, {**more, **headers}) == principal

    def test_no_headers_prove_nothing(self, authenticator: Any) -> None:
        self.assert_refused(authenticator, {})

    def test_expired_headers_prove_nothing(self, authenticator: Any) -> None:
        for headers in self.expired():
            self.assert_refused(authenticator, headers)

    def test_almost_known_headers_prove_nothing(self, authenticator: Any) -> None:
        for headers, principal in self.known():
            for changed in _almost(headers):
                if self.credentials_are_secret:
                    self.assert_refused(authenticator, changed, besides=principal if changed == headers else None)
                else:
                    self.caller(authenticator, changed)

    @pytest.mark.parametrize("value", HOSTILE_VALUES, ids=range(len(HOSTILE_VALUES)))
    def test_hostile_headers_prove_nothing(self, authenticator: Any, value: str) -> None:
        for name in self.header_names():
            self.assert_refused(authenticator, {name: value})

    @settings(max_examples=100, deadline=None, suppress_health_check=SUITE_CHECKS)
    @given(value=st.text(st.characters(max_codepoint=255), max_size=40), data=st.data())
    def test_arbitrary_headers_prove_nothing(self, authenticator: Any, value: str, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.header_names()))
        prefix = data.draw(st.sampled_from(["", "Bearer ", "Basic ", "oms_"]))
        self.assert_refused(authenticator, {name: prefix + value})

    def test_each_of_several_callers_at_once_is_known(self, authenticator: Any) -> None:
        callers = [self.known()[number % len(self.known())] for number in range(THREADS)]
        calls = [partial(_authenticate, authenticator, headers) for headers, _ in callers]
        found = at_once(self.within_s, calls)
        assert found == [principal for _, principal in callers], "callers were mixed up between threads"

    def header_names(self) -> Sequence[str]:
        """Return the names of the headers that the authenticator may read."""
        return sorted({*HEADERS, *(name for headers, _ in self.known() for name in headers)})

    def caller(self, authenticator: Any, headers: Headers) -> Principal | None:
        """Authenticate these headers; fail on an illegal result, a changed argument or an exceeded time limit."""
        given = dict(headers)
        with unchanged("headers", given):
            found = within(self.within_s, lambda: _authenticate(authenticator, given))
        assert found is None or isinstance(found, Principal), f"authenticate returns a Principal or None, not {found!r}"
        if found is not None:
            _assert_legal(found)
        return found

    def assert_refused(self, authenticator: Any, headers: Headers, besides: Principal | None = None) -> None:
        """Fail if these headers identify any principal other than `besides`, unless every caller is accepted."""
        found = self.caller(authenticator, headers)
        if self.trusts_everyone or not self.credentials_are_secret:
            return
        assert found == besides, f"these headers prove nothing, but were taken for {found}: {dict(headers)!r:.200}"


def _authenticate(authenticator: Any, headers: Headers) -> object:
    try:
        return authenticator.authenticate(headers)
    except Exception as error:
        shown = f"{dict(headers)!r:.200}"
        raise AssertionError(
            f"authenticate must return None for headers that prove nothing; it raised {type(error).__name__} for {shown}"
        ) from error


def _assert_legal(principal: Principal) -> None:
    if principal.role is not Role.CUSTOMER:
        assert isinstance(principal.role, Role), f"role must be a `Role`, not {principal.role!r}"
        return
    assert principal.user_id is not None, "a customer needs a user_id; return None for headers that prove nothing"
    try:
        checked_id(principal.user_id, name="user_id")
    except InvalidValue as error:
        raise AssertionError(
            f"return None for headers that prove nothing: {error}: {principal.user_id!r:.80}"
        ) from None


def _almost(headers: Headers) -> Iterator[dict[str, str]]:
    """Yield the headers with one value shortened, lengthened, in the other case, or with another last character."""
    for name, value in headers.items():
        other = "a" if value[-1:] != "a" else "b"
        for changed in (value[:-1], f"{value}x", value[:-1] + other, value.swapcase(), value.replace(" ", "")):
            yield {**headers, name: changed}
