"""The kind of authentication of a system, the warning about untrusted prices, and new API keys."""

from __future__ import annotations

from collections.abc import Mapping

from oms.application.extensions.authenticator import CheckedAuthenticator
from oms.ports.extensions import Authentication, Authenticator, Pricing, Role


def authentication_of(authenticator: Authenticator) -> Authentication:
    """Return the kind of authentication that this authenticator does."""
    from oms.adapters.auth.authenticators import ApiKeys, TrustEveryone

    if isinstance(authenticator, TrustEveryone):
        return Authentication.NONE
    return Authentication.API_KEYS if isinstance(authenticator, ApiKeys) else Authentication.HOST


def checked_authenticator(given: Authenticator) -> Authenticator:
    """Return a shop's own authenticator in a wrapper that checks its answers.

    The two authenticators of `oms` need none, which saves time: they check their answers when they are made.
    """
    return CheckedAuthenticator(given) if authentication_of(given) is Authentication.HOST else given


def untrusted_prices(authenticator: Authenticator, pricing: Pricing | None) -> str | None:
    """Return a warning if customers can set the totals of their own orders; else None."""
    from oms.adapters.auth.authenticators import ApiKeys, TrustEveryone

    if pricing is not None or isinstance(authenticator, TrustEveryone):
        return None
    if isinstance(authenticator, ApiKeys) and not authenticator.has_customers:
        return None
    return (
        "customers have keys and no pricing is set: each customer sets the total of the own orders; set OMS_PRICING, "
        "or give keys only to operators"
    )


def new_api_key(name: str, role: Role, user: str | None) -> tuple[str, Mapping[str, object]]:
    """Return a new API key and its entry for the keys file, which contains only a hash of the key."""
    from oms.adapters.auth.keys_file import new_key

    return new_key(name, role, user)
