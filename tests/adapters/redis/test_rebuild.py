"""Rebuilds that meet: what a reader sees meanwhile, and what becomes of one that lost its way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oms.adapters.redis import RedisGate
from oms.adapters.redis.scripts import Call, Script, ScriptRunner
from oms.domain.values import Items, OrderId, Sku
from oms.ports.errors import Closed, Retryable
from oms.ports.gate import GateAnswer
from tests.support.redis_servers import Server, eventually, running

pytestmark = pytest.mark.servers

A = Sku("a")
ONE, TWO = OrderId("o1"), OrderId("o2")
MANY = {Sku(f"sku-{number:04}"): 1 for number in range(1200)}
HELD: dict[OrderId, Items] = {OrderId(f"held-{number:04}"): {A: 1} for number in range(1200)}


class Interrupted(ScriptRunner):
    """A worker that is paused before each script call, while `meanwhile` happens."""

    meanwhile: Callable[[str], object]

    def run(self, name: str, calls: Iterable[Call]) -> list[Any]:
        """The same, later; each call of a pipeline by itself."""
        answers = []
        for call in calls:
            self.meanwhile(name)
            answers += super().run(name, [call])
        return answers


def paused(server: Server, meanwhile: Callable[[str], object]) -> RedisGate:
    gate = server.gate()
    link = Interrupted(gate._scripts.client, gate._scripts.head)
    object.__setattr__(link, "meanwhile", meanwhile)
    gate._scripts = link
    return gate


def once(before: str, action: Callable[[], object]) -> Callable[[str], object]:
    """Do something before the first call of a script."""
    pending = [action]
    return lambda name: pending.pop()() if name == before and pending else None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path / "redis", "--appendonly", "yes") as server:
        yield server


def seen(gate: RedisGate) -> tuple[int | None, int, int]:
    return gate.epoch(), len(list(gate.all_available())), len(list(gate.all_answers()))


def test_a_reader_sees_it_closed_or_whole(server: Server) -> None:
    reader = server.gate()
    reader.rebuild({A: 1}, {}, 1)
    assert _looks_on(server, reader) == [(1, 1, 0), (None, 0, 0), (2, 1201, 1200)]


def test_a_gate_that_opens_too_early_is_seen(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault that the twin test can't see."""
    named, early = Script.named, ("'replid', replid)", "'replid', replid, 'open', '1')")
    assert named("begin").text.count(early[0]) == 1
    monkeypatch.setattr(Script, "named", lambda name: Script.of(named(name).text.replace(*early)))
    assert (2, 500, 0) in _looks_on(server, server.gate())


def _looks_on(server: Server, reader: RedisGate) -> list[tuple[int | None, int, int]]:
    views = []
    gate = paused(server, lambda name: views.append(seen(reader)))
    gate.rebuild({A: 1, **MANY}, HELD, 2)
    return list(dict.fromkeys([*views, seen(reader)]))


def test_nobody_takes_while_it_is_rebuilt(server: Server) -> None:
    reader = server.gate()
    reader.rebuild({A: 5}, {}, 1)

    def meanwhile(name: str) -> None:
        if name != "begin":
            with pytest.raises(Closed):
                reader.take({ONE: {A: 1}})

    paused(server, meanwhile).rebuild({A: 5}, {}, 2)
    assert reader.take({ONE: {A: 1}})[ONE].epoch == 2
    assert dict(reader.all_available()) == {A: 4}


@pytest.mark.parametrize("before", ["fill", "publish"])
@pytest.mark.parametrize("epoch", [3, 4])
def test_a_rebuild_that_was_overtaken_changes_nothing(server: Server, before: str, epoch: int) -> None:
    """Also by one of the same epoch: the first one's transaction failed without notice."""
    other = server.gate()

    def overtake() -> None:
        other.rebuild({A: 2}, {ONE: {A: 3}}, epoch)
        other.take({TWO: {A: 1}})

    with pytest.raises(Retryable, match="lost its place"):
        paused(server, once(before, overtake)).rebuild({A: 100, **MANY}, HELD, 3)
    assert dict(other.all_available()) == {A: 1}
    assert {order for order, _, _ in other.all_answers()} == {ONE, TWO}
    assert len(server.admin.keys("*")) == 3, "nothing of the one that was overtaken is left"


def test_a_rebuild_that_comes_too_late_changes_nothing(server: Server) -> None:
    other = server.gate()
    with pytest.raises(Retryable, match="epoch 4 already"):
        paused(server, once("begin", lambda: other.rebuild({A: 2}, {}, 4))).rebuild({A: 100}, {}, 3)
    assert other.take({ONE: {A: 1}})[ONE].answer is GateAnswer.HELD
    assert dict(other.all_available()) == {A: 1}


def test_a_rebuild_that_began_and_ended_nowhere_is_in_nobodys_way(server: Server) -> None:
    def dies() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        paused(server, once("publish", dies)).rebuild(MANY, HELD, 3)
    gate = server.gate()
    assert gate.epoch() is None
    gate.rebuild({A: 1}, {}, 3)
    assert (gate.epoch(), list(gate.all_available())) == (3, [(A, 1)])
    assert len(server.admin.keys("*")) == 2


@pytest.mark.parametrize("before", ["fill", "publish"])
def test_a_memory_that_is_lost_meanwhile_leaves_it_closed(server: Server, before: str) -> None:
    gate = paused(server, once(before, lambda: server.admin.flushall()))
    with pytest.raises(Retryable):
        gate.rebuild({A: 1}, {ONE: {A: 1}}, 3)
    assert server.gate().epoch() is None
    assert server.admin.keys("*") == []


def test_a_restart_meanwhile_leaves_it_closed(server: Server) -> None:
    def restart() -> None:
        server.wait_for_log("HELD a 1")
        server.kill()
        server.start()
        eventually(lambda: server.admin.ping())
        assert server.admin.exists("oms:{stock}:head")

    with pytest.raises(Retryable):
        paused(server, once("publish", restart)).rebuild({A: 1}, {ONE: {A: 1}}, 3)
    gate = server.gate()
    assert gate.epoch() is None
    gate.rebuild({A: 1}, {}, 3)
    assert gate.epoch() == 3


def test_an_earlier_epoch_is_possible_where_the_later_ones_server_is_gone(server: Server) -> None:
    """As with a ledger that was restored from a backup: the data of an old server changes nothing."""
    server.gate().rebuild({A: 1}, {}, 9)
    server.wait_for_log("open")
    server.kill()
    server.start()
    eventually(lambda: server.admin.ping())
    assert server.admin.hget("oms:{stock}:head", "epoch") == "9"
    gate = server.gate()
    gate.rebuild({A: 1}, {}, 3)
    assert gate.epoch() == 3
