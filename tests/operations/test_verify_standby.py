"""`oms verify` on a standby of PostgreSQL: it knows that its records may be behind, and says what it can't compare."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from oms.adapters.sql import factory
from oms.adapters.sql.provisioning.roles import set_up_postgres
from oms.adapters.sqlite_log.log import SqliteLog
from oms.bootstrap.system import SERVICES
from oms.operations import promises
from oms.ports.evidence import Evidence
from oms.settings import Settings, load_settings
from oms.testing import Shop
from oms.testing.bench.deployment import addresses
from oms.testing.servers import NativePostgres

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]


@pytest.fixture
def pair() -> Iterator[tuple[NativePostgres, NativePostgres]]:
    with NativePostgres() as primary, NativePostgres(standby_of=primary) as standby:
        yield primary, standby


def settings_of(primary: NativePostgres, server: NativePostgres) -> Settings:
    nowhere = "127.0.0.1:1"
    given = dict(addresses(primary.url, f"redis://{nowhere}", nowhere, database="oms"))
    return load_settings({**given, "OMS_POSTGRES_URL": f"postgresql://127.0.0.1:{server.port}/oms"})


def evidence_on(primary: NativePostgres, server: NativePostgres, shop: Shop) -> Evidence:
    order, stock, payment, notification = (
        factory.postgres_reader(name, settings_of(primary, server).postgres) for name in SERVICES
    )
    log = SqliteLog.read_only(shop.app.settings.data / "broker.db")
    return Evidence(order, stock, payment, notification, log, shop.evidence.book)


def test_a_standby_says_how_far_it_is(pair: tuple[NativePostgres, NativePostgres], tmp_path: Path) -> None:
    primary, _ = pair
    set_up_postgres(settings_of(primary, primary).postgres, SERVICES, [])
    shop = Shop(profile="embedded", data=tmp_path)
    shop.place()
    shop.run()
    on_primary, on_standby = (evidence_on(primary, server, shop) for server in pair)
    assert on_primary.order.as_of() is None
    as_of = on_standby.order.as_of()
    assert as_of is not None
    assert abs(datetime.now(UTC) - as_of) < timedelta(minutes=5)

    # The log is ahead of the record: that of a system whose standby has replayed nothing of it yet.
    now = shop.now()
    report = promises.check(on_standby, shop.codec, now=now, deadline_s=900, settle_s=60)
    assert (report.violations, report.quiet) == ((), False)
    assert {"P4", "P9"}.isdisjoint(report.checked)
    assert any("records of a standby" in note for note in report.notes)
    broken = promises.check(on_primary, shop.codec, now=now, deadline_s=900, settle_s=60).violations
    assert {violation.promise for violation in broken} >= {"P9"}, "on a primary that is no delay, but a loss"
    shop.app.stop()
