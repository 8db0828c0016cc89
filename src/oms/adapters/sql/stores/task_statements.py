"""The statements on tasks, which every service has. A lease is a due time: when it expires, the task is due again."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Double,
    Integer,
    Select,
    case,
    delete,
    func,
    literal_column,
    select,
    type_coerce,
    update,
)

from oms.adapters.sql.core.bulk_statements import BulkStatement
from oms.adapters.sql.core.statements import Statement, columns_of, or_server_time, parameter, typed_parameter
from oms.adapters.sql.core.types import Instant
from oms.adapters.sql.stores.delivery_tables import Tables


@cache
def insert_tasks(tables: Tables) -> BulkStatement:
    """Insert tasks; a second one of the same kind and key is ignored."""
    tasks = tables.tasks
    return BulkStatement(
        lambda row: row.insert_into(tasks).on_conflict_do_nothing(),
        columns_of(tasks, "key", "kind", "payload", "due_at", "trace"),
        columns_of(tasks, "attempts", "created_at", "note"),
        key_length=2,
    )


@cache
def lock_tasks(tables: Tables) -> Statement:
    """Lock tasks of one kind."""
    tasks = tables.tasks
    of_kind = tasks.c.kind == parameter(tasks.c.kind)
    locked = select(tasks.c.key, tasks.c.lease).where(of_kind).order_by(tasks.c.key).with_for_update()
    return Statement(locked, tasks.c.key, columns_of(tasks, "kind"))


@cache
def delete_tasks(tables: Tables) -> Statement:
    """Delete tasks of one kind."""
    tasks = tables.tasks
    of_kind = tasks.c.kind == parameter(tasks.c.kind)
    return Statement(delete(tasks).where(of_kind), tasks.c.key, columns_of(tasks, "kind"))


@cache
def postpone_tasks(tables: Tables) -> Statement:
    """Make tasks of one kind and lease due later; `afresh` 1 forgets that a call went out.

    Not a `BulkStatement`: joined with the keys, and with statistics of a time when the table was empty, the server
    scanned all tasks for each key, 14 s for 500 of 60,000 (`benchmarks/postponed.py`).
    """
    tasks = tables.tasks
    note, afresh = parameter(tasks.c.note), parameter(tasks.c.attempts, "afresh")
    ours = (tasks.c.kind == parameter(tasks.c.kind)) & (tasks.c.lease == parameter(tasks.c.lease))
    postponed = (
        update(tasks)
        .where(ours)
        .values(
            due_at=parameter(tasks.c.due_at),
            lease=None,
            called_at=case((afresh == 1, None), else_=tasks.c.called_at),
            note=case((note == "", tasks.c.note), else_=note),
        )
    )
    parameters = {**columns_of(tasks, "kind", "lease", "due_at", "note"), "afresh": tasks.c.attempts}
    return Statement(postponed, tasks.c.key, parameters)


# -- claims by the only writer (SQLite): a query, then an update


@cache
def due_tasks(tables: Tables, kinds: tuple[str, ...]) -> Statement:
    """The tasks of these kinds that are due, the longest due first."""
    tasks = tables.tasks
    due = select(tasks).where(tasks.c.kind.in_(kinds), tasks.c.due_at <= parameter(tasks.c.due_at, "now"))
    first = due.order_by(tasks.c.due_at).limit(typed_parameter("limit", Integer()))
    return Statement(first, parameters={"now": tasks.c.due_at, "limit": tasks.c.attempts})


@cache
def lease_tasks(tables: Tables) -> BulkStatement:
    """Lease tasks by kind and key."""
    tasks = tables.tasks
    return BulkStatement(
        lambda row: (
            update(tasks)
            .where(tasks.c.key == row["key"], tasks.c.kind == row["kind"])
            .values(
                lease=row["lease"],
                due_at=row["due_at"],
                attempts=tasks.c.attempts + 1,
                called_at=func.coalesce(tasks.c.called_at, row["called_at"]),
            )
        ),
        columns_of(tasks, "key", "kind"),
        columns_of(tasks, "lease", "due_at", "called_at"),
        key_length=2,
    )


# -- claims on PostgreSQL: one statement


@cache
def claim_due_tasks(tables: Tables, kinds: tuple[str, ...]) -> Statement:
    """Lease due tasks of these kinds that no other transaction has locked.

    The update finds the locked rows by their physical place (ctid), not by key: with statistics of a time when the
    table was empty, the planner takes any index for as good as the right one. A row that another transaction changed
    after the query isn't found; it is due again later.
    """
    tasks = tables.tasks
    ctid: ColumnElement[Any] = literal_column("ctid")
    now = or_server_time(parameter(tasks.c.due_at, "now"))
    free = _due_and_free(tables, kinds, now).cte("due")
    claimed = (
        update(tasks)
        .where(ctid == free.c.place)
        .values(
            lease=parameter(tasks.c.lease),
            owner=parameter(tasks.c.owner),
            due_at=_later(now),
            attempts=tasks.c.attempts + 1,
            called_at=func.coalesce(tasks.c.called_at, now),
        )
        .returning(tasks, (tasks.c.called_at < now).label("again"), free.c.due_at.label("was_due_at"))
    )
    numbers = {"limit": tasks.c.attempts, "lease_s": tasks.c.attempts}
    return Statement(claimed, parameters={**columns_of(tasks, "lease", "owner"), "now": tasks.c.due_at, **numbers})


def _due_and_free(tables: Tables, kinds: tuple[str, ...], now: ColumnElement[Any]) -> Select[Any]:
    tasks = tables.tasks
    ctid: ColumnElement[Any] = literal_column("ctid")
    due = select(ctid.label("place"), tasks.c.due_at).where(tasks.c.kind.in_(kinds), tasks.c.due_at <= now)
    first = due.order_by(tasks.c.due_at).limit(typed_parameter("limit", Integer()))
    return first.with_for_update(skip_locked=True)


def _later(now: ColumnElement[Any]) -> ColumnElement[Any]:
    """The time `lease_s` seconds after `now`."""
    lease = func.make_interval(0, 0, 0, 0, 0, 0, typed_parameter("lease_s", Double()))
    return type_coerce(type_coerce(now, DateTime(timezone=True)) + lease, Instant())
