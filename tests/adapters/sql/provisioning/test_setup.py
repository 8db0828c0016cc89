"""`oms setup` and the check on a server with passwords: rights of each role, repeated runs, clear messages."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import psycopg
import pytest
from typed_settings.types import Secret

from oms.adapters.memory import CountedIds
from oms.adapters.sql.factory import postgres_reader, postgres_store
from oms.adapters.sql.postgres.credentials import (
    admin_credentials,
    operator_credentials,
    schema_of,
    service_credentials,
)
from oms.adapters.sql.provisioning import roles
from oms.adapters.sql.provisioning.checks import check_postgres, other_currencies
from oms.adapters.sql.provisioning.migrate import HEADS
from oms.adapters.sql.provisioning.roles import set_up_postgres
from oms.ports.errors import Permanent, PortError, Retryable
from oms.ports.stores.rows import Delivery
from oms.settings import Settings
from oms.testing.contracts.samples import flush, row
from tests.support.own_postgres import PASSWORD, OwnPostgres

pytestmark = pytest.mark.servers

SERVICES = ("order", "inventory", "payment", "notification")
CANARY, WRONG = "canary-of-order", "canary-that-is-wrong"


def settings_of(server: OwnPostgres, database: str = "oms", **more: Any) -> Settings:
    secrets = {
        "postgres_password": Secret("common-password"),
        "postgres_password_order": Secret(CANARY),
        "postgres_admin_password": Secret(PASSWORD),
    }
    return Settings(postgres_url=f"postgresql://127.0.0.1:{server.port}/{database}", **{**secrets, **more})


@pytest.fixture(scope="module")
def ready(server: OwnPostgres) -> Settings:
    settings = settings_of(server)
    set_up_postgres(settings.postgres, SERVICES, ["shipping", "Gift.Wrap"])
    return settings


def refused(settings: Settings, name: str, statement: str) -> bool:
    login = (
        operator_credentials(settings.postgres) if name == "operator" else service_credentials(name, settings.postgres)
    )
    with login.connect() as connection:
        try:
            connection.execute(statement)  # type: ignore[call-overload]
        except psycopg.errors.InsufficientPrivilege:
            return True
    return False


def test_setup_makes_everything_and_says_so(server: OwnPostgres) -> None:
    settings = settings_of(server, "first")
    lines = set_up_postgres(settings.postgres, ["order"], ["shipping"])
    assert lines[0] == "database first: made"
    assert {line.partition(":")[0] for line in lines} == {
        "database first",
        "role oms_order",
        "role oms_step_shipping",
        "role oms_operator",
        "schema oms_order",
        "schema oms_step_shipping",
    }
    assert f"schema oms_order: from nothing to {HEADS['order']}" in lines
    assert check_postgres(settings.postgres, ["order", "step-shipping"]) == []


def test_setup_can_be_repeated_and_changes_nothing_then(server: OwnPostgres, ready: Settings) -> None:
    verifiers = server.run("SELECT rolname, rolpassword FROM pg_authid ORDER BY 1")
    lines = set_up_postgres(ready.postgres, SERVICES, ["shipping", "Gift.Wrap"])
    assert all(line.endswith((": is there", ": at " + line.rpartition(" ")[2])) for line in lines)
    assert server.run("SELECT rolname, rolpassword FROM pg_authid ORDER BY 1") == verifiers


def test_the_check_names_each_schema_whose_currency_is_another(server: OwnPostgres) -> None:
    settings = settings_of(server, "currencies")
    assert other_currencies(settings.postgres, SERVICES, settings.currency) == [], "there is no database yet"
    set_up_postgres(settings.postgres, SERVICES)
    assert other_currencies(settings.postgres, SERVICES, settings.currency) == [], "nothing is pinned yet"
    for name, code in (("order", "USD"), ("payment", "EUR")):
        store = postgres_store(name, settings.postgres, CountedIds())
        assert store.pin_currency(code) == code
        store.close()
    (line,) = map(str, other_currencies(settings.postgres, SERVICES, settings.currency))
    assert "the amounts of the schema oms_payment are in EUR, OMS_CURRENCY is USD" in line
    reader = postgres_reader("payment", settings.postgres)
    assert reader.currency() == "EUR"
    reader.close()


def test_the_operator_checks_every_schema_with_its_own_password_alone(server: OwnPostgres) -> None:
    own = {f"postgres_password_{name}": Secret(f"canary-of-{name}") for name in (*SERVICES, "operator")}
    services = settings_of(server, "looked_at", postgres_password=None, **own)
    set_up_postgres(services.postgres, SERVICES, ["shipping"])
    store = postgres_store("payment", services.postgres, CountedIds())
    store.pin_currency("EUR")
    store.close()
    every = [*SERVICES, "step-shipping"]
    operator = settings_of(
        server,
        "looked_at",
        postgres_password=None,
        postgres_password_order=None,
        postgres_password_operator=own["postgres_password_operator"],
    )
    assert check_postgres(operator.postgres, every, by_operator=True) == []
    assert "can't log in" in next(map(str, check_postgres(operator.postgres, ["order"]))), (
        "a service checks its own log-in"
    )
    (line,) = map(str, other_currencies(operator.postgres, SERVICES, operator.currency))
    assert "oms_payment are in EUR" in line

    with admin_credentials(services.postgres).connect() as connection:
        connection.execute("REVOKE INSERT ON oms_order.orders FROM oms_order")
        connection.execute("ALTER SCHEMA oms_step_shipping RENAME TO elsewhere")
    found = list(map(str, check_postgres(operator.postgres, every, by_operator=True)))
    assert [line.partition(": ")[2] for line in found] == [
        "oms_order may not write all tables of the schema oms_order; run `oms setup`",
        "the schema oms_step_shipping is missing; run `oms setup`",
    ]


def test_several_hosts_may_set_up_at_once(server: OwnPostgres) -> None:
    settings = settings_of(server, "race")
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(set_up_postgres, settings.postgres, SERVICES, ["a"]) for _ in range(4)]
        reports = [run.result(timeout=60) for run in runs]
    assert sum("database race: made" in lines for lines in reports) == 1
    assert sum(f"schema oms_order: from nothing to {HEADS['order']}" in lines for lines in reports) == 1
    assert check_postgres(settings.postgres, [*SERVICES, "step-a"]) == []


def test_a_database_that_another_host_makes_after_the_first_look_is_found(
    server: OwnPostgres, ready: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, look = [0], roles._login_error

    def late(admin: Any) -> Permanent | None:
        looks[0] += 1
        return Permanent("it wasn't there yet") if looks[0] == 1 else look(admin)

    monkeypatch.setattr(roles, "_login_error", late)
    assert set_up_postgres(ready.postgres, ["payment"])[0] == "database oms: is there"


def test_a_changed_password_is_set(server: OwnPostgres, ready: Settings) -> None:
    changed = settings_of(server, postgres_password_payment=Secret("another"))
    assert "oms_payment can't log in" in next(map(str, check_postgres(changed.postgres, ["payment"])))
    assert "role oms_payment: has a new password" in set_up_postgres(changed.postgres, ["payment"])
    assert check_postgres(changed.postgres, ["payment"]) == []
    set_up_postgres(ready.postgres, ["payment"])


def test_a_service_writes_its_own_rows(ready: Settings) -> None:
    store = postgres_store("order", ready.postgres, CountedIds())
    flush(store, Delivery(outbox=[row("a")]))
    assert [owed.id for owed in store.all_outbox()] == ["a"]
    store.mark_sent(["a"])
    store.close()


def test_doctor_names_topics_to_which_messages_wait_to_be_sent(ready: Settings) -> None:
    store = postgres_store("order", ready.postgres, CountedIds())
    flush(store, Delivery(outbox=[row("unsent")]))
    assert check_postgres(ready.postgres, ["order"]) == []
    with service_credentials("order", ready.postgres).connect() as connection:
        connection.execute("UPDATE oms_order.outbox SET at = now() - interval '5 minutes'")
    (line,) = map(str, check_postgres(ready.postgres, ["order"]))
    assert line.startswith("warning: PostgreSQL at ")
    assert ": order: 1 messages wait to be sent to the topic order.created" in line
    store.mark_sent(["unsent"])
    store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM oms_payment.payments",
        "INSERT INTO oms_inventory.stock VALUES ('a', 1, 0)",
        "CREATE TABLE oms_order.mine (id int)",
        "CREATE TABLE public.mine (id int)",
        "CREATE TEMP TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "DROP TABLE oms_order.orders",
        "ALTER TABLE oms_order.orders ADD mine int",
        "TRUNCATE oms_order.outbox",
        "UPDATE oms_order.alembic_version SET version_num = 'x'",
        "CREATE ROLE mine",
        "SELECT rolpassword FROM pg_authid",
    ],
)
def test_a_service_may_do_nothing_else(ready: Settings, statement: str) -> None:
    assert refused(ready, "order", statement)


@pytest.mark.parametrize("schema", ["oms_order", "oms_step_shipping"])
def test_an_operator_reads_everything_and_writes_nothing(ready: Settings, schema: str) -> None:
    assert not refused(ready, "operator", f"SELECT * FROM {schema}.outbox")
    for statement in (
        f"DELETE FROM {schema}.outbox",
        f"INSERT INTO {schema}.attempts VALUES ('a', 'b', 1, 1, 1)",
        f"SELECT * FROM {schema}.outbox FOR UPDATE",
        f"CREATE TABLE {schema}.mine (id int)",
    ):
        assert refused(ready, "operator", statement)


def test_a_table_that_comes_later_has_the_same_rights(server: OwnPostgres, ready: Settings) -> None:
    with psycopg.connect(server.admin, dbname="oms", autocommit=True) as connection:
        connection.execute("CREATE TABLE oms_order.later (id int)")
    assert not refused(ready, "order", "INSERT INTO oms_order.later VALUES (1)")
    assert not refused(ready, "operator", "SELECT * FROM oms_order.later")
    assert refused(ready, "operator", "DELETE FROM oms_order.later")
    with psycopg.connect(server.admin, dbname="oms", autocommit=True) as connection:
        connection.execute("DROP TABLE oms_order.later")


def test_a_reader_reads_and_writes_nothing(ready: Settings) -> None:
    reader = postgres_reader("inventory", ready.postgres)
    assert list(reader.all_stock()) == []
    assert reader.backlog().outbox == 0
    with pytest.raises(Permanent, match="read only"):
        reader.mark_sent(["x"])
    reader.close()


def test_passwords_are_nowhere(server: OwnPostgres, ready: Settings) -> None:
    """Neither in the server's log of all statements, nor in what our objects say of themselves."""
    log = (server.directory / "log").read_text()
    assert "CREATE ROLE" in log
    assert CANARY not in log
    assert "common-password" not in log
    assert CANARY not in repr(service_credentials("order", ready.postgres))
    wrong = settings_of(server, postgres_password_order=Secret(WRONG))
    assert WRONG not in "".join(map(str, check_postgres(wrong.postgres, ["order"])))
    with pytest.raises(PortError) as raised:
        postgres_store("order", wrong.postgres, CountedIds())
    shown = raised.getrepr(style="long", showlocals=False, chain=True)
    assert WRONG not in str(shown)
    assert raised.value.__cause__ is None


def test_one_role_for_all(server: OwnPostgres) -> None:
    settings = settings_of(server, "one", postgres_user="shop", postgres_password=Secret("shops"))
    set_up_postgres(settings.postgres, SERVICES)
    assert check_postgres(settings.postgres, SERVICES) == []
    store = postgres_store("payment", settings.postgres, CountedIds())
    store.ping()
    store.close()
    reader = postgres_reader("order", settings.postgres)
    assert list(reader.all_orders()) == []
    reader.close()


def test_a_store_wants_its_tables(server: OwnPostgres) -> None:
    server.run("CREATE DATABASE bare")
    settings = settings_of(server, "bare")
    set_up_postgres(settings.postgres, ["order"])
    with pytest.raises(Permanent, match=r"oms_payment has no tables yet.*run `oms setup`"):
        postgres_store("payment", settings_of(server, "bare").postgres, CountedIds())


class TestProblems:
    """Each is one line that says what is wrong."""

    def test_an_unreachable_server(self, server: OwnPostgres) -> None:
        settings = attrs.evolve(settings_of(server), postgres_url="postgresql://127.0.0.1:1/oms")
        (line,) = map(str, check_postgres(settings.postgres, SERVICES))
        assert line.startswith("PostgreSQL at 127.0.0.1:1/oms: can't be reached: ")
        with pytest.raises(Permanent, match="can't be reached"):
            set_up_postgres(settings.postgres, SERVICES)
        with pytest.raises(Retryable, match="can't be reached"):
            postgres_store("order", settings.postgres, CountedIds())

    def test_a_wrong_password(self, server: OwnPostgres, ready: Settings) -> None:
        wrong = settings_of(server, postgres_password=Secret("wrong"))
        lines = list(map(str, check_postgres(wrong.postgres, SERVICES)))
        assert len(lines) == 3  # order has a password of its own
        assert "oms_inventory can't log in: password authentication failed" in lines[0]

    def test_no_password(self, server: OwnPostgres, ready: Settings) -> None:
        (line,) = map(str, check_postgres(settings_of(server, postgres_password=None).postgres, ["payment"]))
        assert "OMS_POSTGRES_PASSWORD gives none" in line

    def test_a_wrong_admin(self, server: OwnPostgres) -> None:
        wrong = settings_of(server, postgres_admin_password=Secret("wrong"))
        with pytest.raises(Permanent, match="postgres can't log in: password authentication failed"):
            set_up_postgres(wrong.postgres, SERVICES)

    def test_an_admin_who_may_do_nothing(self, server: OwnPostgres, ready: Settings) -> None:
        weak = settings_of(server, postgres_admin_user="oms_order", postgres_admin_password=Secret(CANARY))
        with pytest.raises(Permanent, match="permission denied"):
            set_up_postgres(weak.postgres, SERVICES, ["new"])

    def test_no_such_database(self, server: OwnPostgres, ready: Settings) -> None:
        (line,) = map(str, check_postgres(settings_of(server, "nowhere").postgres, ["order"]))
        assert line.endswith('oms_order can\'t log in: database "nowhere" does not exist; run `oms setup`')

    def test_a_missing_schema(self, server: OwnPostgres) -> None:
        server.run("CREATE DATABASE halfway ENCODING 'UTF8'")
        settings = settings_of(server, "halfway")
        set_up_postgres(settings.postgres, ["order"])
        lines = list(map(str, check_postgres(settings.postgres, ["order", "payment"])))
        assert [line.partition(": ")[2] for line in lines] == ["the schema oms_payment is missing; run `oms setup`"]

    def test_another_revision(self, server: OwnPostgres) -> None:
        settings = settings_of(server, "old")
        set_up_postgres(settings.postgres, ["order"])
        with psycopg.connect(server.admin, dbname="old", autocommit=True) as connection:
            connection.execute("UPDATE oms_order.alembic_version SET version_num = 'order_9999'")
        (line,) = map(str, check_postgres(settings.postgres, ["order"]))
        assert f"is at revision order_9999, this program knows {HEADS['order']}; run `oms setup`" in line
        with pytest.raises(Permanent, match="order_9999"):
            postgres_store("order", settings.postgres, CountedIds())
        with pytest.raises(Permanent, match="can't be migrated"):
            set_up_postgres(settings.postgres, ["order"])

    def test_rights_that_are_missing(self, server: OwnPostgres) -> None:
        settings = settings_of(server, "rights")
        set_up_postgres(settings.postgres, ["order"])
        with psycopg.connect(server.admin, dbname="rights", autocommit=True) as connection:
            connection.execute("REVOKE UPDATE ON oms_order.tasks FROM oms_order")
            (line,) = map(str, check_postgres(settings.postgres, ["order"]))
            assert "oms_order may not write all tables of the schema oms_order" in line
            connection.execute("REVOKE USAGE ON SCHEMA oms_order FROM oms_order")
            (line,) = map(str, check_postgres(settings.postgres, ["order"]))
            assert "oms_order may not use the schema oms_order" in line

    def test_a_wrong_address(self, server: OwnPostgres) -> None:
        with pytest.raises(Permanent, match="OMS_POSTGRES_URL"):
            list(map(str, check_postgres(settings_of(server, "oms?sslmood=require").postgres, ["order"])))

    def test_what_may_lose_orders_is_a_warning(self, server: OwnPostgres, ready: Settings) -> None:
        with psycopg.connect(server.admin, autocommit=True) as connection:
            connection.execute("ALTER ROLE oms_order IN DATABASE oms SET synchronous_commit = off")
            lines = list(map(str, check_postgres(ready.postgres, ["order", "payment"])))
            connection.execute("ALTER ROLE oms_order IN DATABASE oms RESET synchronous_commit")
        assert [line.startswith("warning: ") for line in lines] == [True]
        assert "synchronous_commit is off" in lines[0]


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("order", "oms_order"),
        ("step-shipping", "oms_step_shipping"),
        ("step-order", "oms_step_order"),
        ("step-gift_wrap2", "oms_step_gift_wrap2"),
    ],
)
def test_plain_names_are_plain_schemas(name: str, schema: str) -> None:
    assert schema_of(name) == schema


def test_every_group_has_a_schema_of_its_own() -> None:
    groups = ["a-b", "a.b", "A.b", "a_b", "a__b", "ä", "ö", "", "x" * 64, "x" * 63, 'q"; DROP', "_", "a_"]
    schemas = [schema_of(f"step-{group}") for group in groups]
    assert len(set(schemas)) == len(groups)
    assert all(len(schema) <= 63 and schema.replace("_", "").isalnum() and schema.isascii() for schema in schemas)
