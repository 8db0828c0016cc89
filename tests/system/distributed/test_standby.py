"""PostgreSQL with a synchronous standby: the primary dies with orders in flight, the standby takes over, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from oms.testing.servers import NativeKafka, NativePostgres, NativeRedis
from tests.support.cluster import Cluster
from tests.support.serving import Load, an_order, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(300)]
ORDERS = 600


@pytest.fixture
def pair() -> Iterator[tuple[NativePostgres, NativePostgres]]:
    with NativePostgres() as primary, NativePostgres(standby_of=primary) as standby:
        run(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        run(primary, "SELECT pg_reload_conf()")
        state = "SELECT sync_state FROM pg_stat_replication"
        wait_for(lambda: run(primary, state) == [("sync",)], "a commit waits for the standby")
        yield primary, standby


@pytest.fixture
def cluster(pair: tuple[NativePostgres, NativePostgres], tmp_path: Path) -> Iterator[Cluster]:
    primary, standby = pair
    either = f"postgresql://127.0.0.1:{primary.port},127.0.0.1:{standby.port}/oms?target_session_attrs=read-write"
    environ = {"OMS_POSTGRES_URL": either, "OMS_PAYMENT_SUCCESS_RATE": "1", "OMS_DEFAULT_STOCK": "100000"}
    with NativeRedis() as gate, NativeKafka() as kafka:
        made = Cluster(tmp_path, primary.url, gate.url, kafka.url, environ)
        try:
            made.set_up()
            yield made.start()
        finally:
            made.end()


def test_a_standby_takes_over(cluster: Cluster, pair: tuple[NativePostgres, NativePostgres]) -> None:
    primary, standby = pair
    load = Load(cluster.of("order")[0].port, an_order, connections=16)
    load.start(ORDERS)
    wait_for(lambda: len(load.accepted) > ORDERS // 4, "orders come in")
    primary.kill()
    run(standby, "SELECT pg_promote()")
    cluster.postgres_url = standby.url
    load.join()
    assert set(load.statuses) <= {201, 503}
    counted = cluster.settle()
    assert counted["CONFIRMED"] >= len(load.accepted) > ORDERS // 4
    assert set(counted) == {"CONFIRMED"}
    for order_id in load.accepted:
        assert cluster.of("order")[0].get(f"/orders/{order_id}")[1]["status"] == "CONFIRMED"
    cluster.check()
    cluster.stop()


def run(server: NativePostgres, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(server.url, autocommit=True) as connection:
        cursor = connection.execute(statement)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []
