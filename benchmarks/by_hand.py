"""CPU time of an order without threads: one thread runs the four services, on real servers of its own.

    python benchmarks/by_hand.py                          # 3,000 orders in batches of 500
    python benchmarks/by_hand.py --at-once 10 --orders 500
    python benchmarks/by_hand.py --profile 40             # and the 40 functions with the most CPU time

Orders are submitted in groups of `--at-once`; each group runs to its end before the next one is submitted, so the
batches of every lane have that size. Prints for each step the number of batches and this thread's CPU time, then the
CPU time of the servers and of librdkafka's threads. Two runs with different sizes give the cost of a batch and of a
message.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import attrs

from oms.testing.bench import deployment
from oms.testing.bench.deployment import STOCKED
from oms.testing.bench.orders import lines
from oms.testing.bench.usage import usage_of

SETTLED_S = 1.0
"""Nothing has moved for so long: the group has ended. Kafka's consumers need a while for a message."""


DELIVERIES = {"order.Consumer": 3, "inventory.Consumer": 2, "payment.Consumer": 1, "notification.Consumer": 2}
"""Messages of a confirmed order that each service handles."""


@attrs.define
class Spent:
    """What a step used: rounds in which something moved, how much did, and their CPU seconds; those of all others."""

    batches: int = 0
    moved: int = 0
    cpu_s: float = 0.0
    idle_s: float = 0.0


class Hand:
    """Runs an app's steps and records the CPU time of each."""

    def __init__(self, app: object) -> None:
        assemblies = app.system.assemblies  # type: ignore[attr-defined]
        self._app, self.spent = app, defaultdict[str, Spent](Spent)
        self._steps = [
            (f"{name}.{type(step).__name__}", assembly.worker, index)
            for name, assembly in assemblies.items()
            for index, step in enumerate(assembly.worker.steps)
        ]

    def round(self) -> int:
        """One step after the other."""
        total = 0
        for name, worker, index in self._steps:
            began = time.thread_time()
            moved = worker.run_step(index)
            took_s, spent = time.thread_time() - began, self.spent[name]
            if moved:
                spent.cpu_s += took_s
                spent.batches += 1
                spent.moved += moved
            else:
                spent.idle_s += took_s
            total += moved
        return total

    def place(self, numbers: range) -> None:
        """Submit orders."""
        for number in numbers:
            self._app.orders.submit(self._app.draft("bench", "12.50", dict(lines(number))))  # type: ignore[attr-defined]

    def until(self, confirmed: int) -> None:
        """Turn until every message of so many orders has been handled by all of its consumers."""
        while any(self.spent[name].moved < each * confirmed for name, each in DELIVERIES.items()):
            if self.round() == 0:
                time.sleep(0.001)
        for _ in range(3):
            self.round()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=3000)
    parser.add_argument("--at-once", type=int, default=0, help="orders of a group; all where 0")
    parser.add_argument("--profile", type=int, default=0, help="show so many functions")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, deployment.servers() as own:
        made = deployment.distributed(Path(name), own, {**STOCKED, "OMS_LOG_LEVEL": "info"})
        os.environ.update(made.environ)
        _measure(asked, own.daemons())


def _measure(asked: argparse.Namespace, daemons: dict[str, int]) -> None:
    import oms
    from oms.entrypoints.serve import rarely_collect

    app = oms.create(oms.load_settings())
    rarely_collect()
    hand = Hand(app)
    hand.place(range(100))  # statements are compiled, products made known
    hand.until(100)
    hand.spent.clear()
    before = {server: usage_of(pid, tree=True).cpu_s for server, pid in daemons.items()}
    process, thread, began = time.process_time(), time.thread_time(), time.perf_counter()
    profile = cProfile.Profile()
    if asked.profile:
        profile.enable()
    size = asked.at_once or asked.orders
    for start in range(0, asked.orders, size):
        hand.place(range(start, min(asked.orders, start + size)))
        hand.until(min(asked.orders, start + size))
    profile.disable()
    took_s, thread_s = time.perf_counter() - began, time.thread_time() - thread
    others_s = time.process_time() - process - thread_s
    used = {server: usage_of(pid, tree=True).cpu_s - before[server] for server, pid in daemons.items()}
    busy_s, idle_s = (sum(getattr(one, name) for one in hand.spent.values()) for name in ("cpu_s", "idle_s"))
    rest_s = thread_s - busy_s - idle_s
    ours = {"batches": busy_s, "looking for some": idle_s, "submitting": rest_s, "other threads": others_s}
    _show(hand, asked.orders, took_s, {**ours, **used})
    if asked.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(asked.profile)
    app.stop()


def _show(hand: Hand, orders: int, took_s: float, used: dict[str, float]) -> None:
    print(f"{'step':32} {'batches':>8} {'a batch':>8} {'CPU us/moved':>13} {'CPU ms/order':>13}")
    for name, spent in hand.spent.items():
        if spent.moved:
            a_batch, each = spent.moved / spent.batches, spent.cpu_s * 1e6 / spent.moved
            print(f"{name:32} {spent.batches:8} {a_batch:8.1f} {each:13.0f} {spent.cpu_s * 1000 / orders:13.3f}")
    for name, seconds in used.items():
        print(f"{name:32} {'':8} {'':8} {'':13} {seconds * 1000 / orders:13.3f}")
    print(f"{orders} orders in {took_s:.1f} s; CPU ms an order: {sum(used.values()) * 1000 / orders:.2f}")


if __name__ == "__main__":
    main()
