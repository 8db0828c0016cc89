"""Owners of leases on a real server: lost sessions, restarts, a pooler, and processes that end by SIGKILL."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest
from typed_settings.types import Secret

from oms.adapters.memory import CountedIds
from oms.adapters.sql.factory import postgres_store
from oms.adapters.sql.postgres.credentials import service_credentials
from oms.adapters.sql.provisioning.roles import set_up_postgres
from oms.domain.tasks import TaskKind
from oms.settings import Settings
from oms.testing.contracts.samples import request, start
from tests.support.files import ROOT
from tests.support.own_postgres import PASSWORD, OwnPostgres

pytestmark = pytest.mark.servers

HOST = "host-1"
SCRIPT = """
import sys
from tests.adapters.sql.postgres.test_registration import claiming, settings_on
store = claiming(settings_on(int(sys.argv[1])))
print("claimed", flush=True)
sys.stdin.read()
"""


def settings_on(port: int) -> Settings:
    secrets = {"postgres_password": Secret("common"), "postgres_admin_password": Secret(PASSWORD)}
    return Settings(postgres_url=f"postgresql://127.0.0.1:{port}/owners", **secrets)


def claiming(settings: Settings, instance: str = HOST) -> Any:
    store = postgres_store("payment", settings.postgres, CountedIds())
    store.register(instance)
    assert len(store.claim_tasks([TaskKind.CHARGE], 10, 3600)) == 1
    return store


@pytest.fixture
def settings(server: OwnPostgres) -> Settings:
    made = settings_on(server.port)
    set_up_postgres(made.postgres, ["payment"])
    run(made, "TRUNCATE oms_payment.tasks, oms_payment.owners")
    store = postgres_store("payment", made.postgres, CountedIds())
    start(store, request("a"))
    store.close()
    return made


def run(settings: Settings, statement: str) -> list[Any]:
    from oms.adapters.sql.postgres.credentials import admin_credentials

    with admin_credentials(settings.postgres).connect() as connection:
        cursor = connection.execute(statement)  # type: ignore[call-overload]
        return list(cursor.fetchall()) if cursor.description else []


def registered(settings: Settings) -> int:
    store = postgres_store("payment", settings.postgres, CountedIds())
    released: int = store.register(HOST)
    store.close()
    return released


def drop_session(settings: Settings) -> None:
    """Drop the sessions by which processes are registered, as a broken connection does."""
    sessions = "SELECT pid FROM pg_stat_activity WHERE application_name = 'oms-owner'"
    run(settings, sessions.replace("pid FROM", "pg_terminate_backend(pid) FROM"))
    until = time.monotonic() + 30
    while run(settings, sessions):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_process_that_is_killed_leaves_its_leases_to_its_successor(settings: Settings) -> None:
    command = [sys.executable, "-c", SCRIPT, str(service_credentials("payment", settings.postgres).parameters["port"])]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == b"claimed\n"
    assert registered(settings) == 0, "the process lives"
    process.kill()
    process.communicate()
    until = time.monotonic() + 30
    while (released := registered(settings)) == 0:
        assert time.monotonic() < until
    assert released == 1


def test_a_server_that_was_started_anew_proves_nothing(settings: Settings) -> None:
    """It drops the sessions of living processes as well."""
    store = claiming(settings)
    drop_session(settings)
    run(settings, "UPDATE oms_payment.owners SET server_started_at = server_started_at - interval '1 hour'")
    assert registered(settings) == 0
    store.close()


def test_a_process_that_lost_its_session_is_registered_again_under_the_same_owner(settings: Settings) -> None:
    store = claiming(settings)
    (owner,) = run(settings, "SELECT owner, slot FROM oms_payment.owners")
    drop_session(settings)
    store.keep_registration()
    assert run(settings, "SELECT owner, slot FROM oms_payment.owners") == [owner]
    assert registered(settings) == 0, "it lives"
    store.close()
    assert registered(settings) == 1


def test_a_place_that_another_process_took_meanwhile_is_left_to_it(settings: Settings) -> None:
    store = claiming(settings)
    drop_session(settings)
    run(settings, "UPDATE oms_payment.owners SET server_started_at = server_started_at - interval '1 hour'")
    other = postgres_store("payment", settings.postgres, CountedIds())
    assert other.register(HOST) == 0
    store.keep_registration()
    assert run(settings, "SELECT slot FROM oms_payment.owners ORDER BY 1") == [(1,), (2,)]
    other.close()
    assert registered(settings) == 0
    store.close()
    assert registered(settings) == 1


def test_owners_that_have_not_come_back_for_a_day_are_forgotten(settings: Settings) -> None:
    claiming(settings, "host-2").close()
    living = postgres_store("payment", settings.postgres, CountedIds())
    living.register("host-3")
    run(settings, "UPDATE oms_payment.owners SET registered_at = now() - interval '2 days'")
    assert registered(settings) == 0
    found = run(settings, "SELECT instance FROM oms_payment.owners ORDER BY 1")
    assert found == [(HOST,), ("host-3",)]
    living.close()


def test_two_processes_that_start_at_once_take_different_places(settings: Settings) -> None:
    from concurrent.futures import ThreadPoolExecutor

    stores = [postgres_store("payment", settings.postgres, CountedIds()) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda store: store.register(HOST), stores))
    assert run(settings, "SELECT slot FROM oms_payment.owners ORDER BY 1") == [(slot,) for slot in range(1, 7)]
    for store in stores:
        store.close()
