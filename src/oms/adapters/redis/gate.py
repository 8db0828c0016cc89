"""The stock gate on Redis: it runs the scripts in `lua/`, each of which is a rule of `oms.adapters.memory.gate_rules`.

Under its prefix the gate keeps `head`, a hash (the epoch, the prefix of the epoch's keys, where it was built, and
whether it is open), and four keys of that epoch: `available` (hash, product to units), `answers` (hash, order to
`HELD sku-a 2`, `REJECTED sku-a 6 5` or `RELEASED`), `expires` (sorted set, order to milliseconds), `deltas` (hash).
All have one hash tag. Each rebuild uses new keys, so a late write of an earlier rebuild can't reach a later one.

Every call detects lost memory: the head holds run id and replication id of the server on which the gate was built, and
the script compares them with those of the server that runs it. A restart changes the first, even if no data was lost;
the promotion of a replica changes both; a flush removes the head. So persistence has no use here: after a restart the
gate is closed until it is rebuilt. Redis also changes its replication id when its first replica connects, and an hour
after the last one has left; that causes an unnecessary rebuild.

Redis Cluster isn't supported. One hash tag would keep all keys in one slot, so a cluster would add nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self
from uuid import uuid4

from redis import Redis

from oms.adapters.redis.connection import chunks, connect
from oms.adapters.redis.driver_errors import translated_errors
from oms.adapters.redis.scripts import Call, ScriptRunner
from oms.domain.events import Shortage
from oms.domain.values import Items, OrderId, Sku
from oms.ports.clock import Clock
from oms.ports.errors import Closed, Permanent, Retryable
from oms.ports.evidence import GateEvidence
from oms.ports.gate import MOST_UNITS, GateAnswer, StockGate, Taken
from oms.settings.records import RedisConfig

PREFIX = "oms:{stock}:"
ANSWER_KEPT_MS = 24 * 60 * 60 * 1000
ORDERS_A_CALL = 100
"""Orders that one script call gives back or settles; the server runs nothing else meanwhile."""

FIELDS_A_CALL = 500
"""Fields that one script call writes; Lua can't unpack more than some thousands."""

SWEPT_AT_ONCE = 1000
"""The most expired answers that a call of `settle` removes; callers settle no more orders than that at once."""


class RedisGate(StockGate, GateEvidence):
    """The gate of one system. Two systems on one server need separate databases or prefixes.

    Safe for threads. The client's time limit applies to each reply. A call that timed out or lost its connection
    raises `Retryable`; it may have taken effect, and is safe to repeat.
    """

    def __init__(self, client: Redis, clock: Clock, *, prefix: str = PREFIX) -> None:
        self._scripts, self._probe = ScriptRunner(client, f"{prefix}head"), ScriptRunner(client, f"{prefix}probe")
        self._clock = clock
        self.prefix = prefix

    @classmethod
    def from_config(cls, config: RedisConfig, clock: Clock) -> Self:
        """Return the gate on this Redis; it connects when it is first used."""
        return cls(connect(config), clock)

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._scripts.client.close()

    def check(self) -> None:
        """Raise unless Redis responds and accepts writes; the script `probe` fails on a server whose memory is full."""
        self._probe.run("probe", [()])

    def take(self, orders: Mapping[OrderId, Items], epoch: int | None = None) -> Mapping[OrderId, Taken]:
        """One script call for each order."""
        if not orders:
            _ensure_open(self.epoch() is not None)
        now_ms = self._now_ms()
        calls = [take_call(order, list(items.items()), now_ms, epoch) for order, items in orders.items()]
        answers = dict(zip(orders, self._scripts.run("take", calls), strict=True))
        kinds = {order: answer[0] for order, answer in answers.items()}
        _ensure_open("CLOSED" not in kinds.values())
        refused = [order for order, kind in kinds.items() if kind == "INVALID"]
        if refused:
            raise Permanent(f"quantities must be from 1 to {MOST_UNITS}: {', '.join(refused)}")
        return {order: _taken(answer) for order, answer in answers.items()}

    def give_back(self, orders: Collection[OrderId]) -> None:
        self._each("give_back", (self._now_ms(),), sorted(set(orders)), ORDERS_A_CALL)

    def introduce(self, available: Mapping[Sku, int], epoch: int) -> None:
        fields = [field for sku, units in available.items() for field in (_checked_sku(sku), units)]
        self._each("introduce", (epoch,), fields, 2 * FIELDS_A_CALL)

    def add(self, deltas: Sequence[tuple[str, Sku, int]], epoch: int) -> None:
        if any(abs(units) > MOST_UNITS for _, _, units in deltas):
            raise Permanent(f"the gate counts up to {MOST_UNITS} units")
        self._each("add", (epoch,), [field for delta in deltas for field in delta], 3 * FIELDS_A_CALL)

    def settle(self, orders: Collection[OrderId]) -> None:
        """Also removes some of the answers that have expired."""
        now_ms = self._now_ms()
        self._each("settle", (now_ms, now_ms + ANSWER_KEPT_MS), sorted(set(orders)), ORDERS_A_CALL)
        self._each("sweep", (now_ms, SWEPT_AT_ONCE), (), 1)

    def epoch(self) -> int | None:
        return self._opened()[0]

    def rebuild(self, available: Mapping[Sku, int], held: Mapping[OrderId, Items], epoch: int) -> None:
        """Close the gate, delete its keys, write those of the new epoch, and open it.

        Readers see the gate closed or complete. `Retryable` if the gate has a later epoch already, or if another
        rebuild began, or the server changed, before this one was done.
        """
        keys = f"{self.prefix}{epoch}-{uuid4().hex}:"
        (later,) = self._scripts.run("begin", [(epoch, keys)])
        if later:
            raise Retryable(f"the gate has epoch {later} already: a rebuild of epoch {epoch} came too late")
        stock = [(_checked_sku(sku), units) for sku, units in available.items()]
        answers = [(order, " ".join(("HELD", *map(str, _lines(items.items()))))) for order, items in held.items()]
        filled = [*_fill(keys, "available", stock), *_fill(keys, "answers", answers)]
        ours = [*self._scripts.run("fill", filled), *self._scripts.run("publish", [(keys,)])]
        if not all(ours):
            raise Retryable(f"the rebuild of epoch {epoch} lost its place to another one, or its server")

    def all_available(self) -> Iterable[tuple[Sku, int]]:
        return [(Sku(sku), int(units)) for sku, units in sorted(dict(self._all("available")).items())]

    def all_answers(self) -> Iterator[tuple[OrderId, GateAnswer, Items]]:
        """Every answer, read in chunks; one may occur twice if others are added meanwhile."""
        for order, text in self._all("answers"):
            answer, *rest = text.split()
            yield OrderId(order), GateAnswer(answer), _held(answer, rest)

    def _each(self, script: str, first: Call, fields: Sequence[Any], size: int) -> None:
        calls = [(*first, *some) for some in chunks(fields, size)]
        # Without fields, one call still checks that the gate is open.
        _ensure_open(all(self._scripts.run(script, calls or [first])))

    def _all(self, part: str) -> Iterator[tuple[str, str]]:
        keys = self._opened()[1]
        if keys is not None:
            with translated_errors:
                yield from self._scripts.client.hscan_iter(f"{keys}{part}", count=1000)

    def _opened(self) -> tuple[int | None, str | None]:
        (answer,) = self._scripts.run("epoch", [()])
        return tuple(answer) if answer else (None, None)

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)


def take_call(order: str, lines: Iterable[tuple[str, int]], now_ms: int, epoch: int | None = None) -> Call:
    """The ARGV of the script `take`. A product may be on several lines."""
    return (now_ms, order, MOST_UNITS, "" if epoch is None else epoch, *_lines(lines))


def _lines(lines: Iterable[tuple[str, int]]) -> Iterable[str | int]:
    return [field for sku, units in sorted(lines) for field in (_checked_sku(sku), units)]


def _checked_sku(sku: str) -> str:
    """Refuse an id with spaces, which separate the fields of a stored answer; `checked_id` refuses them too."""
    if len(sku.split()) != 1 or sku != sku.strip():
        raise Permanent("the name of a product can't be empty or hold spaces")
    return sku


def _fill(keys: str, part: str, pairs: Sequence[tuple[str, str | int]]) -> list[Call]:
    return [(keys, part, *(field for pair in some for field in pair)) for some in chunks(pairs, FIELDS_A_CALL)]


def _taken(answer: Sequence[Any]) -> Taken:
    kind, epoch, *rest = answer
    if kind == "UNKNOWN":
        return Taken(GateAnswer.UNKNOWN, epoch, unknown=tuple(map(Sku, rest)))
    lines = zip(rest[::3], rest[1::3], rest[2::3], strict=True)
    short = tuple(Shortage(Sku(sku), int(wanted), int(available)) for sku, wanted, available in lines)
    return Taken(GateAnswer(kind), epoch, short)


def _held(answer: str, rest: Sequence[str]) -> Items:
    if answer != "HELD":
        return {}
    return {Sku(sku): int(units) for sku, units in zip(rest[::2], rest[1::2], strict=True)}


def _ensure_open(is_open: bool) -> None:  # noqa: FBT001
    if not is_open:
        raise Closed("the gate has no epoch: it waits for a rebuild")
