"""All four services on servers that take TLS and passwords alone, with the secrets in files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import SERVICES, Cluster, request
from tests.support.secured import PASSWORD, Secured, make_certificates, secured_servers
from tests.support.serving import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    directory = tmp_path_factory.mktemp("secured")
    with secured_servers(directory, make_certificates(tmp_path_factory.mktemp("certificates"))) as made:
        yield made


@pytest.fixture(scope="module")
def cluster(servers: Secured, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four services on them; every promise is checked at the end, over TLS as well."""
    environ = {**servers.environ, "OMS_PAYMENT_SUCCESS_RATE": "1"}
    gate, kafka = servers.environ["OMS_REDIS_URL"], servers.environ["OMS_KAFKA_BOOTSTRAP"]
    made = Cluster(tmp_path_factory.mktemp("cluster"), servers.admin, gate, kafka, environ)
    try:
        made.set_up()
        yield made.start()
        made.settle()
        made.check()
        made.stop()
    finally:
        made.end()


def test_an_order_goes_through_servers_that_take_tls_and_passwords_alone(cluster: Cluster) -> None:
    body = {"userId": "ann", "amount": 12.5, "items": {"apple": 2}}
    status, order = request(cluster.of("order")[0].port, "POST", "/orders", body)
    assert status == 201, order
    where = f"/orders/{order['id']}"
    wait_for(lambda: cluster.of("order")[0].get(where)[1]["status"] == "CONFIRMED", "it is confirmed")


def test_no_log_shows_a_password(cluster: Cluster) -> None:
    for service in SERVICES:
        assert PASSWORD not in cluster.of(service)[0].log.read_text()


def test_another_authority_is_refused_in_one_line_for_each_server(
    cluster: Cluster, servers: Secured, tmp_path: Path
) -> None:
    other = str(make_certificates(tmp_path) / "ca.pem")
    address = cluster.settings()["OMS_POSTGRES_URL"].replace(str(servers.authority), other)
    doctor = cluster.oms("doctor", OMS_POSTGRES_URL=address, OMS_REDIS_CA_FILE=other, OMS_KAFKA_CA_FILE=other)
    lines = doctor.stdout.splitlines() + doctor.stderr.splitlines()
    assert doctor.returncode != 0
    for server in ("PostgreSQL", "Redis", "Kafka"):
        assert len([line for line in lines if server in line and "certificate" in line]) == 1, (
            doctor.stdout + doctor.stderr
        )


def test_a_wrong_password_is_refused_in_one_line(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("not-this-one")
    doctor = cluster.oms(
        "doctor",
        OMS_POSTGRES_PASSWORD="not-this-one",
        OMS_REDIS_PASSWORD="not-this-one",
        OMS_KAFKA_PASSWORD_FILE=str(tmp_path / "wrong"),
    )
    output = doctor.stdout + doctor.stderr
    assert doctor.returncode != 0
    for service in SERVICES:
        assert f"oms_{service} can't log in: password authentication failed" in output
    assert "invalid credentials with SASL mechanism SCRAM-SHA-512" in output
    assert "Redis refuses the login: check OMS_REDIS_USER and OMS_REDIS_PASSWORD" in output
    assert "not-this-one" not in output
