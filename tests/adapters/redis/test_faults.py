"""What a Redis can do to the gate: lose its memory in every way, stall, fill up, refuse. Real processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from oms.adapters.redis import RedisGate
from oms.adapters.redis.gate import PREFIX
from oms.adapters.redis.scripts import Script
from oms.domain.values import OrderId, Sku
from oms.ports.errors import Closed, Permanent, Retryable
from oms.ports.gate import GateAnswer, Taken
from tests.support.redis_servers import Server, eventually, running

pytestmark = [pytest.mark.faults, pytest.mark.servers]

A, B = Sku("a"), Sku("b")
ONE, TWO, THREE = OrderId("o1"), OrderId("o2"), OrderId("o3")
EPOCH = 7
HEAD = f"{PREFIX}head"
DURABLE = ("--appendonly", "yes", "--appendfsync", "everysec")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path / "redis", *DURABLE) as server:
        yield server


def built(server: Server, timeout_s: float = 2.0) -> RedisGate:
    gate = server.gate(timeout_s=timeout_s)
    gate.rebuild({A: 5, B: 5}, {}, EPOCH)
    return gate


def take(gate: RedisGate, order: OrderId, units: int = 1) -> Taken:
    return gate.take({order: {A: units}})[order]


def stock(gate: RedisGate) -> dict[Sku, int]:
    return dict(gate.all_available())


def kept(server: Server) -> dict[str, str]:
    """The answers that Redis holds, whether the gate believes them or not."""
    admin = server.admin
    answers: dict[str, str] = admin.hgetall(f"{admin.hget(HEAD, 'keys')}answers")
    return answers


def assert_closed_until_rebuilt(server: Server, gate: RedisGate) -> None:
    """Closed for a worker that was there before as for one that comes now; open for both after the next epoch."""
    for worker in (gate, server.gate()):
        assert worker.epoch() is None
        assert list(worker.all_available()) == []
        for call in (
            lambda worker=worker: worker.take({THREE: {A: 1}}),
            lambda worker=worker: worker.give_back([ONE]),
            lambda worker=worker: worker.introduce({Sku("c"): 1}, EPOCH),
            lambda worker=worker: worker.add([("k", A, 1)], EPOCH),
            lambda worker=worker: worker.settle([ONE]),
        ):
            with pytest.raises(Closed):
                call()
    server.gate().rebuild({A: 4}, {ONE: {A: 1}}, EPOCH + 1)
    assert gate.epoch() == EPOCH + 1
    assert take(gate, ONE) == Taken(GateAnswer.HELD, EPOCH + 1)
    assert stock(gate) == {A: 4}
    assert len(server.admin.keys("*")) == 3, "nothing of the old epoch is left"


def reconnected(gate: RedisGate) -> None:
    """The first call after a server went away may say so; it must not say anything else."""
    try:
        gate.epoch()
    except Retryable:
        assert gate.epoch() is None


def test_a_restart_closes_the_gate_though_nothing_was_lost(durable: Server) -> None:
    gate = built(durable)
    take(gate, ONE)
    durable.wait_for_log("HELD a 1")
    durable.kill()
    durable.start()
    eventually(lambda: durable.admin.ping())
    assert kept(durable) == {ONE: "HELD a 1"}, "the append-only file kept all of it"
    reconnected(gate)
    assert_closed_until_rebuilt(durable, gate)


def test_a_cut_tail_closes_the_gate(durable: Server) -> None:
    gate = built(durable)
    take(gate, ONE)
    durable.wait_for_log("HELD a 1")
    take(gate, TWO, 2)
    durable.wait_for_log("HELD a 2")
    durable.kill()
    log = durable.append_only_file()
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 10)
    durable.start()
    eventually(lambda: durable.admin.ping())
    assert kept(durable) == {ONE: "HELD a 1"}, "the last take is gone, and the epoch looks as if nothing had happened"
    assert durable.admin.hget(HEAD, "open") == "1"
    reconnected(gate)
    assert_closed_until_rebuilt(durable, gate)


@pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHDB"])
def test_a_flush_closes_the_gate(server: Server, command: str) -> None:
    gate = built(server)
    take(gate, ONE)
    server.admin.execute_command(command)
    assert_closed_until_rebuilt(server, gate)


def test_a_restart_without_any_persistence_closes_the_gate(server: Server) -> None:
    gate = built(server)
    server.kill()
    server.start()
    reconnected(gate)
    assert_closed_until_rebuilt(server, gate)


def test_a_promoted_replica_is_closed_until_it_is_rebuilt(server: Server, tmp_path: Path) -> None:
    gate = built(server)
    take(gate, ONE)
    with running(tmp_path / "replica", "--replicaof", f"127.0.0.1 {server.port}") as replica:
        eventually(lambda: kept(replica) == {ONE: "HELD a 1"})
        moved = replica.gate()
        assert moved.epoch() is None, "a replica has its primary's replication id, and a run id of its own"
        with pytest.raises(Retryable, match="replica"):
            take(moved, TWO)
        with pytest.raises(Retryable, match="replica"):
            moved.rebuild({A: 1}, {}, EPOCH + 1)
        server.kill()
        replica.admin.replicaof("NO", "ONE")
        assert kept(replica) == {ONE: "HELD a 1"}
        assert_closed_until_rebuilt(replica, moved)


def test_a_first_replica_costs_one_rebuild(server: Server, tmp_path: Path) -> None:
    """Redis takes a new replication id then: it looks like a failover, and is treated like one."""
    gate = built(server)
    with running(tmp_path / "replica", "--replicaof", f"127.0.0.1 {server.port}"):
        eventually(lambda: gate.epoch() is None)
        gate.rebuild({A: 5}, {}, EPOCH + 1)
    with running(tmp_path / "second", "--replicaof", f"127.0.0.1 {server.port}") as second:
        eventually(lambda: second.admin.info("replication")["master_link_status"] == "up")
        assert gate.epoch() == EPOCH + 1


def test_a_primary_that_was_a_replica_meanwhile_is_closed_on_the_same_connection(
    server: Server, tmp_path: Path
) -> None:
    """Its run id is the old one, and so is the connection; what it holds is what the other one had."""
    with running(tmp_path / "other", "--replicaof", f"127.0.0.1 {server.port}") as other:
        eventually(lambda: other.admin.info("replication")["master_link_status"] == "up")
        gate = built(server)
        take(gate, ONE)
        eventually(lambda: kept(other) == {ONE: "HELD a 1"})
        other.admin.replicaof("NO", "ONE")
        take(gate, TWO)
        server.admin.replicaof("127.0.0.1", other.port)
        eventually(lambda: kept(server) == {ONE: "HELD a 1"})
        server.admin.replicaof("NO", "ONE")
        assert gate.epoch() is None
        assert_closed_until_rebuilt(server, gate)


def test_a_take_that_timed_out_is_repeated_without_a_second_one(server: Server) -> None:
    gate = built(server, timeout_s=0.3)
    take(gate, ONE)
    assert gate.epoch() == EPOCH
    calls = _scripts_run(server)
    server.pause()
    with pytest.raises(Retryable, match="in time"):
        take(gate, TWO, 2)
    with pytest.raises(Retryable):
        gate.epoch()
    server.go_on()
    eventually(lambda: TWO in kept(server))
    assert stock(server.gate()) == {A: 2, B: 5}, "the take whose answer was lost took effect"
    assert _scripts_run(server) - calls == 3, "take and epoch once each; the third is this test's own question"
    assert take(gate, TWO, 2) == Taken(GateAnswer.HELD, EPOCH)
    assert stock(gate) == {A: 2, B: 5}


def _scripts_run(server: Server) -> int:
    return int(server.admin.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])


def test_a_connection_that_breaks_in_the_middle_of_a_batch_repeats_nothing(server: Server) -> None:
    gate = built(server)
    server.admin.client_kill_filter(_type="normal", skipme=True)
    for attempt in range(2):
        try:
            taken = gate.take({OrderId(f"n{number}"): {A: 1} for number in range(9)})
            break
        except Retryable:
            assert attempt == 0
    held = [order for order, answer in taken.items() if answer.answer is GateAnswer.HELD]
    assert held == [f"n{number}" for number in range(5)]
    assert stock(gate) == {A: 0, B: 5}


def test_a_full_memory_refuses_takes_and_lets_stock_come_back(server: Server) -> None:
    gate = built(server)
    take(gate, ONE)
    take(gate, TWO)
    server.admin.config_set("maxmemory", "1mb")
    with pytest.raises(Retryable, match="full"):
        take(gate, THREE)
    gate.give_back([ONE])
    gate.settle([ONE])
    assert stock(gate) == {A: 4, B: 5}
    server.admin.config_set("maxmemory", "0")
    assert take(gate, THREE) == Taken(GateAnswer.HELD, EPOCH)
    assert stock(gate) == {A: 3, B: 5}


def test_a_memory_that_fills_up_takes_every_line_of_an_order_or_none(server: Server) -> None:
    """The limit comes somewhere within many takes; never within one."""
    gate = server.gate()
    gate.rebuild({Sku(f"sku-{number}"): 10**6 for number in range(50)}, {}, EPOCH)
    items = {Sku(f"sku-{number}"): 1 for number in range(50)}
    server.admin.config_set("maxmemory", server.admin.info("memory")["used_memory"] + 400_000)
    taken = 0
    refused = ""
    while not refused:
        try:
            taken += len(gate.take({OrderId(f"o-{taken}-{number}"): items for number in range(50)}))
        except Retryable as error:
            refused = str(error)
    assert "full" in refused
    assert taken > 0
    left = set(stock(gate).values())
    answers = [answer for _, answer, held in gate.all_answers() if held == items]
    assert left == {10**6 - len(answers)}


def test_a_disk_that_is_full_refuses_writes(tmp_path: Path) -> None:
    with running(tmp_path / "redis", "--dbfilename", "no.rdb") as server:
        gate = built(server)
        server.admin.config_set("save", "3600 1000000")
        (server.directory / "no.rdb").mkdir()
        server.admin.bgsave()
        eventually(lambda: server.admin.info("persistence")["rdb_last_bgsave_status"] == "err")
        with pytest.raises(Retryable, match="can't save"):
            take(gate, ONE)
        assert stock(gate) == {A: 5, B: 5}


def test_a_server_that_loads_is_waited_for(tmp_path: Path) -> None:
    with running(tmp_path / "redis", *DURABLE) as server:
        gate = built(server)
        server.admin.mset({f"other-{number}": number for number in range(3000)})
        server.admin.bgrewriteaof()
        eventually(lambda: server.admin.info("persistence")["aof_base_size"] > 1000)
        server.kill()
        server.start("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
        with pytest.raises(Retryable, match="loading"):
            server.gate().epoch()
        eventually(lambda: server.admin.ping())
        reconnected(gate)
        assert gate.epoch() is None


def test_a_script_that_does_not_end_is_waited_for(server: Server) -> None:
    gate = built(server)
    server.admin.config_set("busy-reply-threshold", "50")
    ended: list[Exception] = []

    def loop() -> None:
        try:
            server.admin.eval("while true do end", 0)
        except ResponseError as error:
            ended.append(error)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        with pytest.raises(Retryable, match="busy"):
            eventually(lambda: take(gate, ONE, 1) and False)
    finally:
        server.admin.script_kill()
        thread.join(10)
    assert ended
    assert take(gate, ONE).answer is GateAnswer.HELD


def test_scripts_that_the_server_forgot_are_loaded_again(server: Server) -> None:
    gate = built(server)
    server.admin.script_flush()
    assert take(gate, ONE).answer is GateAnswer.HELD
    server.admin.script_flush()
    gate.settle([ONE])
    server.admin.script_flush()
    assert gate.epoch() == EPOCH


def test_a_number_that_redis_cannot_count_changes_nothing(server: Server) -> None:
    gate = built(server)
    for units in (2**63 - 1, 2**63, -(2**70)):
        with pytest.raises(Permanent):
            gate.add([("k", A, units)], EPOCH)
    gate.add([("k", A, 1)], EPOCH)
    assert stock(gate) == {A: 6, B: 5}


def test_a_gate_that_does_not_ask_who_the_server_is_sees_nothing(
    durable: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted fault, to show that the restarts above are seen for that reason alone."""
    named = Script.named
    question = "return string.find(info, 'run_id:'"
    assert question in named("epoch").text
    deaf = f"if info then return true end {question}"
    monkeypatch.setattr(Script, "named", lambda name: Script.of(named(name).text.replace(question, deaf)))
    built(durable)
    durable.wait_for_log("open")
    durable.kill()
    durable.start()
    eventually(lambda: durable.admin.ping())
    assert durable.gate().epoch() == EPOCH
