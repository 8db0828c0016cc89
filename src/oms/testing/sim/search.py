"""Ways through the schedules of a scope, all on one tape: exhaustive by deviations from calm, a random swarm, replay.

Exhaustive: the calm schedule, then every schedule that differs from it in one choice, then in two. A schedule is left
where it comes to a system that was reached before with no more deviations: what follows there is known.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Protocol

import attrs

from oms.application.steps.context import OwnStep
from oms.testing.sim.escape import sealed
from oms.testing.sim.outcome import Check, Listener, Outcome
from oms.testing.sim.prefix_cache import Branch, SharedPrefix
from oms.testing.sim.run import Run
from oms.testing.sim.scope import FAULTS, PAUSES, Scope
from oms.testing.sim.tape import Deviation, Deviations, Replay, Swarm, Tape

Prepared = tuple[Mapping[str, OwnStep], Check | None]
Prepare = Callable[[], Prepared]
"""Makes what a user's own scenario needs afresh for each schedule: own steps, and what is asserted at rest."""

Visited = Callable[[int], bool]
"""Whether a system was met before; it's remembered from then on."""


class Player(Protocol):
    """Plays one schedule from its beginning to its end."""

    @abstractmethod
    def __call__(
        self, scope: Scope, tape: Tape, *, visited: Visited | None = None, listener: Listener | None = None
    ) -> Outcome:
        """What became of it."""


def nothing_own() -> Prepared:
    """The four services alone."""
    return {}, None


@attrs.frozen
class Found:
    """One schedule that a search went through."""

    scope: Scope
    outcome: Outcome
    number: int
    seed: int | None = None


def player_of(prepare: Prepare) -> Player:
    """Plays the four services with a user's own steps, sealed off from real time and randomness.

    No schedule is left half-way where the user has a check: it may look at something that is no part of the system.
    """

    def play(scope: Scope, tape: Tape, *, visited: Visited | None = None, listener: Listener | None = None) -> Outcome:
        own, check = prepare()
        met = visited if check is None else None
        with sealed():
            return Run(scope, tape, own=own, check=check, visited=met, listener=listener).go()

    return play


play = player_of(nothing_own)
"""Plays the four services alone."""


def exhaustive(
    scope: Scope, depth: int, player: Player = play, *, prune: bool = True, shuffled: bool = False
) -> Iterator[Found]:
    """Every schedule of a scope with at most `depth` deviations from calm, the fewest first.

    Those that end like another one are left half-way, or not begun. `shuffled` mixes the schedules with equally many
    deviations (the same way each time), for a search that is stopped early. The system of an outcome stays
    as it is until the next schedule is asked for.
    """
    seen: set[int] = set()

    def visited(system: int) -> bool:
        if system in seen:
            return True
        seen.add(system)
        return False

    known = visited if prune else None
    level = iter([_afresh(scope, (), player, record=depth > 0, visited=known)])
    number = 0
    for deviations in range(depth + 1):
        parents: list[Branch] = []
        for branch, outcome in level:
            number += 1
            yield Found(scope, outcome, number)
            if branch.open:
                parents.append(branch)
        record = deviations + 1 < depth
        level = _level(scope, parents, player, record=record, visited=known, shuffled=shuffled)


def _level(
    scope: Scope,
    parents: Sequence[Branch],
    player: Player,
    *,
    record: bool,
    visited: Visited | None,
    shuffled: bool,
) -> Iterator[tuple[Branch, Outcome]]:
    """Every schedule with one deviation more than these; the four services alone share what they have in common."""
    shared = player is play
    prefix: tuple[Branch, SharedPrefix] | None = None
    for parent, nth, option in _mixed(parents) if shuffled else _choices(parents):
        label, count, _ = parent.open[nth]
        wanted = (*parent.wanted, Deviation(label, count, option))
        if not shared:
            yield _afresh(scope, wanted, player, record=record, visited=visited)
            continue
        if prefix is None or prefix[0] is not parent:
            prefix = parent, SharedPrefix(scope, parent)
        yield prefix[1].branch(nth, wanted, record=record, visited=visited)


_Way = tuple[Branch, int, str]
"""A schedule, one of its open choices, and what is chosen there."""

HANDFUL = 20
"""Ways of one schedule that stay together when all are mixed, so that they can share it."""


def _choices(parents: Iterable[Branch]) -> Iterator[_Way]:
    for parent in parents:
        for nth, (_, _, options) in enumerate(parent.open):
            for option in options[1:]:
                yield parent, nth, option


def _mixed(parents: Sequence[Branch]) -> Iterator[_Way]:
    dice = random.Random(len(parents))  # noqa: S311 - it must be the same each time
    handfuls = []
    for parent in parents:
        ways = list(_choices([parent]))
        dice.shuffle(ways)
        handfuls += [ways[start : start + HANDFUL] for start in range(0, len(ways), HANDFUL)]
    dice.shuffle(handfuls)
    return chain.from_iterable(handfuls)


def _afresh(
    scope: Scope, wanted: Deviations, player: Player, *, record: bool, visited: Visited | None
) -> tuple[Branch, Outcome]:
    tape = Replay(wanted, record=record)
    outcome = player(scope, tape, visited=visited)
    return Branch(wanted, tape.open), outcome


RATES = {
    "next": (0.02, 0.08, 0.25),
    "at": (0.0, 0.003, 0.02),
    "gateway": (0.0, 0.1, 0.4),
}
"""How likely a deviation is, by the first word of its label; one of each is drawn for a run."""


def seeded(seed: int, orders: int | None = None, *, base: Scope | None = None) -> tuple[Scope, Swarm]:
    """The system and the tape of a seed: how many workers, orders and units there are, and what may go wrong."""
    dice = random.Random(f"scope {seed}")  # noqa: S311 - it must be the same each time
    kept = base or Scope()
    scope = attrs.evolve(
        kept,
        orders=dice.choice((1, 1, 2, 3)) if orders is None else orders,
        units=dice.choice((1, 2, 100)),
        workers={name: dice.choice((1, 1, 2)) for name in kept.workers},
        partitions=dice.choice((1, 1, 2)),
        batch=dice.choice((1, 2, 500)),
        fine=True,
        all_points=True,
        faults=frozenset(kind for kind in sorted(FAULTS) if kind in kept.faults and dice.random() < 0.5),
        each=dice.choice((1, 2)),
        steps=120,
    )
    if PAUSES not in scope.faults and dice.random() < 0.3:
        scope = attrs.evolve(scope, fine=False)
    return scope, Swarm(seed, RATES)


def swarm(
    seeds: Sequence[int], orders: int | None = None, player: Player = play, *, base: Scope | None = None
) -> Iterator[Found]:
    """A schedule for each seed."""
    for number, seed in enumerate(seeds, 1):
        scope, tape = seeded(seed, orders, base=base)
        yield Found(scope, player(scope, tape), number, seed)
