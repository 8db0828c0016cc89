"""Ways through the schedules of a scope, all on one tape: exhaustive by deviations from calm, a random swarm, replay.

Exhaustive: the calm schedule, then every schedule that differs from it in one choice, then in two. A schedule is left
where it comes to a world that was reached before with no more deviations: what follows there is known.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import attrs

from oms.bootstrap import OwnStep
from oms.testing.sim.escape import sealed
from oms.testing.sim.run import Check, Listener, Outcome, Run
from oms.testing.sim.scope import FAULTS, PAUSES, Scope
from oms.testing.sim.tape import Deviation, Deviations, Replay, Swarm, Tape

Prepared = tuple[Mapping[str, OwnStep], Check | None]
Prepare = Callable[[], Prepared]
"""Makes what a user's own scenario needs afresh for each schedule: own steps, and what is asserted at rest."""

Visited = Callable[[int], bool]
"""Whether a world was met before; it's remembered from then on."""


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
    """Plays the four services with a user's own steps, sealed off from the real world's time and chance.

    No schedule is left half-way where the user has a check: it may look at something that is no part of the world.
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
    deviations (the same way each time), for a search that isn't meant to come to its end.
    """
    seen: set[int] = set()

    def visited(world: int) -> bool:
        if world in seen:
            return True
        seen.add(world)
        return False

    level: deque[Deviations] = deque([()])
    number = 0
    for deviations in range(depth + 1):
        following: deque[Deviations] = deque()
        if shuffled:
            random.Random(deviations).shuffle(level)  # noqa: S311 - it must be the same each time
        while level:
            wanted = level.popleft()
            tape = Replay(wanted, record=deviations < depth)
            outcome = player(scope, tape, visited=visited if prune else None)
            number += 1
            yield Found(scope, outcome, number)
            following.extend(_children(wanted, tape.open))
        level = following


def _children(wanted: Deviations, drawn: Sequence[tuple[str, int, Sequence[str]]]) -> Iterator[Deviations]:
    for label, nth, options in drawn:
        for option in options[1:]:
            yield (*wanted, Deviation(label, nth, option))


RATES = {
    "next": (0.02, 0.08, 0.25),
    "at": (0.0, 0.003, 0.02),
    "gateway": (0.0, 0.1, 0.4),
}
"""How likely a deviation is, by the first word of its label; one of each is drawn for a run."""


def seeded(seed: int, orders: int | None = None, *, base: Scope | None = None) -> tuple[Scope, Swarm]:
    """The world and the tape of a seed: how many workers, orders and units there are, and what may go wrong."""
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
