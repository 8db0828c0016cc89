"""Tapes as tests: pytest collects `*.omstape`, plays it, and fails while the schedule breaks a promise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest


class BrokenPromise(Exception):
    """The schedule of a tape breaks a promise. The text is the story."""


class TapeCase(pytest.Item):
    """A tape as a test."""

    def runtest(self) -> None:
        """Play the tape; raises `BrokenPromise` if the schedule breaks a promise."""
        from oms.testing.sim.own import player_of_path
        from oms.testing.sim.story import Story
        from oms.testing.sim.tape import Replay
        from oms.testing.sim.tape_file import load

        tape, story = load(self.path), Story()
        player = player_of_path(tape.own)
        outcome = player(tape.scope, Replay(tape.deviations), listener=story)
        if outcome.violations:
            raise BrokenPromise("\n".join([*map(str, outcome.violations), "", story.text()]))
        if lost := set(tape.deviations) - set(outcome.deviations):
            raise BrokenPromise("it proves nothing any more: no place for " + "; ".join(map(str, sorted(lost))))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the story in place of a traceback."""
        if isinstance(excinfo.value, BrokenPromise):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return the file and the name of the test."""
        return self.path, None, self.name


class TapeCollector(pytest.File):
    """A file with one tape."""

    def collect(self) -> Iterable[pytest.Item]:
        """Yield the file's one test; none for the tape of a hunted test, which that test plays (`--oms-tape`)."""
        return self._cases()

    def _cases(self) -> Iterator[pytest.Item]:
        from oms.testing.sim.tape_file import TapeRefused, load

        with suppress(TapeRefused):  # `runtest` reports the reason
            if load(self.path).test is not None:
                return
        yield TapeCase.from_parent(self, name=self.path.stem)
