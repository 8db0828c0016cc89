"""The objects that a container made and must close."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import attrs

from oms.ports.telemetry import Telemetry

P = TypeVar("P")


@attrs.define
class Opened:
    """The objects that a container made from its settings and that may hold files, connections or threads."""

    _objects: list[tuple[str, Any]] = attrs.field(factory=list)

    def note(self, name: str, made: P) -> P:
        """Add an object under the name of its provider, and return it."""
        self._objects.append((name, made))
        return made

    def take(self) -> Sequence[tuple[str, Any]]:
        """Remove and return all objects, newest first."""
        objects, self._objects = self._objects, []
        return objects[::-1]


def close_one(thing: Any, telemetry: Telemetry) -> None:
    """Call the object's `close` if it has one; an exception raises an alert and isn't passed on."""
    close = getattr(thing, "close", None)
    if close is None:
        return
    try:
        close()
    except Exception as error:  # noqa: BLE001 - may be a shop's own code, and the other objects have to be closed too
        telemetry.alert("close failed", thing=type(thing).__name__, cause=f"{type(error).__name__}: {error}")
