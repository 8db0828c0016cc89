"""Checks who an authenticator says that a request is from."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from oms.application.extensions.calling import called, described
from oms.application.extensions.terms import sound
from oms.domain.errors import DomainError, Refused
from oms.ports.errors import WrongAnswer
from oms.ports.extensions import Authenticator, Principal


@attrs.frozen
class CheckedAuthenticator(Authenticator):
    """A shop's authenticator, whose answer is a caller or None."""

    inner: Authenticator

    def authenticate(self, headers: Mapping[str, str]) -> Principal | None:
        """Return the caller, None for 401. `WrongAnswer` for any other answer; `Refused` is made sound."""
        try:
            caller = called("authenticator.authenticate", self.inner.authenticate, headers)
        except Refused as refusal:
            raise sound(refusal) from refusal
        except DomainError as error:  # such as an illegal user id; no fault of the request's
            raise WrongAnswer(f"authenticator.authenticate raised {described(error)}") from error
        if caller is None or isinstance(caller, Principal):
            return caller
        raise WrongAnswer(f"authenticator.authenticate returned {described(caller)}, expected Principal or None")
