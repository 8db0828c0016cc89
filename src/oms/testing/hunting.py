"""`hunt`: runs a test under many schedules of the system that it uses, and searches for one in which it fails."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, overload

import attrs

from oms.bootstrap.container import Extensions
from oms.ports.extensions import Notifier, PaymentGateway, Policy, Pricing
from oms.testing.hunted import HuntedShop
from oms.testing.sim.campaign import Report, campaign, report_of
from oms.testing.sim.escape import sealed
from oms.testing.sim.outcome import Listener, Outcome
from oms.testing.sim.scope import ANSWERS, CRASH, GATE, PAUSES, REBALANCE, REPEAT, Scope
from oms.testing.sim.search import Found, Player, Visited, exhaustive, seeded
from oms.testing.sim.story import Story
from oms.testing.sim.tape import Replay, Tape
from oms.testing.sim.tape_file import load

OWN_FAULTS = frozenset({CRASH, REBALANCE, REPEAT, GATE, ANSWERS, PAUSES})
"""Technical faults. Declines, cancels and deadlines are left to the test, which knows what they lead to."""

TAPES = Path("oms-tapes")
REPLAY = "OMS_TAPE"
"""Environment variable with the tape that a hunted test plays instead of hunting; the pytest plugin sets it."""


T = TypeVar("T")
Factory = Callable[[], T]
Test = Callable[..., object]
Hunted = Callable[..., None]


@overload
def hunt(test: Test) -> Hunted: ...


@overload
def hunt(
    *,
    schedules: int = 200,
    faults: Collection[str] = OWN_FAULTS,
    units: int = 100,
    first_seed: int = 0,
    gateway: Factory[PaymentGateway] | None = None,
    pricing: Factory[Pricing] | None = None,
    policy: Factory[Policy] | None = None,
    notifier: Factory[Notifier] | None = None,
) -> Callable[[Test], Hunted]: ...


def hunt(
    test: Test | None = None,
    *,
    schedules: int = 200,
    faults: Collection[str] = OWN_FAULTS,
    units: int = 100,
    first_seed: int = 0,
    gateway: Factory[PaymentGateway] | None = None,
    pricing: Factory[Pricing] | None = None,
    policy: Factory[Policy] | None = None,
    notifier: Factory[Notifier] | None = None,
) -> Hunted | Callable[[Test], Hunted]:
    """Run a test that takes `shop` under up to `schedules` schedules instead of once.

    The first schedule has no faults, half of the others are random (seeds), and the rest differ from the first in one
    choice. The test gets a `HuntedShop`; it must make every other object that it needs anew on each run. A failing
    schedule is shrunk, printed as a story and saved as a tape.

    `gateway`, `pricing`, `policy` and `notifier` are the shop's own: classes, or functions without arguments, called
    once for each schedule; `shop.extensions` has the objects. With the fault "answers" a schedule loses calls to the
    gateway and the notifier, or their responses. Raises `TypeError` for an object in place of a class or function.
    """
    extensions = ExtensionFactories(gateway, pricing, policy, notifier)

    def decorated(found: Test) -> Hunted:
        return _hunted(found, schedules, faults, units, first_seed, extensions)

    return decorated if test is None else decorated(test)


def _is_factory(_extensions: object, field: attrs.Attribute[Any], found: object) -> None:
    if found is not None and not callable(found):
        given = f"{type(found).__name__} object"
        raise TypeError(f"{field.name} must be a class or a function without arguments, not a {given}: {_WHY}")


_WHY = "each schedule gets an object of its own"


@attrs.frozen
class ExtensionFactories:
    """Factories of the shop's own extensions."""

    gateway: Factory[PaymentGateway] | None = attrs.field(validator=_is_factory)
    pricing: Factory[Pricing] | None = attrs.field(validator=_is_factory)
    policy: Factory[Policy] | None = attrs.field(validator=_is_factory)
    notifier: Factory[Notifier] | None = attrs.field(validator=_is_factory)

    def made(self) -> Extensions:
        """Make a new object of each extension, for one schedule."""
        factories = attrs.asdict(self, recurse=False)
        return Extensions(**{name: factory() for name, factory in factories.items() if factory is not None})


def _hunted(
    test: Test, schedules: int, faults: Collection[str], units: int, first_seed: int, extensions: ExtensionFactories
) -> Hunted:
    if inspect.iscoroutinefunction(test):
        raise TypeError("a hunted test can't be async: its schedule decides what happens next, not an event loop")
    scope = Scope(orders=0, units=units, faults=frozenset(faults), fine=True)
    signature = inspect.signature(test)
    others = [parameter for parameter in signature.parameters.values() if parameter.name != "shop"]

    @wraps(test)
    def hunted(*args: Any, **kwargs: Any) -> None:
        stand: list[str] = []
        player = _player(lambda shop: test(*args, shop=shop, **kwargs), stand, extensions)
        tape = os.environ.get(REPLAY)
        if tape:
            _replay(Path(tape), player, stand)
            return
        done = campaign(_schedules(scope, player, schedules, first_seed))
        if done.first is not None:
            report = report_of(done.first, player, test=_name(), tapes=TAPES, keep=_file_name(test))
            raise AssertionError(_words(report, done.schedules, stand))

    hunted.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
    del hunted.__wrapped__  # otherwise pytest finds the parameter `shop` through it and wants a fixture
    return hunted


def _player(test: Callable[[HuntedShop], object], stand: list[str], extensions: ExtensionFactories) -> Player:
    """Return a player that runs the test under a tape, and puts the shop's report into `stand` if the test fails."""

    def play(
        scope: Scope,
        tape: Tape,
        *,
        visited: Visited | None = None,  # noqa: ARG001 - the state of a test can't be compared
        listener: Listener | None = None,
    ) -> Outcome:
        failure = None
        with sealed():
            shop = HuntedShop(scope, tape, listener, extensions.made())
            try:
                test(shop)
            except Exception as error:  # noqa: BLE001 - any exception of a test is its failure
                failure = error
                if listener is not None:
                    stand[:] = [shop.story()]
            return shop.finished(failure)

    return play


def _schedules(scope: Scope, player: Player, budget: int, first_seed: int) -> Iterator[Found]:
    near = exhaustive(scope, 1, player, prune=False)
    yield next(near)
    for number, seed in enumerate(range(first_seed, first_seed + budget // 2), 2):
        drawn, tape = seeded(seed, 0, base=scope)
        wide = attrs.evolve(drawn, units=scope.units)
        yield Found(wide, player(wide, tape), number, seed)
    yield from islice(near, max(0, budget - 1 - budget // 2))


def _replay(path: Path, player: Player, stand: Sequence[str]) -> None:
    tape, story = load(path), Story()
    outcome = player(tape.scope, Replay(tape.deviations), listener=story)
    if outcome.violations:
        raise AssertionError("\n".join([*map(str, outcome.violations), "", story.text(), "", *stand]))


def _words(report: Report, schedules: int, stand: Sequence[str]) -> str:
    outcome = report.outcome
    return "\n".join(
        [
            *map(str, outcome.violations),
            "",
            f"schedule {schedules} of the hunt; made small in {report.shrunk.runs} runs:",
            f"{len(outcome.deviations)} deviations from calm",
            report.story.text(),
            "",
            report.story.diagram(),
            "",
            *stand,
            "",
            f"replay: pytest '{_name()}' --oms-tape={report.path}",
        ]
    )


def _name() -> str:
    return os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]


def _file_name(test: Callable[..., object]) -> str:
    return str(getattr(test, "__name__", "hunted"))
