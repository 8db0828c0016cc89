"""Starts a system as soon as its servers can be reached, without a restart of the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from oms.ports.errors import OutcomeUnknown, Retryable

LOOK_AGAIN_S = 1.0


class WaitingStart:
    """Checks for problems until there are none, then starts. Reports each new set of problems once."""

    def __init__(
        self,
        look: Callable[[], Sequence[str]],
        start: Callable[[], None],
        report: Callable[[Sequence[str]], None],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._look, self._start, self._report, self._failed = look, start, report, failed
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="oms-start", daemon=True)
        self.problems: Sequence[str] = ["starting"]
        self.failed = False

    def begin(self) -> None:
        """Begin to check, on a separate thread."""
        self._thread.start()

    @property
    def starts_here(self) -> bool:
        """Whether the calling thread is the one that starts the system; no other thread may build it."""
        return threading.current_thread() is self._thread

    def give_up(self, timeout_s: float) -> None:
        """Stop checking, and wait up to `timeout_s` seconds for a start that has begun."""
        self._stopping.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set() and not self._tried():
                self._stopping.wait(LOOK_AGAIN_S)
        except BaseException as error:
            self.problems, self.failed = [f"the start failed: {type(error).__name__}"], True
            self._failed("start", error)
            raise

    def _tried(self) -> bool:
        problems = self._problems()
        if problems:
            if list(problems) != list(self.problems):
                self._report(problems)
            self.problems = problems
            return False
        if not self._stopping.is_set():
            self.problems = []
        return True

    def _problems(self) -> Sequence[str]:
        try:
            found = self._look()
            if found or self._stopping.is_set():
                return found
            self._start()
        except (Retryable, OutcomeUnknown) as error:
            return [str(error)]
        return ()
