"""Outside calls on daemon threads.

A `ThreadPoolExecutor` doesn't fit: the interpreter joins its threads at exit, so a single gateway call that never
returns would keep the process from ending. Every wait for the threads of this module has a time limit.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from itertools import count
from queue import Empty, SimpleQueue
from typing import Generic

import attrs

from oms.ports.call_executor import CallAbandoned, CallExecutor, Ended, Token, Withdrawn
from oms.ports.errors import OutcomeUnknown, Permanent, Retryable

WEIGHT = 0.25
"""Weight of the calls that ended last in the expected duration of the next ones."""

MOST_HUNG = 64
"""Number of abandoned calls at which no further call is made, until some of them return."""

LOOK_EVERY_S = 0.1
"""Least time, in seconds, between two searches for calls that exceed their limit."""


@attrs.define(eq=False)
class _Job(Generic[Token]):
    """A submitted call. `began_s` is None until a thread takes it; `over` is true if its result isn't used any more."""

    token: Token
    call: Callable[[], object]
    submitted_s: float
    began_s: float | None = None
    over: bool = False


class ThreadPoolCallExecutor(CallExecutor[Token], Generic[Token]):
    """Runs at most `workers` calls at the same time. A thread starts when it is first needed.

    A call that takes longer than `limit_s` seconds is abandoned: it ends as `CallAbandoned`, its later result is
    dropped, and another thread replaces its thread. While `most_hung` abandoned calls haven't returned, there is no
    room for further calls. A call that waits for a thread for `limit_s` seconds isn't made: it ends as `Retryable`.

    Quick calls may also queue, so that they come in batches as large as those of messages: as many as all threads can
    make in `ahead_s` seconds, by the duration of recent calls, and at most `most`. Slow calls never queue.

    When a call has ended, its thread calls `done`, which wakes the thread that collects, unless `done` was called
    already since the last `collect`.
    """

    def __init__(
        self,
        workers: int,
        done: Callable[[], None],
        *,
        limit_s: float = math.inf,
        ahead_s: float = 0.0,
        most: int = 500,
        most_hung: int = MOST_HUNG,
    ) -> None:
        self._workers = workers
        self._done = done
        self._limit_s, self._most_hung = limit_s, most_hung
        self._look_at_s = 0.0
        self._ahead_s, self._most = ahead_s, max(workers, most)
        self._usual_s: float | None = None
        self._jobs: SimpleQueue[_Job[Token] | None] = SimpleQueue()
        self._ended: SimpleQueue[tuple[Ended[Token], float]] = SimpleQueue()
        self._lock = threading.Lock()
        """Guards the four attributes below, which the threads of calls change as well."""
        self._open: dict[_Job[Token], None] = {}
        self._threads: list[threading.Thread] = []
        self._hung = 0
        self._names = count()
        self._under_way = 0
        """Number of calls submitted and not collected yet; only the thread that submits and collects uses it."""
        self._signalled = False
        """Whether `done` was called since the last `collect`."""
        self._closed = False

    def room(self) -> int:
        """Return how many more calls can be submitted now; an ended call takes room until it is collected."""
        return 0 if self._closed or self.blocked() else max(0, self._limit() - self._under_way)

    def blocked(self) -> bool:
        """Return whether no further call is made because `most_hung` abandoned calls haven't returned."""
        return self._hung >= self._most_hung

    def submit(self, token: Token, call: Callable[[], object]) -> None:
        """Start or queue a call; raises `Permanent` if there is no room."""
        if self.room() <= 0:
            raise Permanent("no room for another call: ask for room() first")
        self._under_way += 1
        job = _Job(token, call, time.monotonic())
        with self._lock:
            self._open[job] = None
            self._start_threads()
        self._jobs.put(job)

    def collect(self) -> Sequence[Ended[Token]]:
        """Return the calls that have ended since the last `collect`, including those that exceeded their time limit."""
        ended: list[Ended[Token]] = []
        took_s = 0.0
        self._signalled = False  # before the queue is read, so that a later end calls `done` again
        self._abandon_overdue(time.monotonic())
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

    def withdraw(self, timeout_s: float) -> Sequence[Withdrawn[Token]]:
        """Begin no more calls, wait up to `timeout_s` seconds for those under way, and return the unfinished ones."""
        with self._lock:
            queued = [job for job in self._open if job.began_s is None]
            for job in queued:
                job.over = True
                del self._open[job]
        self.close(timeout_s)
        now_s = time.monotonic()
        with self._lock:
            left = [(job.token, self._limit_s - (now_s - (job.began_s or now_s))) for job in self._open]
        return [
            *(Withdrawn(job.token) for job in queued),
            *(Withdrawn(token, max(0.0, left_s)) for token, left_s in left),
        ]

    def close(self, timeout_s: float = 0.0) -> None:
        """Accept no more calls, and wait up to `timeout_s` seconds for those under way; slower ones continue alone."""
        self._closed = True
        with self._lock:
            threads = list(self._threads)
        for _ in threads:
            self._jobs.put(None)
        until = time.monotonic() + timeout_s
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _limit(self) -> int:
        if self._usual_s is None:
            return self._workers
        ahead = self._workers * self._ahead_s / max(self._usual_s, 1e-6)
        return min(self._most, max(self._workers, int(ahead)))

    def _learn(self, took_s: float) -> None:
        """Raise the expected duration of a call at once, or lower it gradually."""
        known_s = took_s if self._usual_s is None else self._usual_s
        self._usual_s = max(took_s, known_s + WEIGHT * (took_s - known_s))

    def _start_threads(self) -> None:
        """Start threads up to the number of open calls, and at most `workers` in addition to those that hang."""
        while len(self._threads) - self._hung < min(len(self._open), self._workers):
            thread = threading.Thread(target=self._work, name=f"oms-call-{next(self._names)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _abandon_overdue(self, now_s: float) -> None:
        if now_s < self._look_at_s:
            return
        self._look_at_s = now_s + min(LOOK_EVERY_S, self._limit_s / 4)
        with self._lock:
            for job in [job for job in self._open if now_s - (job.began_s or job.submitted_s) >= self._limit_s]:
                self._abandon(job)
            self._start_threads()

    def _abandon(self, job: _Job[Token]) -> None:
        del self._open[job]
        job.over = True
        if job.began_s is None:
            error: Exception = Retryable(f"no thread was free within {self._limit_s:g} s: the call wasn't made")
        else:
            self._hung += 1
            error = CallAbandoned(f"no answer within {self._limit_s:g} s")
        self._ended.put((Ended(job.token, error=error), self._limit_s))

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if not self._begin(job):
                continue
            ended = _made(job.token, job.call)
            if not self._end(job):
                self._done()  # there may be room again
                return
            self._ended.put((ended, time.monotonic() - (job.began_s or 0.0)))
            if not self._signalled:
                self._signalled = True
                self._done()

    def _begin(self, job: _Job[Token]) -> bool:
        """Mark a call as begun; return False if its result isn't used any more."""
        with self._lock:
            if not job.over:
                job.began_s = time.monotonic()
            return not job.over

    def _end(self, job: _Job[Token]) -> bool:
        """Mark a call as ended; return False if it was abandoned, and its thread, which was replaced, has to end."""
        with self._lock:
            if job.over:
                self._hung -= 1
                self._threads.remove(threading.current_thread())
                return False
            del self._open[job]
            return True


def _made(token: Token, call: Callable[[], object]) -> Ended[Token]:
    try:
        return Ended(token, call())
    except Exception as error:  # noqa: BLE001 - every exception of a call is its result
        return Ended(token, error=error)
    except BaseException as error:  # noqa: BLE001 - a `sys.exit` in a gateway's code must not end the thread
        return Ended(token, error=OutcomeUnknown(f"the call ended its thread: {type(error).__name__}"))
