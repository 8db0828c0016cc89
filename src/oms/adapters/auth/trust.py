"""No authentication: for loopback, or behind something that authenticates."""

from __future__ import annotations

from collections.abc import Mapping

from oms.ports.extensions import Authenticator, Principal, Role

_ANYBODY = Principal(Role.TRUSTED)


class TrustEveryone(Authenticator):
    """Every caller may act for any user, and as an operator."""

    def authenticate(self, headers: Mapping[str, str]) -> Principal | None:  # noqa: ARG002 - nothing is asked
        return _ANYBODY
