"""A batch that fails is halved until the item that causes the error is alone, for commands as for messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import oms
from oms.engine.command_groups import Command, CommandGroup
from oms.engine.retries import Failed, Succeeded, bisect
from oms.ports.errors import OutcomeUnknown, Permanent, Retryable
from oms.testing import Shop

BAD = Permanent("three is refused")


def attempt(items: Sequence[int]) -> int:
    if 3 in items:
        raise BAD
    return sum(items)


def test_all_others_succeed_and_the_outcomes_keep_their_order() -> None:
    found = list(bisect([1, 2, 3, 4, 5], attempt))
    assert found == [Succeeded([1, 2], 3), Failed(3, BAD), Succeeded([4, 5], 9)]


def test_a_half_is_only_tried_after_the_outcome_before_it_was_taken() -> None:
    tried: list[Sequence[int]] = []

    def note(items: Sequence[int]) -> int:
        tried.append(items)
        return attempt(items)

    outcomes = bisect([1, 3], note)
    next(outcomes)
    assert tried == [[1, 3], [1]]


@pytest.mark.parametrize("error", [Retryable("away"), OutcomeUnknown("no answer")])
def test_an_outage_is_raised_and_not_bisected(error: Exception) -> None:
    tried: list[Sequence[int]] = []

    def fail(items: Sequence[int]) -> None:
        tried.append(items)
        raise error

    with pytest.raises(type(error)):
        list(bisect([1, 2, 3, 4], fail))
    assert tried == [[1, 2, 3, 4]]


class Client:
    """Submits commands to the order service's group, and keeps the replies in their order."""

    def __init__(self) -> None:
        self.shop = Shop()
        self.group: CommandGroup[Any] = self.shop.app.system.assemblies["order"].commands
        self.replies: list[object] = []
        self.runs: list[str] = []

    def submit(self, name: str, **more: Any) -> None:
        def apply(_unit: Any) -> str:
            self.runs.append(name)
            return name

        self.group.submit(Command(apply, **more), lambda value, error: self.replies.append(error or value))


def test_commands_that_were_answered_before_an_outage_do_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    client, run = Client(), CommandGroup._unit
    sizes: list[int] = []

    def refuse(self: CommandGroup[Any], group: Sequence[Any]) -> Any:
        sizes.append(len(group))
        if len(group) == 2:
            raise BAD
        if len(sizes) == 3:
            raise Retryable("away")
        return run(self, group)

    monkeypatch.setattr(CommandGroup, "_unit", refuse)
    client.submit("first")
    client.submit("second")
    assert client.group.run_once() == 1
    assert client.replies == ["first"]
    client.shop.advance(seconds=2)
    assert client.replies == ["first", "second"]
    assert client.runs == ["first", "second"]


@pytest.mark.parametrize("error", [oms.OutcomeUnknown("no answer"), oms.Permanent("refused too")])
def test_a_refusal_that_cannot_be_noted_is_answered_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    client = Client()

    def refuse(_self: Any, _group: Any) -> Any:
        raise BAD

    def failed(_unit: Any, _error: Exception) -> Exception:
        raise error

    monkeypatch.setattr(CommandGroup, "_unit", refuse)
    client.submit("redrive", failed=failed)
    assert client.group.run_once() == 1
    assert client.replies == [error]
