"""Operators in the simulator: plans are carried out, faults of shipments and refunds happen, and seeds meet them all."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from oms.testing.sim.campaign import campaign, digest
from oms.testing.sim.cli import sim
from oms.testing.sim.operators import OPERATIONS
from oms.testing.sim.outcome import Outcome
from oms.testing.sim.scope import CRASH, GATEWAY, ONE_OF_EACH, PURGE, REFUSALS, Scope
from oms.testing.sim.search import exhaustive, play, seeded_plan, swarm
from oms.testing.sim.story import Story
from oms.testing.sim.tally import COUNTED_AFTER_CONFIRMATION
from oms.testing.sim.tape import Deviation, Replay


def played(scope: Scope, *deviations: Deviation) -> Outcome:
    outcome = play(scope, Replay(deviations))
    assert outcome.violations == ()
    assert outcome.deviations == deviations
    return outcome


def test_a_plan_is_carried_out_in_the_calm_schedule() -> None:
    outcome = played(ONE_OF_EACH)

    named = ("completed", "shipments", "cancelled units", "returned units", "restocks", "parts refunded")
    assert {name: outcome.tally[name] for name in named} == {**dict.fromkeys(named, 1), "parts refunded": 2}
    assert outcome.tally["refused operations"] == 0


@pytest.mark.parametrize("what", OPERATIONS)
def test_each_operation_ends_with_a_response(what: str) -> None:
    outcome = played(attrs.evolve(ONE_OF_EACH, plan=("ship one", what)))

    assert [one.ended for one in outcome.system.operators.all.values()] == [True, True]
    refused = [one.refusal for one in outcome.system.operators.all.values() if one.refusal]
    assert refused == (["not_enough_units"] if what == "ship two" else [])


@pytest.mark.parametrize(("plan", "decision"), [(("cancel one",), "retried"), (("cancel one", "ship one"), "retried")])
def test_a_refused_refund_is_retried(plan: tuple[str, ...], decision: str) -> None:
    scope = attrs.evolve(ONE_OF_EACH, plan=plan, faults=frozenset({REFUSALS}))
    outcome = played(scope, Deviation("gateway refund", 0, "refuses"))

    assert (outcome.tally["refused refunds"], outcome.tally[decision], outcome.tally["parts refunded"]) == (1, 1, 1)


def test_a_refund_that_is_refused_twice_is_resolved() -> None:
    scope = attrs.evolve(ONE_OF_EACH, plan=("cancel one",), faults=frozenset({REFUSALS}))
    refusals = [Deviation("gateway refund", number, "refuses") for number in range(2)]
    outcome = played(scope, *refusals)

    assert (outcome.tally["refused refunds"], outcome.tally["resolved"], outcome.tally["parts refunded"]) == (2, 1, 0)


def test_a_message_is_handled_again_after_its_inbox_row_was_purged() -> None:
    scope = attrs.evolve(ONE_OF_EACH, faults=frozenset({PURGE, CRASH}))
    found = {
        deviation.option: one.outcome
        for one in exhaustive(scope, 1, prune=False)
        for deviation in one.outcome.deviations
        if deviation.option.startswith("purge and repeat order.refund_requested")
    }

    assert found
    assert all(outcome.violations == () for outcome in found.values())
    assert all(outcome.tally["restocks"] == 1 for outcome in found.values())


def test_a_story_names_the_parts() -> None:
    story = Story()
    play(ONE_OF_EACH, Replay(), listener=story)

    assert "requests ship one of order-1 step 0" in story.text()
    assert "parts of order-1: 1 shipped, CANCEL DUE" in story.text()
    assert "parts of order-1: 1 shipped, CANCEL PAID, RETURN PAID" in story.text()


def test_an_operation_whose_worker_died_is_requested_again_and_carried_out_once() -> None:
    scope = attrs.evolve(ONE_OF_EACH, fine=True, plan=("ship one",), faults=frozenset({CRASH}))
    deaths = [
        one.outcome
        for one in exhaustive(scope, 1, prune=False)
        if any(operation.requests > 1 for operation in one.outcome.system.operators.all.values())
    ]

    assert deaths
    assert all(outcome.violations == () and outcome.tally["shipments"] == 1 for outcome in deaths)


@pytest.mark.parametrize("seed", range(4))
def test_a_seed_with_a_plan_is_the_same_run_to_the_byte(seed: int) -> None:
    first, second = (digest(*seeded_plan(seed)) for _ in range(2))

    assert first[1].violations == ()
    assert first[0] == second[0]


@pytest.mark.slow
def test_a_campaign_with_plans_meets_everything_that_it_counts() -> None:
    done = campaign(swarm(range(400), plans=True))

    assert done.first is None
    assert [name for name in COUNTED_AFTER_CONFIRMATION if done.tally[name] == 0] == []


def test_lost_calls_of_refunds_are_one_refund() -> None:
    scope = attrs.evolve(ONE_OF_EACH, faults=frozenset({GATEWAY}))
    done = campaign(exhaustive(scope, 1))

    assert done.first is None
    assert done.schedules > 10


def test_the_command_plays_seeds_with_shipments_and_refunds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sim(seeds=5, fulfil=True, tapes=tmp_path) == 0

    printed = capsys.readouterr().out
    assert "parcels" in printed
    assert "every promise held in every schedule" in printed


def test_the_command_plays_one_order_with_a_parcel_a_cancelled_unit_and_a_return(tmp_path: Path) -> None:
    assert sim(exhaustive=0, fulfil=True, tapes=tmp_path) == 0
