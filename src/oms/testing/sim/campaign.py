"""Many schedules, counted and judged: what `oms sim`, the tests and `make hunt` run."""

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


@attrs.define
class Campaign:
    """What a search has found so far."""

    schedules: int = 0
    pruned: int = 0
    steps: int = 0
    tally: Counter[str] = attrs.field(factory=Counter)
    failures: Counter[str] = attrs.field(factory=Counter)
    first: Found | None = None

    def add(self, found: Found) -> None:
        """Count one schedule."""
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
        """Orders that were followed to their end."""
        return sum(self.tally[end] for end in ("confirmed", "cancelled", "rejected"))


def campaign(
    schedules: Iterable[Found], *, stop_at_first: bool = True, tell: Callable[[Campaign], None] = lambda _now: None
) -> Campaign:
    """Go through schedules, to the end or to the first one that breaks a promise."""
    made = Campaign()
    for found in schedules:
        made.add(found)
        tell(made)
        if stop_at_first and made.first is not None:
            break
    return made


@attrs.frozen
class Report:
    """A failure made small and told."""

    shrunk: Shrunk
    story: Story
    path: Path | None

    @property
    def outcome(self) -> Outcome:
        """The smallest schedule that fails."""
        return self.shrunk.outcome


def told(
    found: Found,
    player: Player = play,
    *,
    own: str | None = None,
    test: str | None = None,
    tapes: Path | None = None,
    keep: str | None = None,
    budget: int = BUDGET,
) -> Report:
    """Shrink a failure, tell it, and keep its tape in the directory `tapes`, under a name of your own (`keep`)."""
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
    """One SHA-256 for the traces of all these seeds: the same on every machine and interpreter."""
    digests = (digest(*seeded(seed))[0] for seed in seeds)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def digest(scope: Scope, tape: Tape, player: Player = play) -> tuple[str, Outcome]:
    """The SHA-256 of a schedule's whole trace, and how it ended."""
    listener = Digest()
    outcome = player(scope, tape, listener=listener)
    return listener.of(outcome), outcome
