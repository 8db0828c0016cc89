"""The simulator: the same seed is the same run, nothing escapes, failures shrink and replay, and it isn't vacuous."""

from __future__ import annotations

import random
import socket
import threading
import time
import uuid
from pathlib import Path

import attrs
import pytest

from oms.testing.sim.campaign import campaign, digest, report_of
from oms.testing.sim.escape import Escaped, sealed
from oms.testing.sim.scope import CANCEL, CLOCK, GATEWAY, Scope
from oms.testing.sim.search import exhaustive, play, seeded, swarm
from oms.testing.sim.tally import COUNTED
from oms.testing.sim.tape import Deviation, Replay
from oms.testing.sim.tape_file import TapeFile, TapeRefused, load, save
from tests.testing.sim.zoo import ZOO


def test_calm_confirms_an_order() -> None:
    outcome = play(Scope(), Replay())

    assert outcome.violations == ()
    assert outcome.tally["confirmed"] == 1
    assert outcome.at_s == 0


def test_two_orders_on_one_unit_end_one_each_way() -> None:
    outcome = play(Scope(orders=2, units=1), Replay())

    assert (outcome.tally["confirmed"], outcome.tally["rejected"]) == (1, 1)


def test_every_schedule_with_one_deviation() -> None:
    done = campaign(exhaustive(Scope(), 1))

    assert done.first is None
    assert done.schedules > 150


@pytest.mark.slow
def test_every_schedule_with_one_deviation_at_any_point() -> None:
    done = campaign(exhaustive(Scope(fine=True), 1))

    assert done.first is None
    assert done.schedules > 500


def test_pruning_leaves_out_nothing_that_breaks() -> None:
    plant = ZOO["released before the money is settled"]
    with plant.plant():
        scope = Scope(faults=frozenset({CANCEL, CLOCK, GATEWAY}))
        pruned = campaign(exhaustive(scope, 1), stop_at_first=False)
        all_of_it = campaign(exhaustive(scope, 1, prune=False), stop_at_first=False)

    assert pruned.pruned > 0
    assert all_of_it.pruned == 0
    assert set(pruned.failures) == set(all_of_it.failures) != set()


@pytest.mark.parametrize("seed", range(8))
def test_a_seed_is_the_same_run_to_the_byte(seed: int) -> None:
    first, second = (digest(*seeded(seed)) for _ in range(2))

    assert first[1].violations == ()
    assert first[0] == second[0]


def test_another_seed_is_another_run() -> None:
    assert digest(*seeded(1))[0] != digest(*seeded(2))[0]


def test_what_a_seed_drew_replays_without_it() -> None:
    scope, tape = seeded(4)
    drawn = play(scope, tape)
    again = play(scope, Replay(drawn.deviations))

    assert drawn.deviations
    assert again.deviations == drawn.deviations
    assert (again.steps, again.at_s, again.tally) == (drawn.steps, drawn.at_s, drawn.tally)


def test_a_campaign_meets_everything_that_it_counts() -> None:
    done = campaign(swarm(range(160)))

    assert done.first is None
    assert [name for name in COUNTED if done.tally[name] == 0] == []
    assert done.tally["confirmed"] >= done.orders / 2


def test_a_failure_is_made_small_told_and_replayed(tmp_path: Path) -> None:
    with ZOO["voided instead of voiding"].plant():
        done = campaign(swarm(range(200)))
        assert done.first is not None
        report = report_of(done.first, tapes=tmp_path, budget=200)
        assert report.path is not None
        tape = load(report.path)
        again = play(tape.scope, Replay(tape.deviations))

    assert len(report.outcome.deviations) < len(done.first.outcome.deviations)
    assert again.broken == report.outcome.broken == "P4"
    assert "payment order-1: VOIDED" in report.story.text()
    assert "payment->>order: payment.voided" in report.story.diagram()
    assert play(tape.scope, Replay(tape.deviations)).violations == ()


def test_an_edited_tape_finds_its_place_again() -> None:
    scope, tape = seeded(4)
    drawn = play(scope, tape).deviations
    without_one = drawn[1:]

    assert set(play(scope, Replay(without_one)).deviations) <= set(without_one)


def test_a_tape_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.omstape"
    save(TapeFile(Scope(), (Deviation("next", 3, "crash order-1"),), "P1", 7), path)
    assert load(path).deviations == (Deviation("next", 3, "crash order-1"),)
    path.write_text(path.read_text().replace('"format": 1', '"format": 0'))

    with pytest.raises(TapeRefused, match=r"tape format 0.*hunt again with its seed 7"):
        load(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}'])
def test_what_is_no_tape_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.omstape"
    path.write_text(text)

    with pytest.raises(TapeRefused):
        load(path)


ESCAPES = {
    "time": lambda: time.time(),
    "monotonic": lambda: time.monotonic(),
    "sleep": lambda: time.sleep(0),
    "random": lambda: random.random(),
    "uuid4": lambda: uuid.uuid4(),
    "socket": lambda: socket.socket(),
    "thread": lambda: threading.Thread().start(),
}


@pytest.mark.parametrize("name", ESCAPES)
def test_nothing_gets_out(name: str) -> None:
    with sealed(), pytest.raises(Escaped):
        ESCAPES[name]()
    assert time.time() > 0


def test_a_worker_that_dies_at_a_point_is_replaced_and_nothing_is_lost() -> None:
    wanted = Deviation("at payment-1 payments.commit:before", 0, "dies")
    outcome = play(attrs.evolve(Scope(), fine=True), Replay([wanted]))

    assert outcome.deviations == (wanted,)
    assert outcome.violations == ()
    assert outcome.tally["redeliveries"] > 0
