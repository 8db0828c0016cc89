"""How callers prove who they are, and which prices customers may set."""

from __future__ import annotations

from collections.abc import Mapping

from oms.application.extensions.authenticator import CheckedAuthenticator
from oms.ports.extensions import Authentication, Authenticator, Pricing, Role


def authentication_of(authenticator: Authenticator) -> Authentication:
    """How callers prove to this authenticator who they are."""
    from oms.adapters.auth.authenticators import ApiKeys, TrustEveryone

    if isinstance(authenticator, TrustEveryone):
        return Authentication.NONE
    return Authentication.API_KEYS if isinstance(authenticator, ApiKeys) else Authentication.HOST


def checked_authenticator(given: Authenticator) -> Authenticator:
    """Our own two are asked with each request, and check at the start what they answer."""
    return CheckedAuthenticator(given) if authentication_of(given) is Authentication.HOST else given


def untrusted_prices(authenticator: Authenticator, pricing: Pricing | None) -> str | None:
    """Say that callers who are customers set the total of their own orders; None where they don't."""
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
    """Make an API key; returns the key and its entry for the keys file, which holds only a hash of it."""
    from oms.adapters.auth.keys_file import new_key

    return new_key(name, role, user)
