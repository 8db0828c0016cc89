"""Sends each statement to SQLite at once: there is no round trip to save."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from oms.adapters.sql.core.sender import ExpectedRows, Rows, Sender


class SqliteSender(Sender):
    """One transaction of a SQLite connection; `now` is the host's time, taken when the transaction had its lock."""

    def __init__(self, connection: Connection, now: datetime | None) -> None:
        self._driver: Any = connection.connection.driver_connection
        self._now = now

    @property
    def known_time(self) -> datetime | None:
        return self._now

    def read_time(self) -> datetime | None:
        return self._now

    @property
    def buffered(self) -> int:
        return 0

    def run(self, text: str, parameters: Any) -> None:
        self._driver.execute(text, parameters)

    def run_for_rows(self, text: str, rows: Any, expected: ExpectedRows | None = None) -> None:
        changed = self._driver.executemany(text, rows).rowcount
        if expected is not None and changed != expected.count:
            raise expected.missed.error()

    def fetch(self, text: str, parameters: Any) -> Rows:
        rows: Rows = self._driver.execute(text, parameters).fetchall()
        return rows

    def fetch_for_rows(self, text: str, rows: Any) -> Rows:
        run = self._driver.execute  # executemany returns no rows
        return [result for row in rows for result in run(text, row).fetchall()]

    def flush(self) -> None:
        return

    def commit(self) -> None:
        self._driver.commit()

    def discard(self) -> None:
        return
