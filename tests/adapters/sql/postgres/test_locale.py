"""A PostgreSQL that answers in German, and whose roles and databases have settings of their own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

import oms
from oms.adapters.sql.factory import postgres_store
from oms.adapters.sql.provisioning.checks import check_postgres
from oms.adapters.sql.provisioning.roles import set_up_postgres
from oms.adapters.system.clock import SystemIds
from oms.bootstrap.app import App
from oms.settings import Settings, load_settings
from tests.support.own_postgres import OwnPostgres

pytestmark = pytest.mark.servers

HOSTILE = {
    "datestyle": "German, DMY",
    "timezone": "Asia/Kolkata",
    "intervalstyle": "sql_standard",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "client_encoding": "LATIN1",
    "default_transaction_isolation": "serializable",
}


class GermanPostgres(OwnPostgres):
    """Answers in German. The test makes the locale itself; its definition is in Debian's package `locales`."""

    def __init__(self, locales: Path) -> None:
        self._locales = locales
        super().__init__(lc_messages="de_DE.UTF-8")

    def _env(self) -> dict[str, str]:
        return {**super()._env(), "LOCPATH": str(self._locales)}


@pytest.fixture(scope="module")
def german() -> Iterator[GermanPostgres]:
    with TemporaryDirectory() as directory:
        locales = Path(directory)
        locales.chmod(0o755)  # the server may run as another user; pytest's own directories are closed to others
        subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", str(locales / "de_DE.UTF-8")], check=True)
        with GermanPostgres(locales) as server:
            yield server


@pytest.fixture(scope="module")
def settings(german: GermanPostgres) -> Settings:
    at = psycopg.conninfo.conninfo_to_dict(german.admin)
    made = load_settings(
        {},
        postgres_url=f"postgresql://{at['host']}:{at['port']}/words",
        postgres_password="secret-of-oms",
        postgres_admin_password=at["password"],
    )
    set_up_postgres(made.postgres, ["order"])
    return made


def shop(settings: Settings, data: Path) -> App:
    store = postgres_store("order", settings.postgres, SystemIds())
    return oms.create(environ={}, profile="embedded", data=data, stores={"order": store}, log_level="error")


def test_the_server_answers_in_german(german: GermanPostgres) -> None:
    with psycopg.connect(german.admin) as connection, pytest.raises(psycopg.Error, match="Division durch Null"):
        connection.execute("SELECT 1/0")


def test_requests_with_equal_keys_get_one_order_whatever_the_servers_language(
    settings: Settings, tmp_path: Path
) -> None:
    apps = [shop(settings, tmp_path / str(number)) for number in range(4)]
    command = apps[0].draft("ann", 5, {"cup": 1})
    for app in apps:
        app.start()
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(app.orders.place, command, key=f"key-{number}") for number in range(15) for app in apps]
        orders = [one.result(timeout=60).id for one in asked]
    for app in apps:
        app.stop()
    assert len(orders) == 60
    assert len(set(orders)) == 15


def test_problems_are_told_apart_whatever_the_servers_language(settings: Settings) -> None:
    nowhere = _evolved(settings, postgres_url=settings.postgres_url.replace("/words", "/nowhere"))
    (line,) = map(str, check_postgres(nowhere.postgres, ["order"]))
    assert "oms_order can't log in" in line
    assert line.endswith("; run `oms setup`")
    (line,) = map(str, check_postgres(_evolved(settings, postgres_password="wrong").postgres, ["order"]))
    assert "oms_order can't log in" in line
    assert not line.endswith("; run `oms setup`")


@pytest.mark.parametrize("scope", ["ROLE oms_order IN DATABASE words", "ROLE oms_order", "DATABASE words"])
def test_settings_of_role_or_database_change_no_order(
    german: GermanPostgres, settings: Settings, tmp_path: Path, scope: str
) -> None:
    for name, value in HOSTILE.items():
        german.run(f"ALTER {scope} SET {name} = '{value}'")
    app = shop(settings, tmp_path)
    texts = {"note": "grüße 日本 'quoted' \\ back", "other": '"\\x00" {a,b}'}
    order = app.orders.place(app.draft("ann", "19.90", {"cup": 2}, texts))
    app.run()
    found = app.orders.get(order.id)
    assert found.terms == order.terms
    assert abs((found.deadline_at - order.deadline_at).total_seconds()) < 1
    assert {entry.at.tzinfo for entry in app.orders.timeline(order.id)} == {UTC}
    app.stop()
    german.run(f"ALTER {scope} RESET ALL")


def _evolved(settings: Settings, **changed: str) -> Settings:
    known = {
        "postgres_url": settings.postgres_url,
        "postgres_password": "secret-of-oms",
    }
    return load_settings({}, **{**known, **changed})
