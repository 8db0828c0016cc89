"""Checks who an authenticator says that a request is from."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from oms.application.extensions.calling import called, described
from oms.domain.text import storable_text
from oms.ports.errors import Retryable, WrongAnswer
from oms.ports.plugs import Authenticator, Principal
from oms.ports.signals import Signals


@attrs.frozen
class CheckedAuthenticator(Authenticator):
    """A shop's authenticator. Whatever goes wrong in it, nobody is let in."""

    inner: Authenticator
    signals: Signals

    def authenticate(self, headers: Mapping[str, str]) -> Principal | None:
        """Return the caller, None for 401. `Retryable`, so 503, where the authenticator raises or answers wrongly."""
        try:
            caller = called("authenticator.authenticate", self.inner.authenticate, headers)
            if caller is None or isinstance(caller, Principal):
                return caller
            raise WrongAnswer(f"authenticator.authenticate returned {described(caller)}, expected Principal or None")
        except Retryable:
            raise
        except Exception as error:
            self.signals.alarm("authenticator failed", cause=f"{type(error).__name__}: {storable_text(error)}")
            raise Retryable("the authenticator failed") from error
