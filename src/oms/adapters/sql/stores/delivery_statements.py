"""The statements on the delivery tables of every service: inbox, outbox, dead letters, attempts and pinned settings.

Those on tasks are in `task_statements`. Statements of listings for operators are next to the code that runs them.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ScalarSelect, Table, case, delete, func, select, update

from oms.adapters.sql.core.bulk_statements import BulkStatement, RowValues
from oms.adapters.sql.core.statements import Statement, columns_of, or_server_time, parameter
from oms.adapters.sql.stores.delivery_tables import KeyedTables, Tables
from oms.adapters.sql.stores.rows import LETTER
from oms.ports.stores.rows import DeadLetterState

# -- inbox


@cache
def claim_inbox(tables: Tables) -> BulkStatement:
    """Mark messages as handled by a group; returns the new ones."""
    inbox = tables.inbox
    return BulkStatement(
        lambda row: (
            row.insert_into(inbox, at=or_server_time(row["at"])).on_conflict_do_nothing().returning(inbox.c.message_id)
        ),
        columns_of(inbox, "message_id"),
        columns_of(inbox, "consumer", "at"),
    )


@cache
def handled_messages(tables: Tables) -> Statement:
    """Select the messages among these that a group has handled."""
    inbox = tables.inbox
    handled = select(inbox.c.message_id).where(inbox.c.consumer == parameter(inbox.c.consumer))
    return Statement(handled, inbox.c.message_id, columns_of(inbox, "consumer"))


@cache
def insert_inbox(tables: Tables) -> BulkStatement:
    """Mark messages as handled that no transaction has marked; for the only writer."""
    inbox = tables.inbox
    columns, shared = columns_of(inbox, "message_id"), columns_of(inbox, "consumer", "at")
    return BulkStatement(lambda row: row.insert_into(inbox), columns, shared)


# -- outbox


@cache
def insert_outbox(tables: Tables) -> BulkStatement:
    """Insert outbox rows, leased to their owner."""
    outbox = tables.outbox
    columns = columns_of(outbox, "id", "topic", "key", "value", "headers", "leased_until")
    return BulkStatement(lambda row: row.insert_into(outbox), columns, columns_of(outbox, "at", "owner"))


@cache
def any_lapsed_lease(tables: Tables) -> Statement:
    """One row with an expired lease, in the index's order: otherwise a planner without statistics ignores the index."""
    until = tables.outbox.c.leased_until
    lapsed = select(until).where(until <= or_server_time(parameter(until, "now")))
    return Statement(lapsed.order_by(until).limit(1), parameters={"now": until})


@cache
def lease_outbox(tables: Tables) -> Statement:
    """Lease outbox rows."""
    outbox = tables.outbox
    leased = update(outbox).values(leased_until=parameter(outbox.c.leased_until), owner=parameter(outbox.c.owner))
    return Statement(leased, outbox.c.id, columns_of(outbox, "leased_until", "owner"))


@cache
def delete_outbox(tables: Tables) -> Statement:
    """Delete outbox rows that were sent."""
    return Statement(delete(tables.outbox), tables.outbox.c.id)


@cache
def return_outbox(tables: Tables) -> Statement:
    """Make outbox rows due since their creation, whatever the clock says."""
    outbox = tables.outbox
    return Statement(update(outbox).values(leased_until=outbox.c.at), outbox.c.id)


# -- dead letters


@cache
def insert_dead_letters(tables: Tables) -> BulkStatement:
    """Insert dead letters."""
    letters = tables.dead_letters
    return BulkStatement(lambda row: row.insert_into(letters), columns_of(letters, *LETTER))


@cache
def lock_dead_letters(tables: Tables) -> Statement:
    """Lock dead letters by id."""
    letters = tables.dead_letters
    return Statement(select(letters).order_by(letters.c.id).with_for_update(), letters.c.id)


@cache
def mark_dead_letters(tables: Tables) -> Statement:
    """Change the state of dead letters."""
    letters = tables.dead_letters
    marked = update(letters).values(state=parameter(letters.c.state))
    return Statement(marked, letters.c.id, columns_of(letters, "state"))


@cache
def overwrite_dead_letters(tables: Tables) -> BulkStatement:
    """Write dead letters over those with the same ids."""
    letters = tables.dead_letters
    changed = [name for name in LETTER if name != "id"]
    return BulkStatement(
        lambda row: update(letters).where(letters.c.id == row["id"]).values(row.only(changed)),
        columns_of(letters, *LETTER),
    )


# -- attempt counters


@cache
def count_attempts(tables: Tables) -> BulkStatement:
    """Count an attempt at a batch that begins at `position`: 1 for a new position, one more for the same."""
    attempts = tables.attempts

    def build(row: RowValues) -> Any:
        new = row.insert_into(attempts)
        again = attempts.c.position == new.excluded.position
        counted = new.on_conflict_do_update(
            index_elements=[attempts.c.consumer, attempts.c.topic, attempts.c.part],
            set_={"tries": case((again, attempts.c.tries + 1), else_=1), "position": new.excluded.position},
        )
        return counted.returning(attempts.c.topic, attempts.c.part, attempts.c.tries)

    columns, shared = columns_of(attempts, "topic", "part", "position"), columns_of(attempts, "consumer", "tries")
    return BulkStatement(build, columns, shared, key_length=2)


@cache
def delete_attempts(tables: Tables) -> BulkStatement:
    """Delete the counters of partitions."""
    attempts = tables.attempts
    return BulkStatement(
        lambda row: delete(attempts).where(
            attempts.c.consumer == row["consumer"], attempts.c.topic == row["topic"], attempts.c.part == row["part"]
        ),
        columns_of(attempts, "consumer", "topic", "part"),
        key_length=3,
    )


# -- pinned settings


@cache
def pin(tables: Tables) -> BulkStatement:
    """Insert settings; existing ones stay unchanged."""
    pinned = tables.pinned
    return BulkStatement(
        lambda row: row.insert_into(pinned).on_conflict_do_nothing(), columns_of(pinned, "name", "value")
    )


@cache
def overwrite_pinned(tables: Tables) -> BulkStatement:
    """Insert or overwrite values that are kept beside the pinned settings."""
    pinned = tables.pinned

    def build(row: RowValues) -> Any:
        new = row.insert_into(pinned)
        return new.on_conflict_do_update(index_elements=[pinned.c.name], set_={"value": new.excluded.value})

    return BulkStatement(build, columns_of(pinned, "name", "value"))


# -- idempotency keys


@cache
def responses_since(tables: KeyedTables) -> Statement:
    """The responses that were stored under these keys after `at`."""
    responses = tables.responses
    since = select(responses).where(responses.c.at > parameter(responses.c.at))
    return Statement(since, responses.c.key, columns_of(responses, "at"))


@cache
def save_responses(tables: KeyedTables) -> BulkStatement:
    """Store responses, and replace those that were stored at `over` or before; newer ones stay and return no row."""
    responses = tables.responses

    def build(row: RowValues) -> Any:
        new = row.insert_into(responses)
        return new.on_conflict_do_update(
            index_elements=[responses.c.key, responses.c.scope],
            set_={name: new.excluded[name] for name in ("fingerprint", "body", "at")},
            where=responses.c.at <= row["over"],
        )

    columns = columns_of(responses, "key", "scope", "fingerprint", "body")
    return BulkStatement(build, columns, {"at": responses.c.at, "over": responses.c.at}, key_length=2)


# -- across tables


@cache
def backlog(tables: Tables, oldest_open: ScalarSelect[datetime] | None = None) -> Statement:
    """The fields of a `Backlog` in one statement, because each process runs it once a second, even when idle."""
    outbox, tasks, letters = tables.outbox, tables.tasks, tables.dead_letters
    count = select(func.count())
    now = or_server_time(parameter(tasks.c.due_at, "now"))
    fields = {
        "oldest_outbox_at": select(func.min(outbox.c.at)),
        "outbox": count.select_from(outbox),
        "tasks_due": count.select_from(tasks).where(tasks.c.due_at <= now),
        "parked": count.select_from(letters).where(letters.c.state == DeadLetterState.PARKED.value),
    }
    columns = [field.scalar_subquery().label(name) for name, field in fields.items()]
    if oldest_open is not None:
        columns.append(oldest_open.label("oldest_open_at"))
    return Statement(select(*columns), parameters={"now": tasks.c.due_at})


@cache
def delete_rows(table: Table) -> BulkStatement:
    """Delete rows of any table by primary key."""
    key = columns_of(table, *table.primary_key.columns.keys())
    return BulkStatement(
        lambda row: delete(table).where(*(column == row[name] for name, column in key.items())),
        key,
        key_length=len(key),
    )
