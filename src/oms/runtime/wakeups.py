"""Bells: how a step that has made work for another worker wakes that one's thread."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Collection


class Wakeups:
    """One bell for each worker's name. Ringing never waits; a ring before the wait isn't lost."""

    def __init__(self) -> None:
        self._wakeups: defaultdict[str, threading.Event] = defaultdict(threading.Event)

    def share(self, names: Collection[str]) -> None:
        """One bell for all of these, as one thread drives them."""
        bell = threading.Event()
        self._wakeups.update(dict.fromkeys(names, bell))

    def ring(self, name: str) -> None:
        """Wake the worker of this name."""
        self._wakeups[name].set()

    def ring_all(self) -> None:
        """Wake every worker."""
        for bell in list(self._wakeups.values()):
            bell.set()

    def wait(self, name: str, timeout_s: float) -> None:
        """Wait until the bell rings, at most `timeout_s`; takes the ring away."""
        bell = self._wakeups[name]
        bell.wait(timeout_s)
        bell.clear()
