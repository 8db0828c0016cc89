"""Outside calls on threads of their own.

Not a `ThreadPoolExecutor`: the interpreter joins its threads at exit, so one gateway that never answers would
keep the process from ending. These threads are daemons, and nothing waits for them for longer than it says.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Generic

from oms.ports.calls import Calls, Ended, Token
from oms.ports.errors import OutcomeUnknown, Permanent

_Job = tuple[Token, Callable[[], object]]

WEIGHT = 0.25
"""How much the calls that ended last say about how long the next ones will take."""


class ThreadedCalls(Calls[Token], Generic[Token]):
    """At most `workers` calls at once; a thread starts when it is first needed.

    Quick calls may also queue, as many as all threads make in `ahead_s` seconds by what the last ones took, and `most`
    at the most: so that a batch of them is as large as a batch of messages. Calls that take longer never queue.
    `done` is called on the call's thread after an end, to wake whoever collects, and again once that one has looked.
    """

    def __init__(self, workers: int, done: Callable[[], None], *, ahead_s: float = 0.0, most: int = 500) -> None:
        self._workers = workers
        self._done = done
        self._ahead_s, self._most = ahead_s, max(workers, most)
        self._usual_s: float | None = None
        self._jobs: SimpleQueue[_Job[Token] | None] = SimpleQueue()
        self._ended: SimpleQueue[tuple[Ended[Token], float]] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._under_way = 0
        """Submitted and not collected yet; touched only by the one thread that submits and collects."""
        self._told = False
        """Somebody has called `done` since the last look."""
        self._closed = False

    def room(self) -> int:
        """How many more calls can be submitted now; one that ended takes room until it is collected."""
        return 0 if self._closed else max(0, self._limit() - self._under_way)

    def submit(self, token: Token, call: Callable[[], object]) -> None:
        """Start a call; `Permanent` where there is no room."""
        if self.room() <= 0:
            raise Permanent("no room for another call: ask for room() first")
        self._under_way += 1
        if len(self._threads) < min(self._under_way, self._workers):
            thread = threading.Thread(target=self._work, name=f"oms-call-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._jobs.put((token, call))

    def collect(self) -> Sequence[Ended[Token]]:
        """The calls that ended since the last time."""
        ended: list[Ended[Token]] = []
        took_s = 0.0
        self._told = False  # before the look: who ends from now on tells of it again
        try:
            while True:
                one, seconds = self._ended.get_nowait()
                ended.append(one)
                took_s += seconds
        except Empty:
            self._under_way -= len(ended)
            if ended:
                self._learn(took_s / len(ended))
            return ended

    def close(self, timeout_s: float = 0.0) -> None:
        """Take no more calls, and wait up to `timeout_s` for those under way; then they are left to themselves."""
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _limit(self) -> int:
        if self._usual_s is None:
            return self._workers
        ahead = self._workers * self._ahead_s / max(self._usual_s, 1e-6)
        return min(self._most, max(self._workers, int(ahead)))

    def _learn(self, took_s: float) -> None:
        """Slowness is believed at once, quickness by and by."""
        known_s = took_s if self._usual_s is None else self._usual_s
        self._usual_s = max(took_s, known_s + WEIGHT * (took_s - known_s))

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            token, call = job
            began = time.monotonic()
            ended = _made(token, call)
            self._ended.put((ended, time.monotonic() - began))
            if not self._told:
                self._told = True
                self._done()


def _made(token: Token, call: Callable[[], object]) -> Ended[Token]:
    try:
        return Ended(token, call())
    except Exception as error:  # noqa: BLE001 - whatever a gateway raises is an end like any other
        return Ended(token, error=error)
    except BaseException as error:  # noqa: BLE001 - a `sys.exit` in a gateway's code must not cost us the thread
        return Ended(token, error=OutcomeUnknown(f"the call ended its thread: {error!r}"))
