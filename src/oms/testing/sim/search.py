"""Searches the schedules of a scope: exhaustively by deviations from the calm schedule, or randomly by seeds.

The exhaustive search runs the calm schedule, then every schedule that differs from it in one choice, then in two. It
abandons a schedule that reaches a state of the system which was reached before with as few deviations: the rest of the
schedule is known.
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
from oms.testing.sim.operators import OPERATIONS
from oms.testing.sim.outcome import Check, Listener, Outcome
from oms.testing.sim.prefix_cache import Branch, SharedPrefix
from oms.testing.sim.run import Run
from oms.testing.sim.scope import AFTER_CONFIRMATION, FAULTS, PAUSES, USUAL, Scope
from oms.testing.sim.tape import Deviation, Deviations, Replay, Swarm, Tape

Prepared = tuple[Mapping[str, OwnStep], Check | None]
Prepare = Callable[[], Prepared]
"""Prepares a user's own scenario anew for each schedule: own steps, and the check of the system at rest."""

Visited = Callable[[int], bool]
"""Whether this state of the system was reached before; remembers the state."""


class Player(Protocol):
    """Runs one schedule from its beginning to its end."""

    @abstractmethod
    def __call__(
        self, scope: Scope, tape: Tape, *, visited: Visited | None = None, listener: Listener | None = None
    ) -> Outcome:
        """Run a schedule and return its outcome."""


def nothing_own() -> Prepared:
    """Prepare no own steps: the system has only the four services."""
    return {}, None


@attrs.frozen
class Found:
    """One schedule that a search has run."""

    scope: Scope
    outcome: Outcome
    number: int
    seed: int | None = None


def player_of(prepare: Prepare) -> Player:
    """Return a player of the four services with a user's own steps, without access to real time and randomness.

    If the user has a check, every schedule is run to its end: the check may read state outside the system.
    """

    def play(scope: Scope, tape: Tape, *, visited: Visited | None = None, listener: Listener | None = None) -> Outcome:
        own, check = prepare()
        met = visited if check is None else None
        with sealed():
            return Run(scope, tape, own=own, check=check, visited=met, listener=listener).go()

    return play


play = player_of(nothing_own)
"""Runs a schedule with only the four services."""


def exhaustive(
    scope: Scope, depth: int, player: Player = play, *, prune: bool = True, shuffled: bool = False
) -> Iterator[Found]:
    """Yield every schedule of a scope with at most `depth` deviations from the calm one, the fewest first.

    Schedules that would end like another one are abandoned half-way, or not begun. `shuffled` mixes the schedules with
    equally many deviations (in the same way each time), for a search that is stopped early. The system of an outcome
    stays unchanged until the next schedule is requested.
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
    """Yield every schedule with one deviation more; with only the four services, they share their prefixes."""
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
"""A schedule, one of its open choices, and the option that is chosen there."""

HANDFUL = 20
"""The branches of one schedule that stay together when all are mixed, so that they share its prefix."""


def _choices(parents: Iterable[Branch]) -> Iterator[_Way]:
    for parent in parents:
        for nth, (_, _, options) in enumerate(parent.open):
            for option in options[1:]:
                yield parent, nth, option


def _mixed(parents: Sequence[Branch]) -> Iterator[_Way]:
    dice = random.Random(len(parents))  # noqa: S311 - equal on each run
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
"""The possible probabilities of a deviation, by the first word of its label; each run draws one for each word."""


def seeded(seed: int, orders: int | None = None, *, base: Scope | None = None) -> tuple[Scope, Swarm]:
    """Return the scope and the tape of a seed: the number of workers, orders and units, and the possible faults."""
    dice = random.Random(f"scope {seed}")  # noqa: S311 - equal on each run
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


OF_PLANS = ("ship one", "ship one", "cancel one", "take one back", *OPERATIONS)
"""The operations from which the plans of seeds are drawn."""


def seeded_plan(seed: int, orders: int | None = None) -> tuple[Scope, Swarm]:
    """Return the scope and tape of a seed with shipments and refunds: also the units of each order, and a plan."""
    dice = random.Random(f"plan {seed}")  # noqa: S311 - equal on each run
    quantity = dice.choice((1, 2, 2, 3))
    plan = tuple(dice.choice(OF_PLANS) for _ in range(dice.choice((1, 2, 3, 4))))
    kept = Scope(quantity=quantity, plan=plan, faults=USUAL | AFTER_CONFIRMATION)
    scope, tape = seeded(seed, orders, base=kept)
    return attrs.evolve(scope, units=scope.units * quantity, steps=180), tape


def swarm(
    seeds: Sequence[int],
    orders: int | None = None,
    player: Player = play,
    *,
    base: Scope | None = None,
    plans: bool = False,
) -> Iterator[Found]:
    """Yield a schedule for each seed; with `plans`, of orders that are shipped and refunded."""
    for number, seed in enumerate(seeds, 1):
        scope, tape = seeded_plan(seed, orders) if plans else seeded(seed, orders, base=base)
        yield Found(scope, player(scope, tape), number, seed)
