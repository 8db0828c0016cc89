"""The durable log: grouping, places, groups, purging, and what its errors mean."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zlib import crc32

import pytest

from oms.adapters.memory.clock import ManualClock
from oms.adapters.sqlite_log import log_file, records
from oms.adapters.sqlite_log.log import SqliteLog
from oms.ports.broker import Subscription, TopicPartition
from oms.ports.errors import OutcomeUnknown, Permanent, Retryable
from oms.ports.limits import MAX_MESSAGE_BYTES
from oms.ports.messages import Outgoing, Record

TOPIC = "order.created"


class Logs:
    """Opens the log of one file again and again, closing it before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock()
        self.now: SqliteLog | None = None

    def open(self, **given: int) -> SqliteLog:
        self.close()
        self.now = SqliteLog(self.path, clock=self.clock, **given)
        return self.now

    def close(self) -> None:
        if self.now is not None:
            self.now.close()
            self.now = None


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    logs = Logs(tmp_path / "broker #1?.db")
    yield logs
    logs.close()


@pytest.fixture
def log(logs: Logs) -> SqliteLog:
    return logs.open()


def message(key: str | None = "a", value: bytes = b"{}", topic: str = TOPIC) -> Outgoing:
    return Outgoing(topic, key.encode() if key is not None else None, value, (("ce_id", b"\x00\xff"),))


def send(log: SqliteLog, *keys: str | None, topic: str = TOPIC) -> None:
    assert list(log.publish([message(key, topic=topic) for key in keys])) == [None] * len(keys)


def drain(subscription: Subscription, at_once: int = 100) -> list[Record]:
    found: list[Record] = []
    while polled := subscription.poll(at_once):
        found += polled
    return found


def after(polled: list[Record]) -> dict[TopicPartition, int]:
    return {TopicPartition(r.topic, r.partition): r.offset + 1 for r in sorted(polled, key=lambda r: r.offset)}


# -- what is written


def test_a_record_comes_back_as_it_was_sent(log: SqliteLog):
    log.publish([message("k", b"\x00value")])
    (record,) = log.subscribe("g", [TOPIC]).poll(10)
    assert record == Record(TOPIC, crc32(b"k") % 4, 0, b"k", b"\x00value", (("ce_id", b"\x00\xff"),))
    assert list(log.all_records()) == [record]


def test_a_key_has_one_partition_and_its_order(log: SqliteLog):
    for number in range(40):
        log.publish([message(f"k{number % 7}", b"%d" % number)])
    of_key: dict[bytes | None, list[int]] = {}
    for record in drain(log.subscribe("g", [TOPIC]), 3):
        assert record.partition == crc32(record.key or b"") % 4
        of_key.setdefault(record.key, []).append(int(record.value or b""))
    assert len(of_key) == 7
    assert all(numbers == sorted(numbers) for numbers in of_key.values())


def test_records_without_a_key_take_turns(log: SqliteLog):
    send(log, None, None, None, None, None)
    assert sorted(record.partition for record in log.all_records()) == [0, 0, 1, 2, 3]


def test_only_the_message_that_cant_be_sent_is_refused(log: SqliteLog):
    large, fine = message("a", b"x" * (MAX_MESSAGE_BYTES + 1)), message("b")
    odd = message("c", topic="\ud800")
    reports = log.publish([large, fine, odd])
    assert [type(report) for report in reports] == [Permanent, type(None), Permanent]
    assert [record.key for record in log.all_records()] == [b"b"]
    assert list(log.publish([large])) != [None]
    assert list(log.publish([])) == []


def test_commits_survive_a_loss_of_power(log: SqliteLog):
    connection = log._writer._connection
    assert connection is not None
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_the_number_of_partitions_is_fixed_when_the_file_is_made(logs: Logs):
    logs.open(partitions=2)
    log = logs.open(partitions=8)
    assert log.partitions == 2
    send(log, *map(str, range(50)))
    assert {record.partition for record in log.all_records()} == {0, 1}


def test_many_callers_share_a_commit(log: SqliteLog):
    each, callers = 25, 16
    start = threading.Barrier(callers)

    def publish() -> None:
        start.wait()
        for number in range(each):
            send(log, str(number))

    threads = [threading.Thread(target=publish) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(1 for _ in log.all_records()) == each * callers
    assert log._writer.commits < each * callers / 2


def test_whoever_waits_is_woken_after_the_commit(log: SqliteLog):
    subscription = log.subscribe("g", [TOPIC])
    seen: list[int] = []
    woken = threading.Event()
    log.woken.append(lambda: seen.append(len(subscription.poll(10))))
    log.woken.append(woken.set)
    send(log, "a")
    assert woken.wait(5)
    assert seen == [1]


def test_an_idle_poll_costs_no_sql(log: SqliteLog):
    subscription = log.subscribe("g", [TOPIC])
    send(log, "a", "b")
    drain(subscription)
    statements: list[str] = []
    subscription._connection.set_trace_callback(statements.append)  # type: ignore[attr-defined]
    assert subscription.poll(100) == []
    assert statements == []
    send(log, "c")
    assert len(subscription.poll(100)) == 1
    assert len(statements) == 1


# -- groups


def test_each_group_gets_every_record_once(log: SqliteLog):
    send(log, *map(str, range(20)))
    one, other = log.subscribe("one", [TOPIC]), log.subscribe("other", [TOPIC, "other.topic"])
    send(log, "more", topic="other.topic")
    assert len(drain(one, 3)) == 20
    assert len(drain(other, 3)) == 21
    assert drain(one) == []


def test_poll_is_bounded_and_poll_of_none_reads_nothing(log: SqliteLog):
    send(log, *map(str, range(20)))
    subscription = log.subscribe("g", [TOPIC])
    assert subscription.poll(0) == []
    assert len(subscription.poll(7)) == 7
    assert len(drain(subscription)) == 13


def test_no_partition_starves(log: SqliteLog):
    keys = {crc32(str(n).encode()) % 4: str(n) for n in range(100)}
    subscription = log.subscribe("g", [TOPIC])
    for _ in range(20):
        send(log, *keys.values())
    assert {subscription.poll(1)[0].partition for _ in range(4)} == {0, 1, 2, 3}


def test_members_share_the_partitions_and_one_that_joins_takes_some(log: SqliteLog):
    first = log.subscribe("g", [TOPIC])
    send(log, *map(str, range(40)))
    first.commit(after(drain(first)))
    second = log.subscribe("g", [TOPIC])
    lost = set(first.lost())
    assert len(lost) == 2
    assert first.lost() == []
    send(log, *map(str, range(40)))
    here, there = drain(first), drain(second)
    assert {TopicPartition(r.topic, r.partition) for r in there} == lost
    assert len(here) + len(there) == 40
    assert {(r.partition, r.offset) for r in here}.isdisjoint((r.partition, r.offset) for r in there)


def test_what_wasnt_committed_comes_again_after_a_rebalance(log: SqliteLog):
    first = log.subscribe("g", [TOPIC])
    send(log, *map(str, range(40)))
    drain(first)
    second = log.subscribe("g", [TOPIC])
    lost = set(first.lost())
    again = drain(second)
    assert {TopicPartition(r.topic, r.partition) for r in again} == lost
    assert {r.offset for r in again if r.partition == again[0].partition} >= {0}


def test_offsets_of_lost_partitions_are_ignored(log: SqliteLog):
    first = log.subscribe("g", [TOPIC])
    send(log, *map(str, range(40)))
    polled = drain(first)
    log.subscribe("g", [TOPIC])
    first.commit(after(polled))
    lost = set(first.lost())
    assert {place for place, offset in log.offsets("g").items() if offset == 0} == lost


def test_a_partition_that_came_back_stays_closed_until_its_loss_is_known(log: SqliteLog):
    first = log.subscribe("g", [TOPIC])
    send(log, *map(str, range(40)))
    polled = drain(first)
    log.subscribe("g", [TOPIC]).close()
    assert first.poll(100) == []
    first.commit(after(polled))
    lost = set(first.lost())
    assert len(lost) == 2
    assert all(log.offsets("g")[place] == 0 for place in lost)
    assert {TopicPartition(r.topic, r.partition) for r in drain(first)} == lost


def test_one_that_leaves_gives_its_partitions_back(log: SqliteLog):
    first, second = log.subscribe("g", [TOPIC]), log.subscribe("g", [TOPIC])
    send(log, *map(str, range(40)))
    drain(second)
    assert len(first.lost()) == 2
    second.close()
    second.close()
    assert len(drain(first)) == 40
    with pytest.raises(Permanent):
        second.poll(1)


def test_more_members_than_partitions(log: SqliteLog):
    members = [log.subscribe("g", [TOPIC]) for _ in range(6)]
    send(log, *map(str, range(40)))
    assert sum(len(drain(member)) for member in members) == 40


def test_a_member_that_polls_while_others_come_and_go_gets_nothing_twice_unasked(log: SqliteLog):
    """Records of a partition are delivered again only after its loss was reported, and none is left out."""
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            log.subscribe("g", [TOPIC]).close()

    steady = log.subscribe("g", [TOPIC])
    other = threading.Thread(target=come_and_go)
    other.start()
    expected: dict[TopicPartition, int] = {}
    for number in range(150):
        send(log, *(f"{number}-{i}" for i in range(8)))
        for place in steady.lost():
            expected[place] = log.offsets("g").get(place, 0)
        for record in steady.poll(50):
            place = TopicPartition(record.topic, record.partition)
            assert record.offset == expected.get(place, 0)
            expected[place] = record.offset + 1
        steady.commit({place: n for place, n in expected.items() if number % 3})
    stop.set()
    other.join()


# -- restart


def test_a_restart_goes_on_at_the_committed_offsets(logs: Logs):
    log = logs.open()
    send(log, *map(str, range(40)))
    subscription = log.subscribe("g", [TOPIC])
    polled = list(subscription.poll(15))
    subscription.commit(after(polled))
    subscription.poll(10)
    log = logs.open()
    send(log, "new")
    again = drain(log.subscribe("g", [TOPIC]))
    assert len(again) == 40 - 15 + 1
    assert len({(r.partition, r.offset) for r in [*polled, *again]}) == 41


def test_offsets_are_written_soon_without_any_message(logs: Logs, log: SqliteLog):
    send(log, "a")
    subscription = log.subscribe("g", [TOPIC])
    subscription.commit(after(drain(subscription)))
    pause = threading.Event()
    with sqlite3.connect(logs.path) as reader:
        for _ in range(100):
            if reader.execute("SELECT max(next) FROM offsets").fetchone() == (1,):
                break
            pause.wait(0.02)
        else:
            pytest.fail("the offset isn't on disk after two seconds")


def test_a_log_closed_twice_or_used_after_refuses_softly(log: SqliteLog):
    log.close()
    log.close()
    assert [type(report) for report in log.publish([message()])] == [Retryable]


# -- purging


def test_purge_removes_what_is_old_and_passed_by_all(logs: Logs, log: SqliteLog):
    one, slow = log.subscribe("one", [TOPIC]), log.subscribe("slow", [TOPIC])
    send(log, *["k"] * 10)
    logs.clock.advance(timedelta(days=1))
    young = logs.clock.now()
    send(log, *["k"] * 10)
    one.commit(after(drain(one)))
    assert log.purge(young, 100) == 0
    slow.commit(after(list(slow.poll(4))))
    assert log.purge(young, 100) == 4
    slow.commit(after(drain(slow)))
    assert log.purge(young, 100) == 6
    assert [record.offset for record in log.all_records()] == list(range(10, 20))


def test_offsets_go_on_after_everything_was_purged(logs: Logs):
    log = logs.open()
    send(log, *["k"] * 5000)
    late = logs.clock.now() + timedelta(days=1)
    assert [log.purge(late, 3000) for _ in range(3)] == [3000, 2000, 0]
    assert list(log.all_records()) == []
    log = logs.open()
    send(log, "k")
    assert [record.offset for record in log.all_records()] == [5000]
    assert [r.offset for r in drain(log.subscribe("late", [TOPIC]))] == [5000]
    assert log.purge(late, 3000) == 0, "a group that joined meanwhile has yet to pass it"
    assert [record.offset for record in logs.open().all_records()] == [5000]


def test_a_group_without_members_still_counts(logs: Logs):
    logs.open().subscribe("g", [TOPIC])
    log = logs.open()
    send(log, "k", "k")
    assert log.purge(datetime.max.replace(tzinfo=UTC), 10) == 0


# -- who may open it


def test_a_second_log_on_the_same_file_is_refused(logs: Logs, log: SqliteLog):
    with pytest.raises(Permanent, match=r"broker #1\?\.db is in use: another oms process has it open"):
        SqliteLog(logs.path, clock=logs.clock)
    send(log, "a")


def test_a_second_process_is_refused_in_one_line(logs: Logs, log: SqliteLog):
    script = (
        "import sys; from pathlib import Path\n"
        "from oms.adapters.sqlite_log.log import SqliteLog\n"
        "from oms.adapters.system.clock import SystemClock\n"
        "try: SqliteLog(Path(sys.argv[1]), clock=SystemClock())\n"
        "except Exception as error: print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script, str(logs.path)], capture_output=True, text=True, check=True)
    assert ran.stdout == f"{logs.path} is in use: another oms process has it open\n"


def test_a_file_of_a_newer_version_is_refused(logs: Logs):
    logs.open()
    logs.close()
    with sqlite3.connect(logs.path) as connection:
        connection.execute(f"PRAGMA user_version = {log_file.VERSION + 1}")
    with pytest.raises(Permanent, match="newer version"):
        logs.open()
    with pytest.raises(Permanent, match="newer version"):
        SqliteLog.read_only(logs.path)
    with pytest.raises(Permanent, match="newer version"):  # and the lock was given back
        logs.open()


def test_a_file_that_is_no_log_is_refused(tmp_path: Path):
    path = tmp_path / "text.db"
    path.write_text("this is no database" * 100)
    with pytest.raises(Permanent, match="not a database"):
        SqliteLog(path, clock=ManualClock())
    with pytest.raises(Permanent, match="not a database"):
        SqliteLog.read_only(path)
    sqlite3.connect(tmp_path / "empty.db").close()
    with pytest.raises(Permanent, match="no log of messages"):
        SqliteLog.read_only(tmp_path / "empty.db")


def test_a_missing_directory_or_file_is_named(tmp_path: Path):
    with pytest.raises(Permanent, match="absent"):
        SqliteLog(tmp_path / "absent" / "broker.db", clock=ManualClock())
    with pytest.raises(Permanent, match="absent"):
        SqliteLog.read_only(tmp_path / "absent.db")
    assert not (tmp_path / "absent.db").exists()


def test_records_can_be_read_after_the_log_was_closed(logs: Logs):
    send(logs.open(), *map(str, range(2500)))
    logs.close()
    assert len(list(SqliteLog.read_only(logs.path).all_records())) == 2500


# -- what fails


def test_a_full_disk_is_retryable_and_goes_on_when_there_is_room(log: SqliteLog):
    send(log, "a")
    connection = log._writer._connection
    assert connection is not None
    connection.execute("PRAGMA max_page_count = 1")
    reports = log.publish([message("a", b"x" * 500_000), message("b")])
    assert [type(report) for report in reports] == [Retryable, Retryable]
    send(log, "a")
    assert [record.offset for record in log.all_records()] == [0, 1]


def test_a_locked_file_is_retryable(logs: Logs, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(log_file, "BUSY_TIMEOUT_S", 0.05)
    log = logs.open()
    other = sqlite3.connect(logs.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert [type(report) for report in log.publish([message()])] == [Retryable]
    other.execute("COMMIT")
    other.close()
    send(log, "a")


class BadCommit:
    """A connection whose commit fails, after it was done or without."""

    def __init__(self, connection: sqlite3.Connection, *, done: bool) -> None:
        self._connection, self._done = connection, done

    def execute(self, statement: str, *values: object) -> object:
        if statement == "COMMIT":
            if self._done:
                self._connection.execute(statement)
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(statement, *values)

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)


@pytest.mark.parametrize("done", [True, False])
def test_a_failed_commit_is_unknown_and_offsets_stay_right(log: SqliteLog, done: bool):
    subscription = log.subscribe("g", [TOPIC])
    send(log, "k")
    writer = log._writer
    writer._connection = BadCommit(writer._connection, done=done)  # type: ignore[arg-type, assignment]
    assert [type(report) for report in log.publish([message("k", b"lost?")])] == [OutcomeUnknown]
    assert [record.offset for record in drain(subscription)] == [0]
    send(log, "k")
    assert [record.offset for record in drain(subscription)] == ([1, 2] if done else [1])


def test_offsets_of_a_failed_commit_are_written_later(logs: Logs):
    log = logs.open()
    subscription = log.subscribe("g", [TOPIC])
    send(log, "k")
    subscription.commit(after(drain(subscription)))
    writer = log._writer
    writer._connection = BadCommit(writer._connection, done=False)  # type: ignore[arg-type, assignment]
    assert [type(report) for report in log.publish([message("k")])] == [OutcomeUnknown]
    assert drain(logs.open().subscribe("g", [TOPIC])) == []


def test_nobody_waits_for_a_writer_that_has_died(log: SqliteLog, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr(records, "INSERT", None)
    assert [type(report) for report in log.publish([message()])] == [OutcomeUnknown]
    assert [type(report) for report in log.publish([message()])] == [Retryable]
    log._writer._thread.join(10)  # callers get the error before the thread ends with it; only our hook sees that
    assert not log._writer._thread.is_alive()


def test_a_read_error_is_a_port_error(log: SqliteLog):
    subscription = log.subscribe("g", [TOPIC])
    send(log, "a")
    subscription._connection.close()  # type: ignore[attr-defined]
    with pytest.raises((Retryable, Permanent)):
        subscription.poll(1)
