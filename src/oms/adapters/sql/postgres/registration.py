"""Who owns leases on PostgreSQL, and the proof that an owner has ended.

A process holds a session-level advisory lock for as long as it lives. Its row in `owners` names the lock (instance and
slot), the owner that its leases are written under, and when the server was started. A lock that is free while the
server hasn't been started anew proves that the session of its holder ended. Several processes of one instance take
different slots, so none of them is ever another one's successor while both live.
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

_SESSION = (
    # A holder whose host vanished is noticed within about 15 s; the server's default is two hours.
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 2;"
    "SET statement_timeout = '30s'; SET lock_timeout = '5s'; SET application_name = 'oms-owner'"
)
FORGET_AFTER = "1 day"
"""Rows of instances that haven't come back for so long are removed; their leases lapsed long ago."""


@attrs.frozen
class _Row:
    """A row of `owners`. `ended` is whether its owner has ended, as far as the server can tell."""

    instance: str
    slot: int
    owner: str
    proven: bool


class PostgresRegistration(Registration):
    """One process's session. Its owner is a new name for each life of a process.

    Behind a pooler no session is the client's own: the process registers nowhere, and its leases lapse by time.
    """

    def __init__(self, login: Credentials, schema: str) -> None:
        self._login, self._schema = login, schema
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
        """Ask the session whether it is there; if not, take a slot again under the same owner."""
        if self.owner is None:
            return
        try:
            if self._session is not None:
                self._session.execute("SELECT 1")
                return
        except psycopg.Error:
            self.close()
        try:
            self._register(self.owner, release=False)
        except psycopg.Error as error:
            self.close()
            raise translated(error) from None

    def close(self) -> None:
        """End the session: from now on its leases may be released."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(psycopg.Error):
                session.close()

    def _register(self, owner: str, *, release: bool) -> int:
        self._session = session = self._login.connect()
        (pid,) = session.execute("SELECT pg_backend_pid()").fetchone() or (None,)
        if pid != session.info.backend_pid:  # a pooler's
            self.close()
            return 0
        session.execute(_SESSION)
        known = self._rows("instance = %s OR registered_at < now() - interval '" + FORGET_AFTER + "'", self._instance)
        if not release:  # another slot's owner may have left leases, which its own successor releases
            known = [row for row in known if row.owner == owner]
        free = [row for row in known if self._lock(row.instance, row.slot)]
        ours = [row for row in free if row.instance == self._instance]
        slot = ours[0].slot if ours else self._new_slot()
        released = 0
        with session.transaction():
            if release:
                released = self._release([row.owner for row in self._again(ours) if row.proven])
            for row in free:
                self._run("DELETE FROM {}.owners WHERE instance = %s AND slot = %s", row.instance, row.slot)
            self._run(
                "INSERT INTO {}.owners (instance, slot, owner, server_started_at, registered_at)"
                " VALUES (%s, %s, %s, pg_postmaster_start_time(), now()) ON CONFLICT (instance, slot) DO UPDATE"
                " SET owner = excluded.owner, server_started_at = excluded.server_started_at, registered_at = now()",
                self._instance,
                slot,
                owner,
            )
        self.owner = owner
        for row in free:
            if (row.instance, row.slot) != (self._instance, slot):
                self._run(f"SELECT pg_advisory_unlock({_KEY})", self._schema, row.instance, row.slot)
        return released

    def _again(self, rows: Sequence[_Row]) -> Sequence[_Row]:
        """The same rows as they are now that their locks are held: another process may have had them meanwhile."""
        names = {(row.instance, row.slot) for row in rows}
        return [row for row in self._rows("instance = %s", self._instance) if (row.instance, row.slot) in names]

    def _rows(self, where: str, *values: object) -> Sequence[_Row]:
        text = "SELECT instance, slot, owner, server_started_at = pg_postmaster_start_time() FROM {}.owners WHERE "
        return [_Row(*row) for row in self._run(text + where + " ORDER BY instance, slot", *values)]

    def _lock(self, instance: str, slot: int) -> bool:
        ((locked,),) = self._run(f"SELECT pg_try_advisory_lock({_KEY})", self._schema, instance, slot)
        return bool(locked)

    def _new_slot(self) -> int:
        """Lock the first slot that has no row, or whose row another process is about to write."""
        taken = {row.slot for row in self._rows("instance = %s", self._instance)}
        slot = 1
        while slot in taken or not self._lock(self._instance, slot):
            slot += 1
        return slot

    def _release(self, owners: Sequence[str]) -> int:
        """Make the tasks and outbox rows that these owners hold due now; how many."""
        if not owners:
            return 0
        # A lease is a due time: by its own creation, a row is due whatever the clocks say.
        tasks = self._run(
            "UPDATE {}.tasks SET due_at = created_at WHERE owner = ANY(%s) AND lease IS NOT NULL RETURNING 1", owners
        )
        rows = self._run(
            "UPDATE {}.outbox SET leased_until = at WHERE owner = ANY(%s) AND leased_until > at RETURNING 1", owners
        )
        return len(tasks) + len(rows)

    def _run(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        assert self._session is not None  # noqa: S101 - the callers are inside of a registration
        cursor = self._session.execute(sql.SQL(text).format(sql.Identifier(self._schema)), values)
        return cursor.fetchall() if cursor.description else []


_KEY = "hashtextextended(%s || '/' || %s || '/' || %s::text, 0)"
"""A lock's number: 64 bits of the schema, the instance and the slot. A chance hit only makes a slot look taken."""
