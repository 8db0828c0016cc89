"""Two versions side by side: what each of them does well alone, and they don't do together, is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import attrs
import pytest

import oms
from oms.application import payments
from oms.domain.errors import OmsError
from oms.domain.tasks import TaskKind
from oms.engine.service import Service
from oms.testing import HuntedShop, Shop, hunt, rolling_upgrade
from oms.testing.sim.campaign import Campaign, campaign, report_of
from oms.testing.sim.cli import sim
from oms.testing.sim.own import Scenario, scenario_of
from oms.testing.sim.scope import CANCEL, CRASH, REBALANCE, Scope
from oms.testing.sim.search import exhaustive, player_of, swarm

ROLLING = frozenset({CANCEL, REBALANCE})

# -- a user's own step whose document gets another shape


def parcels(app: oms.App, van: dict[str, str], *, writes: str, reads: tuple[str, ...]) -> None:
    """Send what is confirmed, call it back when it is cancelled; the document is `{writes: "sent"}`."""

    def confirmed(event: oms.AnyEvent, step: oms.StepContext) -> None:
        if step.state is None:
            step.save({writes: "sent"})
            step.call("send")

    def cancelled(event: oms.AnyEvent, step: oms.StepContext) -> None:
        known = step.state or {}
        step.save({writes: "called back"})
        if any(known.get(name) == "sent" for name in reads):
            step.call("call back")

    calls = {
        "send": oms.OutsideCall(lambda order, _payload: van.setdefault(order, "sent")),
        "call back": oms.OutsideCall(lambda order, _payload: van.update({order: "called back"})),
    }
    app.subscribe("order.confirmed", group="parcels", handler=confirmed, calls=calls)
    app.subscribe("order.cancelled", group="parcels", handler=cancelled)


PRESENT: dict[str, Any] = {"writes": "status", "reads": ("status",)}
RENAMED: dict[str, Any] = {"writes": "state", "reads": ("state",)}
READS_BOTH: dict[str, Any] = {"writes": "state", "reads": ("state", "status")}


def alone(version: dict[str, Any]) -> Scenario:
    return rolling(version, None)


def rolling(present: dict[str, Any], following: dict[str, Any] | None) -> Scenario:
    def scenario(app: oms.App) -> Callable[[], None]:
        van: dict[str, str] = {}
        parcels(app, van, **present)
        if following is not None:
            parcels(rolling_upgrade(app), van, **following)
        app.subscribe("order.cancelled", group="ends", handler=lambda event, _step: ended.add(event.order_id))
        ended: set[str] = set()

        def check() -> None:
            on_the_road = sorted(order for order in ended if van.get(order) == "sent")
            assert not on_the_road, f"cancelled, and on the road: {on_the_road}"

        return check

    return scenario


def searched(scenario: Scenario, seeds: int) -> Campaign:
    return campaign(swarm(range(seeds), 1, player_of(scenario_of(scenario))))


@pytest.mark.parametrize("version", [PRESENT, RENAMED, READS_BOTH])
def test_each_version_is_clean_alone(version: dict[str, Any]) -> None:
    assert searched(alone(version), 40).first is None


@pytest.mark.slow
def test_a_document_that_the_other_version_cannot_read_is_found_and_told() -> None:
    """The parcel that isn't called back is no part of the system, so systems that differ in it aren't taken for equal."""
    player = player_of(scenario_of(rolling(PRESENT, RENAMED)))
    done = campaign(exhaustive(Scope(faults=ROLLING), 2, player, shuffled=True))

    assert done.pruned == 0
    assert done.first is not None
    report = report_of(done.first, player, budget=40)
    assert "cancelled, and on the road" in str(report.outcome.violations[0])
    assert sorted(one.option for one in report.outcome.deviations) == ["evict parcels-1", "operator cancels order-1"]
    assert (
        'parcels-2       handles order.cancelled  ->  parcels order-1: {"state": "called back"}' in report.story.text()
    )


@pytest.mark.slow
def test_seeds_find_it_as_well() -> None:
    assert searched(rolling(PRESENT, RENAMED), 400).first is not None


def test_versions_that_read_each_other_are_clean() -> None:
    """The present one has to read the next one's documents before that one is deployed."""
    done = searched(rolling({"writes": "status", "reads": ("status", "state")}, READS_BOTH), 100)

    assert done.first is None


# -- a service whose next version gives its tasks a payload


def with_payload(service: Service[Any], *, patient: bool = False) -> Service[Any]:
    """Its charge task carries the amount, and its executor wants that; a `patient` one does without."""

    def reserved(event: Any, work: Any) -> None:
        payments.reserved(event, work)
        work.changes.tasks = [
            attrs.evolve(task, payload=str(event.terms.total.minor)) if task.kind is TaskKind.CHARGE else task
            for task in work.changes.tasks
        ]

    present = service.executors[TaskKind.CHARGE]

    class Charges(payments.Charges):
        def calls(self, tasks: Any) -> Any:
            for task in tasks:
                if task.payload or not patient:
                    int(task.payload)
            return super().calls(tasks)

    changed = Charges(**attrs.asdict(present, recurse=False))
    executors = {**service.executors, TaskKind.CHARGE: changed}
    return attrs.evolve(service, routes={**service.routes, "inventory.reserved": reserved}, executors=executors)


def impatient(app: oms.App) -> None:
    rolling_upgrade(app).change("payment", with_payload)


def patient(app: oms.App) -> None:
    rolling_upgrade(app).change("payment", lambda service: with_payload(service, patient=True))


@contextmanager
def deployed() -> Iterator[None]:
    """The next version is everywhere."""
    present = payments.payment_service
    with patch.object(payments, "payment_service", lambda *args, **more: with_payload(present(*args, **more))):
        yield


def test_a_payload_that_the_present_version_does_not_write_is_found() -> None:
    done = campaign(exhaustive(Scope(faults=ROLLING), 1, player_of(scenario_of(impatient))))

    assert done.first is not None
    assert done.first.outcome.broken == "P9", "the next version parks what the present one owes"


def test_the_next_version_is_clean_where_it_is_everywhere() -> None:
    with deployed():
        assert campaign(exhaustive(Scope(faults=ROLLING, workers={"payment": 2}), 1)).first is None


def test_a_next_version_that_does_without_is_clean() -> None:
    done = campaign(exhaustive(Scope(faults=ROLLING), 1, player_of(scenario_of(patient))))

    assert done.first is None
    assert done.schedules > 50


# -- where it can be said


def test_a_hunted_test_deploys_as_well(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    @hunt(schedules=300, faults={REBALANCE, CRASH})
    def rolling_test(shop: HuntedShop) -> None:
        van: dict[str, str] = {}
        parcels(shop.app, van, **PRESENT)
        parcels(rolling_upgrade(shop.app), van, **RENAMED)
        order = shop.place()
        shop.run()
        shop.cancel(order, by_operator=True)
        shop.run()
        assert van.get(order.id) != "sent", "on the road"

    with pytest.raises(AssertionError, match="on the road"):
        rolling_test()


def test_on_the_command_line(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sim(exhaustive=1, own=f"{__name__}:impatient", tapes=tmp_path) == 1
    (tape,) = tmp_path.glob("*.omstape")
    capsys.readouterr()

    assert sim(replay=tape) == 1
    told_again = capsys.readouterr().out
    assert "payment-2       runs the next version" in told_again
    assert "payment parked task:charge" in told_again


def test_nowhere_else() -> None:
    with pytest.raises(OmsError, match="in the simulator"):
        rolling_upgrade(Shop().app)
