"""Wake-ups: a step that creates work for another worker ends the wait of that worker's thread."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Collection


class Wakeups:
    """One `threading.Event` for each worker's name. Waking never blocks, and a wake-up before the wait isn't lost."""

    def __init__(self) -> None:
        self._events: defaultdict[str, threading.Event] = defaultdict(threading.Event)

    def share(self, names: Collection[str]) -> None:
        """Let all of these names share one event, because one thread drives them."""
        event = threading.Event()
        self._events.update(dict.fromkeys(names, event))

    def wake(self, name: str) -> None:
        """Wake the worker of this name."""
        self._events[name].set()

    def wake_all(self) -> None:
        """Wake every worker."""
        for event in list(self._events.values()):
            event.set()

    def wait(self, name: str, timeout_s: float) -> None:
        """Wait for a wake-up of this name, at most `timeout_s` seconds, and consume it."""
        event = self._events[name]
        event.wait(timeout_s)
        event.clear()
