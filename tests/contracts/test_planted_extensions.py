"""Wrong extensions: each fails the named test of its suite, with a message that says what is wrong."""

from __future__ import annotations

import hashlib
import inspect
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import oms
from tests.contracts.extension_doubles import (
    LimitPolicy,
    ListPricing,
    MailNotifier,
    ProxyAuthenticator,
    TokenAuthenticator,
)
from tests.contracts.test_extension_suites import TestLimitPolicy as Limits
from tests.contracts.test_extension_suites import TestListPricing as Prices
from tests.contracts.test_extension_suites import TestMail as Mail
from tests.contracts.test_extension_suites import TestProxy as Proxy
from tests.contracts.test_extension_suites import TestTokens as Tokens

pytestmark = pytest.mark.slow


def _notifier(send: Callable[[MailNotifier, oms.Notification], Any]) -> MailNotifier:
    return type("Wrong", (MailNotifier,), {"send": send})()


def _price(price: Callable[..., Any]) -> ListPricing:
    return type("Wrong", (ListPricing,), {"price": price})()


def _check(check: Callable[..., Any]) -> LimitPolicy:
    return type("Wrong", (LimitPolicy,), {"check": check})()


def _login(authenticate: Callable[..., Any]) -> TokenAuthenticator:
    return type("Wrong", (TokenAuthenticator,), {"authenticate": authenticate})()


def _send(self: Any, notification: oms.Notification) -> None:
    MailNotifier.send(self, notification)


def _swallows(self: Any, notification: oms.Notification) -> None:
    if self.error is None:
        self.got.append(notification.id)


def _gives_up_at_once(self: Any, notification: oms.Notification) -> None:
    if self.error is not None:
        raise oms.Permanent("failed")
    self.got.append(notification.id)


def _retries_a_refusal(self: Any, notification: oms.Notification) -> None:
    if self.error is not None:
        raise ConnectionError("failed")
    self.got.append(notification.id)


def _exits(self: Any, notification: oms.Notification) -> None:
    if self.error is not None:
        raise SystemExit(1)
    self.got.append(notification.id)


def _new_id_each_time(self: Any, notification: oms.Notification) -> None:
    self.got.append(f"{notification.id}-{len(self.got)}")


def _splits_ids(self: Any, notification: oms.Notification) -> None:
    self.got.append(notification.id.split(":")[0])


def _formats_headers(self: Any, notification: oms.Notification) -> None:
    for name, value in notification.metadata.items():
        if "\n" in name + value:
            raise ValueError("a header has no line breaks")
    self.got.append(notification.id)


def _moves_metadata(self: Any, notification: oms.Notification) -> None:
    _send(self, notification)
    notification.metadata.clear()  # type: ignore[attr-defined]


def _answers_true(self: Any, notification: oms.Notification) -> bool:
    _send(self, notification)
    return True


def _shares_a_draft(self: Any, notification: oms.Notification) -> None:
    self.draft = notification.id
    time.sleep(0.02)
    self.got.append(self.draft)


def _hangs(*_: Any) -> None:
    threading.Event().wait(3)


async def _later(*_: Any) -> None:
    """An async method."""


def _with_tax(self: Any, terms: oms.Terms) -> Any:
    return oms.Money(ListPricing.price(self, terms).minor * 1.19, terms.total.currency)  # type: ignore[arg-type]


def _free_of_currency(self: Any, terms: oms.Terms) -> Any:
    return ListPricing.price(self, terms).amount


def _always_euros(self: Any, terms: oms.Terms) -> Any:
    return oms.Money(ListPricing.price(self, terms).minor, oms.Currency.of("EUR"))


def _discount(self: Any, terms: oms.Terms) -> Any:
    return oms.Money(ListPricing.price(self, terms).minor - 10_00, terms.total.currency)


def _no_such_key(self: Any, terms: oms.Terms) -> Any:
    return oms.Money(sum(self.prices[sku] * units for sku, units in terms.items.items()), terms.total.currency)


def _rises(self: Any, terms: oms.Terms) -> Any:
    self.calls = getattr(self, "calls", 0) + 1
    return oms.Money(ListPricing.price(self, terms).minor + self.calls, terms.total.currency)


def _first_item(self: Any, terms: oms.Terms) -> Any:
    ListPricing.price(self, terms)
    return oms.Money(self.prices[next(iter(terms.items))], terms.total.currency)


def _takes_items(self: Any, terms: oms.Terms) -> Any:
    total, items = 0, terms.items
    while items:
        sku, units = items.popitem()  # type: ignore[attr-defined]
        total += self.prices.get(sku, 0) * units
    return oms.Money(total, terms.total.currency)


def _keeps_terms(self: Any, terms: oms.Terms) -> Any:
    self.asked = terms
    time.sleep(0.02)
    return ListPricing.price(self, self.asked)


def _coupon(self: Any, terms: oms.Terms) -> Any:
    total = ListPricing.price(self, terms)
    for text in terms.metadata.values():
        text.encode("ascii")
    return total


def _says_no(self: Any, terms: oms.Terms, caller: oms.Principal) -> bool:
    return max(terms.items.values()) <= 100


def _value_error(self: Any, terms: oms.Terms, caller: oms.Principal) -> None:
    if max(terms.items.values()) > 100:
        raise ValueError("too many")


def _accepts_all(self: Any, terms: oms.Terms, caller: oms.Principal) -> None:
    """Nothing is refused."""


def _refuses_all(self: Any, terms: oms.Terms, caller: oms.Principal) -> None:
    raise oms.Refused("closed", "closed")


def _needs_a_user(self: Any, terms: oms.Terms, caller: oms.Principal) -> None:
    LimitPolicy.check(self, terms, caller)
    assert len(caller.user_id.split()) == 1  # type: ignore[union-attr]


def _marks(self: Any, terms: oms.Terms, caller: oms.Principal) -> None:
    LimitPolicy.check(self, terms, caller)
    terms.metadata["checked"] = "yes"  # type: ignore[index]


def _knows_products(self: Any, terms: oms.Terms, caller: oms.Principal) -> None:
    LimitPolicy.check(self, terms, caller)
    for sku in terms.items:
        ListPricing.prices[sku]


def _token(headers: Mapping[str, str]) -> str:
    return headers.get("authorization", "").removeprefix("Bearer ")


def _key_error(self: Any, headers: Mapping[str, str]) -> Any:
    return self.tokens[headers["authorization"].split()[1]]


def _prefix(self: Any, headers: Mapping[str, str]) -> Any:
    token = _token(headers)
    return next((who for known, who in self.tokens.items() if token and known.startswith(token)), None)


def _strict_text(self: Any, headers: Mapping[str, str]) -> Any:
    for name in ("authorization", "cookie"):
        headers.get(name, "").encode("ascii")
    return TokenAuthenticator.authenticate(self, headers)


def _anonymous_customer(self: Any, headers: Mapping[str, str]) -> Any:
    return TokenAuthenticator.authenticate(self, headers) or oms.Principal(oms.Role.CUSTOMER)


def _guest(self: Any, headers: Mapping[str, str]) -> Any:
    return TokenAuthenticator.authenticate(self, headers) or oms.Principal(oms.Role.CUSTOMER, oms.UserId("guest"))


def _any_name(self: Any, headers: Mapping[str, str]) -> Any:
    user = headers.get("x-user")
    return oms.Principal(oms.Role.CUSTOMER, oms.UserId(user)) if user else None


def _just_the_name(self: Any, headers: Mapping[str, str]) -> Any:
    found = TokenAuthenticator.authenticate(self, headers)
    return found and found.user_id


def _pops(self: Any, headers: Any) -> Any:
    found = TokenAuthenticator.authenticate(self, headers)
    headers.pop("authorization", None)
    return found


def _mixes_callers(self: Any, headers: Mapping[str, str]) -> Any:
    self.headers = headers
    time.sleep(0.02)
    return TokenAuthenticator.authenticate(self, self.headers)


def _hashed(self: Any, headers: Mapping[str, str]) -> Any:
    digest = hashlib.sha256(_token(headers).encode("latin-1")).digest()
    found = (who for known, who in self.tokens.items() if hashlib.sha256(known.encode()).digest() == digest)
    return next(found, None)


Wrong = tuple[type[Any], str, Callable[[], Any], str, str]
WRONG: Mapping[str, Wrong] = {
    name: (suite, fixture, lambda make=make, method=method: make(method), test, words)
    for name, (suite, fixture, make, method, test, words) in {
        # notifiers
        "swallows errors": (Mail, "notifier", _notifier, _swallows, "test_an_unreachable_receiver_is_an_error_and_worth_another_try", "counts as delivered"),
        "an outage is permanent": (Mail, "notifier", _notifier, _gives_up_at_once, "test_an_unreachable_receiver_is_an_error_and_worth_another_try", "never tried again"),
        "ends its thread": (Mail, "notifier", _notifier, _exits, "test_an_unreachable_receiver_is_an_error_and_worth_another_try", "no `Exception`"),
        "a refusal is retried": (Mail, "notifier", _notifier, _retries_a_refusal, "test_a_refusal_is_permanent", "retried for 24 h"),
        "another id on each try": (Mail, "notifier", _notifier, _new_id_each_time, "test_a_repeat_reaches_the_receiver_under_the_same_id", "the receiver got"),
        "cuts ids": (Mail, "notifier", _notifier, _splits_ids, "test_ids_may_hold_separators", "the receiver got"),
        "chokes on line breaks": (Mail, "notifier", _notifier, _formats_headers, "test_metadata_may_hold_any_text", "line breaks"),
        "changes the notification": (Mail, "notifier", _notifier, _moves_metadata, "test_the_notification_stays_as_it_is", "changed the notification"),
        "answers True": (Mail, "notifier", _notifier, _answers_true, "test_news_of_each_kind_is_delivered", "must return None"),
        "isn't thread-safe": (Mail, "notifier", _notifier, _shares_a_draft, "test_it_delivers_from_several_threads_at_once", "the receiver got"),
        "hangs": (Mail, "notifier", _notifier, _hangs, "test_a_repeat_reaches_the_receiver_under_the_same_id", "hasn't ended"),
        "async send": (Mail, "notifier", _notifier, _later, "test_send_is_a_plain_function", "plain function"),
        # pricing
        "fractions of a cent": (Prices, "pricing", _price, _with_tax, "test_products_have_a_price", "can't be charged"),
        "a decimal": (Prices, "pricing", _price, _free_of_currency, "test_products_have_a_price", "must return Money"),
        "another currency": (Prices, "pricing", _price, _always_euros, "test_products_have_a_price", "is in EUR"),
        "below zero": (Prices, "pricing", _price, _discount, "test_any_order_gets_a_legal_total_or_a_refusal", "can't be charged"),
        "a KeyError": (Prices, "pricing", _price, _no_such_key, "test_an_unknown_product_is_no_crash", "`DomainError` only"),
        "another total each time": (Prices, "pricing", _price, _rises, "test_equal_terms_have_the_equal_total", "equal terms cost"),
        "depends on the order of lines": (Prices, "pricing", _price, _first_item, "test_equal_terms_have_the_equal_total", "equal terms cost"),
        "empties the items": (Prices, "pricing", _price, _takes_items, "test_products_have_a_price", "changed the terms"),
        "pricing isn't thread-safe": (Prices, "pricing", _price, _keeps_terms, "test_it_prices_from_several_threads_at_once", "one after the other"),
        "chokes on metadata": (Prices, "pricing", _price, _coupon, "test_the_metadata_may_hold_any_text", "`DomainError` only"),
        "pricing hangs": (Prices, "pricing", _price, _hangs, "test_products_have_a_price", "hasn't ended"),
        "async price": (Prices, "pricing", _price, _later, "test_price_is_a_plain_function", "plain function"),
        # policies
        "answers False": (Limits, "policy", _check, _says_no, "test_an_order_is_refused", "it returned False"),
        "a ValueError": (Limits, "policy", _check, _value_error, "test_an_order_is_refused", "`Refused` only"),
        "refuses nothing": (Limits, "policy", _check, _accepts_all, "test_an_order_is_refused", "only `raise oms.Refused` refuses"),
        "refuses everything": (Limits, "policy", _check, _refuses_all, "test_an_order_is_accepted", "was refused: closed"),
        "forgets operators": (Limits, "policy", _check, _needs_a_user, "test_any_order_is_accepted_or_refused", "`Refused` only"),
        "changes the metadata": (Limits, "policy", _check, _marks, "test_an_order_is_accepted", "changed the terms"),
        "knows its products only": (Limits, "policy", _check, _knows_products, "test_an_unknown_product_is_no_crash", "`Refused` only"),
        "policy hangs": (Limits, "policy", _check, _hangs, "test_an_order_is_accepted", "hasn't ended"),
        "async check": (Limits, "policy", _check, _later, "test_check_is_a_plain_function", "plain function"),
        # authenticators
        "raises without a header": (Tokens, "authenticator", _login, _key_error, "test_no_headers_prove_nothing", "must return None"),
        "a prefix is enough": (Tokens, "authenticator", _login, _prefix, "test_almost_known_headers_prove_nothing", "prove nothing"),
        "chokes on bytes": (Tokens, "authenticator", _login, _strict_text, "test_hostile_headers_prove_nothing", "UnicodeEncodeError"),
        "chokes on what no latin-1 is": (Tokens, "authenticator", _login, _hashed, "test_hostile_headers_prove_nothing", "UnicodeEncodeError"),
        "a customer without a name": (Tokens, "authenticator", _login, _anonymous_customer, "test_no_headers_prove_nothing", "None for headers that prove nothing"),
        "lets everyone in as a guest": (Tokens, "authenticator", _login, _guest, "test_no_headers_prove_nothing", "were taken for"),
        "any name owns orders": (Proxy, "authenticator", _login, _any_name, "test_hostile_headers_prove_nothing", "None for headers that prove nothing"),
        "answers with the name": (Tokens, "authenticator", _login, _just_the_name, "test_known_headers_have_their_principal", "Principal or None"),
        "removes headers": (Tokens, "authenticator", _login, _pops, "test_known_headers_have_their_principal", "changed the headers"),
        "mixes callers up": (Tokens, "authenticator", _login, _mixes_callers, "test_each_of_several_callers_at_once_is_known", "mixed up"),
        "authenticator hangs": (Tokens, "authenticator", _login, _hangs, "test_no_headers_prove_nothing", "hasn't ended"),
        "async authenticate": (Tokens, "authenticator", _login, _later, "test_authenticate_is_a_plain_function", "plain function"),
    }.items()
}  # fmt: skip


def failure(suite: type[Any], fixture: str, make: Callable[[], Any], test: str) -> str:
    """The message with which one test of a suite fails on an extension; empty if it passes."""
    lab = suite()
    lab.within_s = 1.0
    method = getattr(lab, test)
    arguments = next(
        (mark.args for mark in getattr(getattr(suite, test), "pytestmark", ()) if mark.name == "parametrize"),
        (None, [None]),
    )
    names = inspect.signature(method).parameters
    for value in arguments[1]:
        given = {arguments[0]: value} if arguments[0] in names else {}
        extension = lab.mail = make()
        try:
            method(**{fixture: extension}, **given)
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - however it fails, it fails
            return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_extension_fails_with_a_reason(name: str) -> None:
    suite, fixture, make, test, words = WRONG[name]
    found = failure(suite, fixture, make, test)
    assert words in found, f"{test}: {found or 'passed'}"


def test_the_tests_named_pass_on_right_ones() -> None:
    right = {"notifier": MailNotifier, "pricing": ListPricing, "policy": LimitPolicy}
    for name, (suite, fixture, _make, test, _words) in WRONG.items():
        made = ProxyAuthenticator if suite is Proxy else right.get(fixture, TokenAuthenticator)
        assert failure(suite, fixture, made, test) == "", name
