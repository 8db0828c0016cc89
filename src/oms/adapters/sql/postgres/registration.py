"""Registers owners of leases on PostgreSQL, and proves that an owner has ended.

A process holds a session-level advisory lock as long as it lives. Its row in `owners` names the lock (instance and
slot), the owner under which its leases are written, and when the server was started. If the lock is free and the server
hasn't been restarted since, the session of its holder has ended. Several processes of one instance take different
slots, so a process never releases the leases of another live process.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import attrs
import psycopg
from psycopg import sql

from oms.adapters.sql.core.database import Registration
from oms.adapters.sql.core.errors import translated
from oms.adapters.sql.postgres.credentials import Credentials
from oms.ports import limits

_KEY = "hashtextextended(%s || '/' || %s || '/' || %s::text, 0)"
"""The number of a lock: 64 bits of the schema, the instance and the slot. A collision only makes a slot look taken."""

_SESSION = (
    # The server notices within about 15 s that a holder's host vanished; its default is two hours.
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 2;"
    "SET statement_timeout = '30s'; SET lock_timeout = '5s'; SET application_name = 'oms-owner'"
)
FORGET_AFTER = "1 day"
"""Rows of instances that haven't registered for this time are deleted; their leases expired long ago."""

_ROWS = """
    SELECT instance, slot, owner, server_started_at = pg_postmaster_start_time() FROM {}.owners
    WHERE instance = %s ORDER BY instance, slot
"""
_ROWS_AND_FORGOTTEN = f"""
    SELECT instance, slot, owner, server_started_at = pg_postmaster_start_time() FROM {{}}.owners
    WHERE instance = %s OR registered_at < now() - interval '{FORGET_AFTER}' ORDER BY instance, slot
"""  # noqa: S608 - ours
_WRITE_ROW = """
    INSERT INTO {}.owners (instance, slot, owner, server_started_at, registered_at)
    VALUES (%s, %s, %s, pg_postmaster_start_time(), now())
    ON CONFLICT (instance, slot) DO UPDATE
    SET owner = excluded.owner, server_started_at = excluded.server_started_at, registered_at = now()
"""
_DELETE_ROW = "DELETE FROM {}.owners WHERE instance = %s AND slot = %s"
# A lease is a due time. By the time of its creation, a row is due whatever the clocks say.
_RELEASE_TASKS = "UPDATE {}.tasks SET due_at = created_at WHERE owner = ANY(%s) AND lease IS NOT NULL RETURNING 1"
_RELEASE_OUTBOX = "UPDATE {}.outbox SET leased_until = at WHERE owner = ANY(%s) AND leased_until > at RETURNING 1"
_LOCK = f"SELECT pg_try_advisory_lock({_KEY})"
_UNLOCK = f"SELECT pg_advisory_unlock({_KEY})"


@attrs.frozen
class _Row:
    """A row of `owners`. `proven`: the server wasn't restarted since, so a free lock proves that the owner ended."""

    instance: str
    slot: int
    owner: str
    proven: bool

    @property
    def lock(self) -> tuple[str, int]:
        return self.instance, self.slot


class PostgresRegistration(Registration):
    """One process's session. The owner has a new name for each life of a process.

    Behind a pooler a client has no session of its own: the process isn't registered, and its leases expire by time.
    """

    def __init__(self, credentials: Credentials, schema: str) -> None:
        self._credentials, self._schema = credentials, schema
        self.owner: str | None = None
        self._instance = ""
        self._session: psycopg.Connection[Any] | None = None

    def register(self, instance: str) -> int:
        """Take a free slot of the instance; release the leases of owners whose session has ended."""
        self._instance = instance[: limits.INSTANCE]
        try:
            return self._register(str(uuid.uuid4()), release=True)
        except psycopg.Error as error:
            self.close()
            raise translated(error) from None

    def keep(self) -> None:
        """Check the session; if it was lost, take a slot again under the same owner."""
        if self.owner is None or self._session_lives():
            return
        try:
            self._register(self.owner, release=False)
        except psycopg.Error as error:
            self.close()
            raise translated(error) from None

    def close(self) -> None:
        """End the session: from now on other processes may release its leases."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(psycopg.Error):
                session.close()

    def _session_lives(self) -> bool:
        if self._session is None:
            return False
        try:
            self._session.execute("SELECT 1")
        except psycopg.Error:
            self.close()
            return False
        return True

    def _register(self, owner: str, *, release: bool) -> int:
        """Take a slot; with `release`, also release the leases of ended owners. Returns how many."""
        if not self._open_session():
            return 0
        known = self._rows(_ROWS_AND_FORGOTTEN)
        if not release:  # the owner of another slot may have left leases, which its own successor releases
            known = [row for row in known if row.owner == owner]
        free = [row for row in known if self._lock(row.instance, row.slot)]
        ours = [row for row in free if row.instance == self._instance]
        slot = ours[0].slot if ours else self._lock_new_slot()
        released = self._replace_rows(owner, slot, free, ours if release else [])
        self.owner = owner
        for row in free:
            if row.lock != (self._instance, slot):
                self._run(_UNLOCK, self._schema, *row.lock)
        return released

    def _open_session(self) -> bool:
        """Whether the server gives this process a session of its own; a pooler doesn't."""
        self._session = session = self._credentials.connect()
        (pid,) = session.execute("SELECT pg_backend_pid()").fetchone() or (None,)
        if pid != session.info.backend_pid:
            self.close()
            return False
        session.execute(_SESSION)
        return True

    def _replace_rows(self, owner: str, slot: int, free: Sequence[_Row], ended: Sequence[_Row]) -> int:
        """Replace free rows by the owner's in one transaction, and release the leases of `ended`; return how many."""
        released = 0
        assert self._session is not None  # noqa: S101 - the callers have opened it
        with self._session.transaction():
            if ended:
                released = self._release([row.owner for row in self._reread(ended) if row.proven])
            for row in free:
                self._run(_DELETE_ROW, *row.lock)
            self._run(_WRITE_ROW, self._instance, slot, owner)
        return released

    def _reread(self, rows: Sequence[_Row]) -> Sequence[_Row]:
        """The same rows now that their locks are held: another process may have had the slots meanwhile."""
        locks = {row.lock for row in rows}
        return [row for row in self._rows(_ROWS) if row.lock in locks]

    def _rows(self, query: str) -> Sequence[_Row]:
        return [_Row(*row) for row in self._run(query, self._instance)]

    def _lock(self, instance: str, slot: int) -> bool:
        ((locked,),) = self._run(_LOCK, self._schema, instance, slot)
        return bool(locked)

    def _lock_new_slot(self) -> int:
        """Lock the first slot that has no row, and whose row no other process is about to write."""
        taken = {row.slot for row in self._rows(_ROWS)}
        slot = 1
        while slot in taken or not self._lock(self._instance, slot):
            slot += 1
        return slot

    def _release(self, owners: Sequence[str]) -> int:
        """Make the tasks and outbox rows that these owners hold due now; return how many."""
        if not owners:
            return 0
        return len(self._run(_RELEASE_TASKS, owners)) + len(self._run(_RELEASE_OUTBOX, owners))

    def _run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        assert self._session is not None  # noqa: S101 - the callers have opened it
        cursor = self._session.execute(sql.SQL(statement).format(sql.Identifier(self._schema)), values)
        return cursor.fetchall() if cursor.description else []
