"""Checks the ids that a shop's own `Ids` makes."""

from __future__ import annotations

import re

import attrs

from oms.application.extensions.calling import called, described
from oms.domain.errors import InvalidValue
from oms.domain.values import OrderId, checked_id
from oms.ports import limits
from oms.ports.clock import Ids
from oms.ports.errors import Retryable

_TOKEN = re.compile(rf"[A-Za-z0-9._:-]{{1,{limits.TOKEN}}}")


@attrs.frozen
class CheckedIds(Ids):
    """A shop's `Ids` that returns only ids that every store accepts.

    A bad id raises `Retryable`, so that the work is kept and retried.
    """

    inner: Ids

    def order_id(self) -> OrderId:
        """Return a new order's id."""
        made = called("ids.order_id", self.inner.order_id)
        try:
            return OrderId(checked_id(made, name="ids.order_id"))
        except InvalidValue as error:
            raise Retryable(f"{error.detail}, got {described(made)}") from error

    def token(self) -> str:
        """Return a new opaque id of at most 36 characters."""
        made = called("ids.token", self.inner.token)
        if isinstance(made, str) and _TOKEN.fullmatch(made):
            return made
        raise Retryable(
            f"ids.token must return 1 to {limits.TOKEN} characters of A-Z a-z 0-9 . _ : -, got {described(made)}"
        )
