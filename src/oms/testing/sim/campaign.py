"""Runs many schedules and counts their results, for `oms sim`, the tests and `make hunt`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs

from oms.testing.sim.outcome import Outcome
from oms.testing.sim.scope import Scope
from oms.testing.sim.search import Found, Player, play, seeded
from oms.testing.sim.shrink import BUDGET, Shrunk, shrink
from oms.testing.sim.story import Digest, Story
from oms.testing.sim.tape import Replay, Tape
from oms.testing.sim.tape_file import SUFFIX, TapeFile, save

ENDS = ("confirmed", "cancelled", "rejected", "fulfilling", "completed")
"""The counters of orders by their last state."""


@attrs.define
class Campaign:
    """The results of a search so far."""

    schedules: int = 0
    pruned: int = 0
    steps: int = 0
    tally: Counter[str] = attrs.field(factory=Counter)
    failures: Counter[str] = attrs.field(factory=Counter)
    first: Found | None = None

    def add(self, found: Found) -> None:
        """Add the result of one schedule."""
        outcome = found.outcome
        self.schedules += 1
        self.pruned += outcome.pruned
        self.steps += outcome.steps
        self.tally.update(outcome.tally)
        if outcome.broken is not None:
            self.failures[outcome.broken] += 1
            if self.first is None:
                self.first = found

    @property
    def orders(self) -> int:
        """The number of orders that were run to their end."""
        return sum(self.tally[end] for end in ENDS)


def campaign(
    schedules: Iterable[Found], *, stop_at_first: bool = True, observe: Callable[[Campaign], None] = lambda _now: None
) -> Campaign:
    """Run schedules, all or until one breaks a promise; `observe` gets the results after each schedule."""
    made = Campaign()
    for found in schedules:
        made.add(found)
        observe(made)
        if stop_at_first and made.first is not None:
            break
    return made


@attrs.frozen
class Report:
    """A failing schedule, shrunk and described."""

    shrunk: Shrunk
    story: Story
    path: Path | None

    @property
    def outcome(self) -> Outcome:
        """The smallest schedule that fails."""
        return self.shrunk.outcome


def report_of(
    found: Found,
    player: Player = play,
    *,
    own: str | None = None,
    test: str | None = None,
    tapes: Path | None = None,
    keep: str | None = None,
    budget: int = BUDGET,
) -> Report:
    """Shrink a failure, describe it, and save its tape in the directory `tapes`, if given under the name `keep`."""
    small = shrink(found.scope, found.outcome, player, budget=budget)
    story = Story()
    player(small.scope, Replay(small.outcome.deviations), listener=story)
    path = None
    if tapes is not None:
        name = "exhaustive" if found.seed is None else f"seed-{found.seed}"
        path = tapes / f"{keep or f'{small.outcome.broken}-{name}'}{SUFFIX}"
        broken = str(small.outcome.violations[0])
        save(TapeFile(small.scope, small.outcome.deviations, broken, found.seed, own, test), path)
    return Report(small, story, path)


def traces(seeds: Iterable[int]) -> str:
    """Return one SHA-256 of the traces of all these seeds; it is equal on every machine and interpreter."""
    digests = (digest(*seeded(seed))[0] for seed in seeds)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def digest(scope: Scope, tape: Tape, player: Player = play) -> tuple[str, Outcome]:
    """Return the SHA-256 of a schedule's whole trace, and the schedule's outcome."""
    listener = Digest()
    outcome = player(scope, tape, listener=listener)
    return listener.of(outcome), outcome
