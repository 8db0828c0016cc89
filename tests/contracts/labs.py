"""The adapters of this repository, for the contract suites."""

from __future__ import annotations

import atexit
import os
import socket
import sqlite3
import struct
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import attrs
import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from psycopg.conninfo import conninfo_to_dict
from redis import Redis

from oms.adapters.kafka.broker import KafkaBroker
from oms.adapters.kafka.conf import conf_of
from oms.adapters.kafka.subscription import KafkaSubscription
from oms.adapters.kafka.topics import ensure_topics
from oms.adapters.memory import CountedIds, ManualClock
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.adapters.redis.connection import connect
from oms.adapters.redis.gate import PREFIX, RedisGate
from oms.adapters.sql import factory
from oms.adapters.sql.core.database import Database
from oms.adapters.sql.factory import store_in
from oms.adapters.sql.postgres.credentials import Credentials
from oms.adapters.sql.postgres.database import postgres_database, setup_database
from oms.adapters.sql.provisioning.migrate import migrate
from oms.adapters.sql.stores.tables import KINDS, kind_of
from oms.adapters.sqlite_log.log import SqliteLog
from oms.adapters.sqlite_log.records import pack_headers
from oms.ports.broker import NO_STARTS, Broker, Subscription, TopicPartition
from oms.ports.errors import PortError
from oms.ports.evidence import LogEvidence
from oms.ports.messages import Outgoing, Record
from oms.settings import Settings, load_settings
from oms.testing.contracts.broker import A, B
from oms.testing.servers import servers

T = TypeVar("T")


class Timed:
    """A clock that the suite moves."""

    @pytest.fixture(autouse=True)
    def _time(self) -> None:
        self.clock = ManualClock()

    def advance(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    def now(self) -> datetime:
        return self.clock.now()


class InMemory(Timed):
    """A memory store: who has to wait runs what would end the wait."""

    kind: Callable[..., Any]

    @pytest.fixture
    def new_store(self) -> Callable[[], Any]:
        self.blocked: Callable[[str], None] = _never
        return lambda: type(self).kind(self.clock, CountedIds(), blocked=lambda what: self.blocked(what))

    def meanwhile(self, waiting: Callable[[], T], release: Callable[[], object]) -> T:
        waited: list[str] = []

        def blocked(what: str) -> None:
            assert not waited, f"still blocked at {what}"
            waited.append(what)
            release()

        self.blocked = blocked
        answer = waiting()
        self.blocked = _never
        assert waited, "the call should have waited for the other transaction"
        return answer

    def process(self, store: Any) -> Any:
        self.processes = getattr(self, "processes", 0) + 1
        return store.worker(f"process-{self.processes}")

    def end(self, process: Any) -> None:
        process.kill(process._hooks.owner)


def _never(what: str) -> None:
    raise AssertionError(f"nobody holds {what}")


class OnSqlite(Timed):
    """A SQLite store: one write transaction at a time, in a file that survives."""

    name: str
    concurrent = False
    survives_restart = True
    solitary = True
    waits_s = 0.05

    @pytest.fixture
    def new_store(self, tmp_path: Path) -> Iterator[Callable[[], Any]]:
        numbers = count()
        self.opened: list[tuple[Any, Path]] = []
        yield lambda: self._open(tmp_path / f"{next(numbers)}.db")
        for store, _ in self.opened:
            store.close()

    def reopen(self, store: Any) -> Any:
        return self._open(next(path for known, path in self.opened if known is store))

    def process(self, store: Any) -> Any:
        return self.reopen(store)

    def end(self, process: Any) -> None:
        process.close()

    def _open(self, path: Path) -> Any:
        store = factory.sqlite_store(self.name, path, self.clock, CountedIds())
        self.opened.append((store, path))
        return store


def postgres_url() -> str:
    """A server's address with a superuser, for databases of the tests' own."""
    return servers().postgres_url


@cache
def postgres_login() -> Credentials:
    """A superuser's way to a database of this process's own, which goes with the process."""
    server, name = conninfo_to_dict(postgres_url()), f"oms_test_{os.getpid()}_{uuid4().hex[:8]}"
    administer(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
    administer(f"ALTER DATABASE {name} SET synchronous_commit = off")  # no test here cuts the power
    atexit.register(administer, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    return Credentials("tests", {**server, "dbname": name})


def administer(statement: str) -> None:
    """Run a statement on the server itself."""
    with psycopg.connect(postgres_url(), autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[call-overload]


@cache
def _shared(login: Credentials) -> Database:
    """The connections of all stores of this process: a server's connection costs more than a test."""
    return postgres_database(login, "public")


_free: dict[str, list[str]] = {}
"""Schemas that are migrated and empty, by kind of store."""


class OnPostgres(Timed):
    """A PostgreSQL store, in a schema of its own; only the suite changes its time."""

    name: str
    survives_restart = True

    @pytest.fixture
    def new_store(self) -> Iterator[Callable[[], Any]]:
        self.opened: list[tuple[Any, str]] = []
        self.reopened: list[Database] = []
        yield self._new
        while self.opened:
            self._give_back_oldest()
        for database in self.reopened:
            database.close()

    def _new(self) -> Any:
        while len(self.opened) > 2:  # a property makes many, and looks at the last
            self._give_back_oldest()
        return self._open(new_schema(self.name), _shared(postgres_login()))

    def _give_back_oldest(self) -> None:
        _, schema = self.opened.pop(0)
        if schema not in {other for _, other in self.opened}:
            give_back_schema(self.name, schema)

    def reopen(self, store: Any) -> Any:
        schema = next(schema for known, schema in self.opened if known is store)
        self.reopened.append(postgres_database(postgres_login(), schema))
        return self._open(schema, self.reopened[-1])

    def process(self, store: Any) -> Any:
        return self.reopen(store)

    def end(self, process: Any) -> None:
        process._database.registration.close()  # as the server sees it, when a process dies

    def meanwhile(self, waiting: Callable[[], T], release: Callable[[], object]) -> T:
        """The server itself says that the call waits for a lock."""
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(waiting)
            until_somebody_waits(lambda: not call.done())
            release()
            return call.result(timeout=10)

    def _open(self, schema: str, database: Database) -> Any:
        store = store_in(attrs.evolve(database, schema=schema, clock=self.clock), self.name, CountedIds())
        self.opened.append((store, schema))
        return store


def until_somebody_waits(goes_on: Callable[[], bool]) -> None:
    """Return once a connection of this process's database waits for a lock."""
    waiting = (
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
        "WHERE NOT granted AND datname = current_database()"
    )
    with postgres_login().connect() as connection:
        for _ in range(500):
            if connection.execute(waiting).fetchone() != (0,):
                return
            assert goes_on(), "the call should have waited for the other transaction"
            time.sleep(0.01)
    raise AssertionError("nobody waits for a lock")


def new_schema(name: str) -> str:
    """A schema with the tables of a store, empty."""
    kind = kind_of(name)
    if _free.get(kind):
        return _free[kind].pop()
    schema = f"s_{uuid4().hex[:12]}"
    with postgres_login().connect() as connection:
        connection.execute(f"CREATE SCHEMA {schema}")  # type: ignore[call-overload]
    database = setup_database(postgres_login(), schema)
    migrate(database, kind)
    database.close()
    return schema


def give_back_schema(name: str, schema: str) -> None:
    """Empty a schema, for the next test."""
    kind = kind_of(name)
    tables = [table.name for table in reversed(KINDS[kind].metadata.sorted_tables) if table.name != "gate"]
    empty = [f"DELETE FROM {schema}.{table}" for table in tables]
    if kind == "inventory":
        empty.append(f"UPDATE {schema}.gate SET epoch = 0")
    with postgres_login().connect() as connection:
        connection.execute("; ".join(empty))  # type: ignore[call-overload]
    _free.setdefault(kind, []).append(schema)


class SqliteLogs:
    """The log of a one-process system, in a file of its own."""

    survives_restart = True

    @pytest.fixture
    def new_broker(self, tmp_path: Path) -> Iterator[Callable[[], Any]]:
        numbers = count()
        self.opened: list[tuple[SqliteLog, Path]] = []
        yield lambda: self._open(tmp_path / f"{next(numbers)}.db")
        for log, _ in self.opened:
            log.close()

    def reopen(self, broker: Any) -> Any:
        broker.close()  # a file has one process; tests/adapters kill a real one
        return self._open(next(path for known, path in self.opened if known is broker))

    def begin_in_part(
        self, broker: Any, group: str, starts: Mapping[TopicPartition, int], part: Collection[TopicPartition]
    ) -> Any:
        broker.subscribe(group, {at.topic for at in starts}, starts).close()
        broker.close()
        path = next(path for known, path in self.opened if known is broker)
        with closing(sqlite3.connect(path)) as connection:
            for at in starts.keys() - part:
                connection.execute(
                    "DELETE FROM offsets WHERE consumers = ? AND topic = ? AND partition = ?", (group, *at)
                )
            connection.commit()
        return self._open(path)

    def append_foreign(self, broker: Any, message: Outgoing) -> None:
        row = (message.topic, message.key, pack_headers(message.headers), message.value)
        assert broker._writer.append([row]) is None

    def _open(self, path: Path) -> SqliteLog:
        log = SqliteLog(path, clock=ManualClock())
        self.opened.append((log, path))
        return log


def kafka_bootstrap() -> str:
    """Where the Kafka of the tests is: a single broker, without login."""
    return servers().kafka_bootstrap


_SET = AlterConfigOpType.SET


class KafkaLogs:
    """Kafka, with topics and groups of its own for each broker that a test makes."""

    survives_restart = True
    can_evict = True
    can_hold_back = True
    patience_s = 20.0
    quiet_s = 0.6

    @pytest.fixture
    def new_broker(self) -> Iterator[Callable[[], Any]]:
        settings = Settings(
            kafka_bootstrap=kafka_bootstrap(),
            kafka_conf={"heartbeat.interval.ms": "100", "session.timeout.ms": "6000"},
        )
        self.opened: list[ApartKafka] = []
        yield lambda: self._open(settings, f"test-{uuid4().hex[:12]}-")
        for broker in self.opened:
            broker.end()
        self._delete_topics(settings)

    def reopen(self, broker: Any) -> Any:
        for member in broker.members:
            self._await_commits(member)
            self.evict(broker, member)
        again = ApartKafka(
            broker.settings, broker.prefix, sends=KafkaBroker(broker.settings.kafka, RecordingTelemetry())
        )
        self.opened.append(again)
        return again

    def append_foreign(self, broker: Any, message: Outgoing) -> None:
        """Through a topic without the protection that `oms setup` gives it."""
        topic = broker.prefix + message.topic
        unprotected = {"max.message.bytes": str(2**26), "compression.type": "producer"}
        admin = AdminClient(conf_of(broker.settings.kafka))
        changes = [ConfigEntry(name, value, incremental_operation=_SET) for name, value in unprotected.items()]
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=changes)
        for future in admin.incremental_alter_configs([resource]).values():
            future.result()
        producer = Producer(
            {**conf_of(broker.settings.kafka), "message.max.bytes": str(2**26), "compression.type": "gzip"}
        )
        failed: list[object] = []
        producer.produce(
            topic,
            message.value,
            message.key,
            headers=list(message.headers),
            on_delivery=lambda error, _: failed.append(error),
        )
        producer.flush(self.patience_s)
        (error,) = failed
        assert error is None

    def evict(self, broker: Any, subscription: Any) -> None:
        leave_group(broker.settings.kafka_bootstrap, subscription.group, subscription.member_id)

    def settle(self, *members: Any) -> None:
        until = time.monotonic() + self.patience_s
        while time.monotonic() < until:
            for member in members:
                member.poll(0)
            shares = [set(member.its.assigned) for member in members]
            if all(shares) and len(set.union(*shares)) == sum(map(len, shares)) == 4:
                return
        pytest.fail("the group didn't spread its partitions")

    def _open(self, settings: Settings, prefix: str) -> ApartKafka:
        broker = ApartKafka(settings, prefix, sends=_sender(settings.kafka_bootstrap))
        self.opened.append(broker)
        return broker

    def _await_commits(self, member: Any) -> None:
        until = time.monotonic() + self.patience_s
        while member.its.commits_open and time.monotonic() < until:
            member.poll(0)

    def _delete_topics(self, settings: Settings) -> None:
        made = sorted({topic for broker in self.opened for topic in broker.made})
        if made:
            admin = AdminClient(conf_of(settings.kafka))
            for future in admin.delete_topics(made).values():
                future.result()


@cache
def _sender(bootstrap: str) -> KafkaBroker:
    """One producer for all tests: a new one takes half a second to be let in."""
    return KafkaBroker(Settings(kafka_bootstrap=bootstrap).kafka, RecordingTelemetry())


class ApartKafka(Broker, LogEvidence):
    """A Kafka broker whose topics and groups have a hidden prefix. Topics are created at their first use."""

    def __init__(self, settings: Settings, prefix: str, *, sends: KafkaBroker) -> None:
        self.settings, self.prefix, self._sends = settings, prefix, sends
        self.its = KafkaBroker(settings.kafka, RecordingTelemetry(), topics=[prefix + A, prefix + B])
        self.members: list[ApartMember] = []
        self.made: set[str] = set()

    def publish(self, messages: Sequence[Outgoing]) -> Sequence[PortError | None]:
        self._make({message.topic for message in messages})
        return self._sends.publish([attrs.evolve(one, topic=self.prefix + one.topic) for one in messages])

    def subscribe(
        self, group: str, topics: Collection[str], starts: Mapping[TopicPartition, int] = NO_STARTS
    ) -> Subscription:
        self._make(topics)
        outside = {self._outside(place): offset for place, offset in starts.items()}
        its = self.its.subscribe(self.prefix + group, [self.prefix + topic for topic in topics], outside)
        assert isinstance(its, KafkaSubscription)
        self.members.append(ApartMember(its, self.prefix, self.prefix + group))
        return self.members[-1]

    def ends(self, topics: Collection[str]) -> Mapping[TopicPartition, int]:
        found = self.its.ends([self.prefix + topic for topic in topics])
        return {self._inside(place): offset for place, offset in found.items()}

    def knows(self, group: str, topics: Collection[str]) -> bool:
        return self.its.knows(self.prefix + group, [self.prefix + topic for topic in topics])

    def all_records(self) -> Iterable[Record]:
        for record in self.its.all_records():
            yield attrs.evolve(record, topic=record.topic.removeprefix(self.prefix))

    def offsets(self, group: str) -> Mapping[TopicPartition, int]:
        return {self._inside(place): offset for place, offset in self.its.offsets(self.prefix + group).items()}

    def _inside(self, place: TopicPartition) -> TopicPartition:
        return place._replace(topic=place.topic.removeprefix(self.prefix))

    def _outside(self, place: TopicPartition) -> TopicPartition:
        return place._replace(topic=self.prefix + place.topic)

    def end(self) -> None:
        for member in self.members:
            member.close()

    def _make(self, topics: Collection[str]) -> None:
        names = {self.prefix + topic for topic in topics} - self.made
        if names:
            ensure_topics(self.settings.kafka, names)
            self.made |= names


class ApartMember(Subscription):
    """A member of a group with a prefix."""

    def __init__(self, its: KafkaSubscription, prefix: str, group: str) -> None:
        self.its, self.prefix, self.group = its, prefix, group

    @property
    def member_id(self) -> str:
        assert self.its._consumer is not None
        return self.its._consumer.memberid()

    def poll(self, max_records: int) -> Sequence[Record]:
        records = self.its.poll(max_records)
        return [attrs.evolve(record, topic=record.topic.removeprefix(self.prefix)) for record in records]

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.its.commit({self._outside(place): offset for place, offset in offsets.items()})

    def lost(self) -> Collection[TopicPartition]:
        return [place._replace(topic=place.topic.removeprefix(self.prefix)) for place in self.its.lost()]

    def is_new(self) -> bool | None:
        return self.its.is_new()

    def hold_back(self) -> bool:
        return self.its.hold_back()

    def held_back(self) -> Mapping[TopicPartition, int]:
        return {self._inside(place): offset for place, offset in self.its.held_back().items()}

    def with_records(self, offsets: Mapping[TopicPartition, int]) -> Collection[TopicPartition]:
        outside = {self._outside(place): offset for place, offset in offsets.items()}
        return [self._inside(place) for place in self.its.with_records(outside)]

    def open(self, offsets: Mapping[TopicPartition, int], *, careful: bool = False) -> None:
        self.its.open({self._outside(place): offset for place, offset in offsets.items()}, careful=careful)

    def close(self) -> None:
        self.its.close()

    def _inside(self, place: TopicPartition) -> TopicPartition:
        return place._replace(topic=place.topic.removeprefix(self.prefix))

    def _outside(self, place: TopicPartition) -> TopicPartition:
        return place._replace(topic=self.prefix + place.topic)


def leave_group(address: str, group: str, member_id: str) -> None:
    """Remove a member from its Kafka group without its knowledge, as the broker does after a session timeout."""
    leave_group_key, version, correlation = 13, 0, 1
    words = b"".join(struct.pack(">h", len(word)) + word for word in (b"lab", group.encode(), member_id.encode()))
    request = struct.pack(">hhi", leave_group_key, version, correlation) + words
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = connection.recv(10, socket.MSG_WAITALL)
    assert struct.unpack(">iih", answer) == (6, correlation, 0)


def redis_settings() -> Settings:
    """Where the Redis of the tests is."""
    url = urlsplit(servers().redis_url)
    address = f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"
    return load_settings({}, redis_url=address, **({"redis_password": url.password} if url.password else {}))


class OnRedis(Timed):
    """Gates on a real Redis that others use too: each has a prefix of its own, and leaves nothing."""

    @pytest.fixture
    def new_gate(self) -> Iterator[Callable[[], Any]]:
        self.client = connect(redis_settings().redis)
        mine, numbers = f"{PREFIX}test-{uuid4().hex}:", count()
        yield lambda: RedisGate(self.client, self.clock, prefix=f"{mine}{next(numbers)}:")
        unlink(self.client, mine)
        self.client.close()

    def lose_memory(self, gate: Any) -> None:
        unlink(self.client, gate.prefix)


def unlink(client: Redis, prefix: str) -> None:
    """Remove every key that begins like this."""
    for key in client.scan_iter(f"{prefix}*", count=1000):
        client.unlink(key)
