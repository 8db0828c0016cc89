"""State tables as plain data: one cell for every trigger in every state. Also transitions, which aggregates return."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from oms.domain.events import Event, PartEvent
from oms.domain.tasks import TaskKey, TaskKind, TaskRequest


class Effect(Enum):
    """The effect of a trigger."""

    MOVE = "moves to another state"
    NOTED = "noted in the timeline, no effect"
    EARLY = "stored, applied when the order is adopted"
    IMPOSSIBLE = "can't be: dead letter and alert"
    NOT_FOUND = "the caller gets 404"
    SAME = "the caller gets the same answer"
    REFUSED = "the caller gets 409"


if TYPE_CHECKING:
    from attrs import evolve as evolve  # so that field names and types are checked
else:

    def evolve(record, /, **changes):
        """`attrs.evolve` at a quarter of its cost, for records with `slots=False` and without validators."""
        evolved = object.__new__(type(record))
        fields = evolved.__dict__
        fields.update(record.__dict__)
        fields.update(changes)
        return evolved


NO_FIELDS: Mapping[str, str] = MappingProxyType({})

State = TypeVar("State", bound=Enum)
Trigger = TypeVar("Trigger", bound=Enum)
Aggregate = TypeVar("Aggregate")


@attrs.frozen
class Cell(Generic[State]):
    """One cell of a state table. `publishes` are the types of its events, in the order in which they are published."""

    effect: Effect
    to: State | None = None
    publishes: tuple[type[Event], ...] = ()
    starts: TaskKind | None = None
    alert: str = ""


def stay(effect: Effect) -> Cell[State]:
    """Return a cell that keeps the state."""
    return Cell(effect)


def move(to: State, *publishes: type[Event], starts: TaskKind | None = None, alert: str = "") -> Cell[State]:
    """Return a cell that changes the state, or does something in the same one."""
    return Cell(Effect.MOVE, to, publishes, starts, alert)


StateTable = Mapping[State, Mapping[Trigger, Cell[State]]]
"""The cell of each trigger in each state: `table[state][trigger]`."""


def by_state(**cells: Cell[State]) -> Mapping[str, Cell[State]]:
    """Return the cells of one trigger, each with the name of its state."""
    return cells


def state_table(
    states: type[State], triggers: type[Trigger], rows: Mapping[Trigger, Mapping[str, Cell[State]]]
) -> StateTable[State, Trigger]:
    """Make a table of one row for each trigger. Raises `ValueError` that names each missing or unknown cell."""
    wanted = {(trigger.name, state.name) for trigger in triggers for state in states}
    named = {(trigger.name, name) for trigger, cells in rows.items() for name in cells}
    if wanted != named:
        cells = ", ".join(f"{trigger} in {state}" for trigger, state in sorted(wanted ^ named))
        raise ValueError(f"{states.__name__}: missing or unknown cells: {cells}")
    return {state: {trigger: rows[trigger][state.name] for trigger in triggers} for state in states}


def events_by_state(table: StateTable[State, Trigger]) -> dict[State, type[Event]]:
    """Return the event about the whole order that is published on entering each state, for the states with one."""
    cells = (cell for row in table.values() for cell in row.values() if cell.to is not None)
    return {
        cell.to: kind
        for cell in cells
        if cell.to is not None
        for kind in cell.publishes
        if not issubclass(kind, PartEvent)
    }


@attrs.frozen(slots=False)
class HistoryEntry:
    """One line of an aggregate's history; `seq` counts from 1 without a gap."""

    seq: int
    at: datetime
    trigger: str
    before: str
    after: str
    detail: str = ""


@attrs.frozen(slots=False)  # made at every transition: saves half a microsecond
class Transition(Generic[Aggregate]):
    """The result of one trigger on an aggregate, to be saved in one transaction or not at all.

    `tasks` are to be started and `ended` to be dropped; `alert` is the name of an alert for operators, and
    `alert_fields` what it says besides the order's id.
    """

    aggregate: Aggregate
    events: tuple[Event, ...] = ()
    tasks: tuple[TaskRequest, ...] = ()
    ended: tuple[TaskKey, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    alert: str = ""
    alert_fields: Mapping[str, str] = NO_FIELDS
