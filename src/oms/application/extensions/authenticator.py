"""Checks the answers of an authenticator."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from oms.application.extensions.calling import called, described
from oms.application.extensions.terms import storable_refusal
from oms.domain.errors import DomainError, Refused
from oms.ports.errors import WrongAnswer
from oms.ports.extensions import Authenticator, Principal


@attrs.frozen
class CheckedAuthenticator(Authenticator):
    """A shop's authenticator that returns a `Principal` or None."""

    inner: Authenticator

    def authenticate(self, headers: Mapping[str, str]) -> Principal | None:
        """Return the caller, or None for 401. Raises `WrongAnswer` for any other answer; makes a `Refused` storable."""
        try:
            caller = called("authenticator.authenticate", self.inner.authenticate, headers)
        except Refused as refusal:
            raise storable_refusal(refusal) from refusal
        except DomainError as error:  # such as an illegal user id, which isn't the request's fault
            raise WrongAnswer(f"authenticator.authenticate raised {described(error)}") from error
        if caller is None or isinstance(caller, Principal):
            return caller
        raise WrongAnswer(f"authenticator.authenticate returned {described(caller)}, expected Principal or None")
