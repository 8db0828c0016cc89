"""PgBouncer in transaction mode between the services and PostgreSQL, with fewer connections than the services have lanes."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from oms.adapters.sql.postgres.credentials import Credentials
from oms.adapters.sql.postgres.database import Session, postgres_database
from oms.adapters.sql.provisioning.pooler import BEGIN_TIMEOUT_S
from oms.testing.servers import NativeKafka, NativePostgres, NativeRedis
from tests.support.cluster import SERVICES, Cluster
from tests.support.serving import Load, an_order, free_port, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ORDERS = 300
STARTS_WITHIN_S = 20
"""A command on a busy machine."""

CONNECTIONS = 2
"""Connections to the server for each role; a service opens up to eight."""
ROLES = [*(f"oms_{service}" for service in SERVICES), "oms_operator"]
PASSWORD = "a-password-of-the-tests"


@contextmanager
def pooler(postgres: NativePostgres) -> Iterator[str]:
    """The URL of PostgreSQL's superuser by way of PgBouncer."""
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    assert os.access(program, os.X_OK), "this test needs PgBouncer: install the package pgbouncer"
    admin, port = conninfo_to_dict(postgres.url), free_port()
    secrets = [("postgres", str(admin["password"])), *((role, PASSWORD) for role in ROLES)]
    (postgres.directory / "users").write_text("".join(f'"{role}" "{secret}"\n' for role, secret in secrets))
    (postgres.directory / "pgbouncer.ini").write_text(
        f"""
        [databases]
        * = host=127.0.0.1 port={postgres.port}
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = scram-sha-256
        auth_file = {postgres.directory}/users
        admin_users = postgres
        pool_mode = transaction
        default_pool_size = {CONNECTIONS}
        {"user = postgres" if os.getuid() == 0 else ""}
    """.replace(" " * 8, "")
    )
    for name in ("users", "pgbouncer.ini"):
        (postgres.directory / name).chmod(0o644)
    with (postgres.directory / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen([program, str(postgres.directory / "pgbouncer.ini")], stdout=log, stderr=log)
    url = f"postgresql://postgres:{admin['password']}@127.0.0.1:{port}/postgres"
    try:
        wait_for(lambda: answers(url), (postgres.directory / "pgbouncer.log").read_text(), 20)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def test_the_services_work_through_a_pooler(tmp_path: Path) -> None:
    environ = {"OMS_PAYMENT_SUCCESS_RATE": "1", "OMS_DEFAULT_STOCK": "100000"}
    with NativePostgres() as postgres, NativeRedis() as gate, NativeKafka() as kafka, pooler(postgres) as url:
        direct = Cluster(tmp_path, postgres.url, gate.url, kafka.url, environ)
        direct.set_up()  # it makes the database, at the server itself
        cluster = Cluster(tmp_path, url, gate.url, kafka.url, environ)
        try:
            cluster.start()
            load = Load(cluster.of("order")[0].port, an_order, connections=16)
            load.start(ORDERS)
            load.join()
            assert load.statuses == [201] * ORDERS
            assert cluster.settle() == {"CONFIRMED": ORDERS}
            assert 1 <= busiest_pool(url) <= CONNECTIONS
            direct.check()
            for command, connections in (("verify", 4), ("reconcile", 2)):
                check_as_operator(cluster, url, command, connections)
            cluster.stop()
        finally:
            cluster.end()


def check_as_operator(cluster: Cluster, url: str, command: str, connections: int) -> None:
    """It works with as many connections as it needs; with one fewer it soon says how many that are."""
    limit_pool(url, connections)
    done = cluster.oms(command)
    assert done.returncode == 0, done.stdout + done.stderr
    limit_pool(url, connections - 1)
    began = time.monotonic()
    done = cluster.oms(command)
    assert done.returncode != 0
    assert time.monotonic() - began < BEGIN_TIMEOUT_S + STARTS_WITHIN_S
    assert f"gave {connections - 1} of the {connections} connections" in done.stderr
    assert "OMS_POSTGRES_URL" in done.stderr
    assert "Traceback" not in done.stderr


def limit_pool(url: str, connections: int) -> None:
    """Have PgBouncer give each role so many connections to the server from now on."""
    with psycopg.connect(url.rpartition("/")[0] + "/pgbouncer", autocommit=True) as console:
        console.execute(f"SET default_pool_size = {connections}".encode())
        console.execute("RECONNECT")  # it closes the connections of the size before


def test_a_poolers_session_is_known_from_ones_own() -> None:
    """What is set in it would be another's, so that each transaction brings its limits along."""
    with NativePostgres() as postgres, pooler(postgres) as url:
        assert (is_ours(postgres.url), is_ours(url)) == (True, False)


def is_ours(url: str) -> bool:
    database = postgres_database(Credentials("postgres", conninfo_to_dict(url)), "public")
    with database._read.engine.connect() as connection:
        session = connection.connection.driver_connection
        assert isinstance(session, Session)
        limit = connection.exec_driver_sql("SHOW lock_timeout").scalar_one()
        assert limit == ("5s" if session.is_ours else "0")
        known = session.is_ours
    database.close()
    return known


def busiest_pool(url: str) -> int:
    """The most connections to the server that a role of ours has."""
    console = url.rpartition("/")[0] + "/pgbouncer"
    with psycopg.connect(console, autocommit=True) as connection:
        rows = connection.execute("SHOW SERVERS").fetchall()
    users = [str(row[1]) for row in rows]
    return max(users.count(role) for role in ROLES)
