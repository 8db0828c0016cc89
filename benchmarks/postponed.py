"""Time that PostgreSQL needs to postpone a batch of tasks, as the payment service does while its gateway is down.

    python benchmarks/postponed.py      # 500 of 6,000 and of 60,000 tasks

The statement is the store's own, for a batch of one claim. It runs with two kinds of statistics: those of an
empty table (as after an idle period, when autovacuum has removed the rows of earlier orders), and current ones. Times
are medians of five runs in milliseconds; each run is rolled back. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from oms.adapters.sql.factory import store_in
from oms.adapters.sql.postgres.credentials import Credentials
from oms.adapters.sql.postgres.database import postgres_database, setup_database
from oms.adapters.sql.provisioning.migrate import migrate
from oms.adapters.system.clock import SystemIds
from oms.domain.tasks import TaskKind, TaskRequest
from oms.ports.stores.rows import Delivery, Postponed, Task
from oms.testing.servers import running_servers

SCHEMA = "oms_payment"
LEASE_S = 600.0
TIMES = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, nargs="*", default=[6_000, 60_000])
    parser.add_argument("--batch", type=int, default=500)
    asked = parser.parse_args()
    with running_servers("postgres") as servers:
        login = _login(servers.postgres_url)
        figures = [figure for tasks in asked.tasks for figure in _figures(login, tasks, asked.batch)]
    print(*map(json.dumps, figures), sep="\n")


def _login(url: str) -> Credentials:
    at = urlsplit(url)
    parts = {"host": at.hostname, "port": at.port, "user": at.username, "password": at.password, "dbname": "postgres"}
    return Credentials("postgres", parts)


def _figures(login: Credentials, tasks: int, batch: int) -> Iterator[dict[str, Any]]:
    with _payment(login) as store:
        _run(login, "ALTER TABLE oms_payment.tasks SET (autovacuum_enabled = off)")
        _start(store, tasks)
        _run(login, "DELETE FROM oms_payment.tasks", "VACUUM ANALYZE oms_payment.tasks")
        _start(store, tasks)
        claimed = store.claim_tasks([TaskKind.CHARGE], batch, LEASE_S)
        yield _figure("empty", store, claimed, tasks)
        _run(login, "VACUUM ANALYZE oms_payment.tasks")
        yield _figure("as it is", store, claimed, tasks)


@contextmanager
def _payment(login: Credentials) -> Iterator[Any]:
    _run(login, f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE", f"CREATE SCHEMA {SCHEMA}")
    setup = setup_database(login, SCHEMA)
    migrate(setup, "payment")
    setup.close()
    store = store_in(postgres_database(login, SCHEMA), "payment", SystemIds())
    try:
        yield store
    finally:
        store.close()


def _run(login: Credentials, *statements: str) -> None:
    with login.connect() as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[call-overload]


def _start(store: Any, tasks: int) -> None:
    ids = SystemIds()
    for first in range(0, tasks, 2000):
        some = range(min(2000, tasks - first))
        with store.begin() as transaction:
            transaction.flush(Delivery(tasks=[TaskRequest(TaskKind.CHARGE, ids.token()) for _ in some]))
            transaction.commit()


def _figure(statistics: str, store: Any, claimed: Sequence[Task], tasks: int) -> dict[str, Any]:
    took_ms = median(_postpone(store, claimed) for _ in range(TIMES))
    return {"tasks": tasks, "postponed": len(claimed), "statistics": statistics, "ms": round(took_ms, 1)}


def _postpone(store: Any, claimed: Sequence[Task]) -> float:
    with store.begin() as transaction:
        due_at = claimed[0].called_at + timedelta(seconds=30)
        began = time.perf_counter()
        transaction.flush(Delivery(postponed=[Postponed(task, due_at, note="away") for task in claimed]))
        still = transaction.held_tasks(claimed)  # what is written goes with a question
        took_ms = (time.perf_counter() - began) * 1000
        assert not still, "not all were postponed"
    return took_ms


if __name__ == "__main__":
    main()
