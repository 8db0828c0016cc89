"""Starts a system once the servers that it needs answer; a server that is late needs nobody to start it again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from oms.ports.errors import OutcomeUnknown, Retryable

LOOK_AGAIN_S = 1.0


class WaitingStart:
    """Looks for problems until there are none, then starts; each new set of problems is told once."""

    def __init__(
        self,
        look: Callable[[], Sequence[str]],
        start: Callable[[], None],
        tell: Callable[[Sequence[str]], None],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._look, self._start, self._tell, self._failed = look, start, tell, failed
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="oms-start", daemon=True)
        self.problems: Sequence[str] = ["starting"]
        self.failed = False

    def begin(self) -> None:
        """Look for the first time, in the background."""
        self._thread.start()

    @property
    def starts_here(self) -> bool:
        """Whether this is the thread that starts the system: no other one may put it together."""
        return threading.current_thread() is self._thread

    def give_up(self, timeout_s: float) -> None:
        """Start no more; waits for a start that is under way."""
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
                self._tell(problems)
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
