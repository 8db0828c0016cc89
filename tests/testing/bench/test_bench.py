"""`oms bench`: the floor makes what an order makes, and the figures say what was seen."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oms
from oms.testing.bench.charts import draw
from oms.testing.bench.floor import PREFIX, ROWS, TOPICS, Floor
from oms.testing.bench.load import Answer
from oms.testing.bench.orders import commands, is_slow, lines
from oms.testing.bench.results import Quantiles, result_of
from oms.testing.bench.usage import Usage, usage_of
from oms.testing.bench.watch import End

CHANGED = ("stock", "gate", "attempts", "alembic_version")
"""Tables whose rows an order changes (a product's, a partition's), or has nothing to do with."""


def tables_of(path: Path) -> Counter[str]:
    connection = sqlite3.connect(path)
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    counted = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}
    connection.close()
    return Counter({name: count for name, count in counted.items() if name not in CHANGED})


def on_record(data: Path) -> dict[str, Counter[str]]:
    return {schema: tables_of(data / f"{schema.removeprefix('oms_')}.db") for schema in ROWS}


def topics_of(data: Path) -> Counter[str]:
    connection = sqlite3.connect(data / "broker.db")
    counted = connection.execute("SELECT topic, count(*) FROM records GROUP BY topic").fetchall()
    connection.close()
    return Counter(dict(counted))


def confirmed(app: oms.App, number: int) -> None:
    order = app.orders.place(app.draft("bench", "12.50", dict(lines(number))))
    until = time.monotonic() + 30
    quiet = 0
    while quiet < 20:
        quiet = 0 if app.run() else quiet + 1
        time.sleep(0.02)
        assert time.monotonic() < until
    assert app.orders.get(order.id).state.value == "CONFIRMED"


def test_the_floor_makes_the_rows_and_messages_of_a_real_order(tmp_path: Path) -> None:
    app = oms.create(environ={}, data=tmp_path, default_stock=100, log_level="error")
    confirmed(app, 0)  # its products are new to the shop: their stock has a line in the ledger
    rows, messages = on_record(tmp_path), topics_of(tmp_path)
    confirmed(app, 0)
    more = {schema: dict(tables - rows[schema]) for schema, tables in on_record(tmp_path).items()}
    more_messages = topics_of(tmp_path) - messages
    app.stop()
    assert more == {schema: dict(tables) for schema, tables in ROWS.items()}
    assert more_messages == Counter(TOPICS)


@pytest.mark.servers
@pytest.mark.slow
def test_the_floor_leaves_what_it_says(
    tmp_path: Path, oms_postgres_url: str, oms_redis_url: str, oms_kafka_bootstrap: str
) -> None:
    from oms.testing.bench import deployment
    from oms.testing.bench.bench import FLOOR_DATABASE
    from oms.testing.bench.floor import make_topics
    from oms.testing.servers import servers

    deployment.distributed(tmp_path, servers(), {}, FLOOR_DATABASE)
    make_topics(oms_kafka_bootstrap)
    url = f"{oms_postgres_url.rpartition('/')[0]}/{FLOOR_DATABASE}"
    ends = floor_ends(oms_kafka_bootstrap)
    floor = Floor(url, oms_redis_url, oms_kafka_bootstrap)
    floor.prepare()
    before = floor_rows(url)
    floor.run(5)
    after = floor_rows(url)
    floor.close()
    assert {name: after[name] - before[name] for name in after} == {
        f"{schema}.{table}": 5 * count for schema, tables in ROWS.items() for table, count in tables.items()
    }
    assert floor_ends(oms_kafka_bootstrap) - ends == Counter(dict.fromkeys(TOPICS, 5))


def floor_rows(url: str) -> dict[str, int]:
    names = [f"{schema}.{table}" for schema, tables in ROWS.items() for table in tables]
    with psycopg.connect(url) as connection:
        return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}


def end_of(consumer: Any, place: Any) -> int:
    """Of a topic that was made just now, whose partition may have no leader yet."""
    from confluent_kafka import KafkaException

    until = time.monotonic() + 20
    while True:
        try:
            return int(consumer.get_watermark_offsets(place, timeout=10)[1])
        except KafkaException:
            assert time.monotonic() < until
            time.sleep(0.2)


def floor_ends(bootstrap: str) -> Counter[str]:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test-bench", "log_level": "0"})
    found: Counter[str] = Counter()
    for topic in TOPICS:
        for part in range(4):
            found[topic] += end_of(consumer, TopicPartition(PREFIX + topic, part))
    consumer.close()
    return found


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1))
def test_quantiles_are_latencies_that_were_seen_in_their_order(seconds: list[float]) -> None:
    found = Quantiles.of(seconds)
    seen = {round(one * 1000, 1) for one in seconds}
    assert {found.p50, found.p95, found.p99} <= seen
    assert found.p50 <= found.p95 <= found.p99


def test_a_run_in_figures(tmp_path: Path) -> None:
    answers = [Answer(f"o{index}", 100.0 + index / 10, 100.05 + index / 10, 201) for index in range(10)]
    ends = {answer.order: End("CONFIRMED", answer.due_at + 0.5) for answer in answers[:9]} | {
        "o9": End("REJECTED", 102.0)
    }
    found = result_of("burst", answers, ends, {"order": Usage(1.0, 50)}, {"order": Usage(1.5, 60)})
    assert (found.orders, found.states) == (10, {"CONFIRMED": 9, "REJECTED": 1})
    assert found.accepted_per_s == round(10 / 0.95, 1)
    assert found.completed_per_s == 5.0
    assert found.post_ms.p99 == 50.0
    assert found.confirmed_ms.p50 == 500.0
    assert found.cpu_ms_per_order == {"order": 50.0}
    assert found.timeline[-1][1:] == (10, 10)
    draw(tmp_path, [found])
    assert "<polyline" in (tmp_path / "timeline-burst.svg").read_text()
    assert "order: 50 ms" in (tmp_path / "cpu.svg").read_text()


def test_orders_with_a_slow_charge_are_also_left_out() -> None:
    answers = [Answer(f"o{number}", 100.0, 100.1, 201, is_slow(number, "slow")) for number in range(200)]
    ends = {answer.order: End("CONFIRMED", 111.0 if answer.slow else 102.0) for answer in answers}
    found = result_of("slow", answers, ends, {}, {})
    assert (found.confirmed_ms.p99, found.completed_per_s) == (11_000.0, round(200 / 11, 1))
    assert (found.prompt_ms, found.prompt_per_s) == (Quantiles(2_000.0, 2_000.0, 2_000.0), 99.0)
    none_slow = result_of("quick", answers[1:100], ends, {}, {})
    assert (none_slow.prompt_ms, none_slow.prompt_per_s) == (None, 0.0)


def test_cpu_time_counts_a_tree_and_what_has_ended_in_it() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    child = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {burn!r}]); print(1, flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert usage_of(process.pid, tree=True).cpu_s >= 0.3
        assert usage_of(process.pid).cpu_s < usage_of(process.pid, tree=True).cpu_s
        assert usage_of(process.pid).memory_mb > 1
    finally:
        process.kill()
        process.wait()
    assert usage_of(process.pid) == Usage()


@pytest.mark.slow
def test_the_command_measures_an_embedded_system(tmp_path: Path) -> None:
    figures, charts = tmp_path / "bench.json", tmp_path / "charts"
    command = ["-m", "oms.testing.bench", "embedded", "--orders", "400", "--json", str(figures), "--svg", str(charts)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads(figures.read_text())["results"]
    assert result["states"] == {"CONFIRMED": 400}
    assert result["completed_per_s"] > 0
    assert result["ratio"] > 0
    assert result["cpu_ms_per_order"]["serve"] > 0
    assert {one.name for one in charts.iterdir()} == {"timeline-embedded.svg", "cpu.svg"}


WITH_SHORT_RESTS = """
import runpy
from oms.testing.bench import memory
memory.REST_S = 0.3
runpy.run_module("oms.testing.bench", run_name="__main__")
"""
"""`python -m oms.testing.bench`, which measures memory only briefly after each wave."""


@pytest.mark.servers
@pytest.mark.slow
def test_memory_is_sampled_after_each_wave(tmp_path: Path) -> None:
    figures, kept = tmp_path / "bench.json", tmp_path / "run"
    given = [
        "memory",
        "--orders",
        "40",
        "--connections",
        "4",
        "--no-floor",
        "--keep",
        str(kept),
        "--json",
        str(figures),
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITH_SHORT_RESTS, *given], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    samples = json.loads(figures.read_text())["results"][0]["samples"]
    assert [sample["orders"] for sample in samples] == [*range(4, 41, 4)]
    assert all(mb > 1 for sample in samples for mb in sample["resident_mb"].values())
    written = [json.loads(line) for line in (kept / "memory.jsonl").read_text().splitlines()]
    assert [line["resident_mb"] for line in written] == [sample["resident_mb"] for sample in samples]
    assert {one["name"].split(",")[0] for one in json.loads(figures.read_text())["verdict"]} == {
        "memory: order", "memory: inventory", "memory: payment", "memory: notification"
    }  # fmt: skip


@pytest.mark.servers
@pytest.mark.slow
def test_orders_are_shipped_and_every_fourth_is_refunded(tmp_path: Path) -> None:
    figures = tmp_path / "bench.json"
    given = ["fulfil", "--orders", "40", "--connections", "4", "--no-floor", "--json", str(figures)]
    done = subprocess.run(
        [sys.executable, "-m", "oms.testing.bench", *given], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads(figures.read_text())["results"]
    assert (result["orders"], result["states"]) == (40, {"COMPLETED": 40})
    assert result["completed_per_s"] > 0
    assert result["confirmed_ms"]["p50"] > 0


def test_every_fourth_order_gets_a_refund_before_its_shipment() -> None:
    paths = [[path for path, _ in commands(number)] for number in range(5)]
    assert paths == [["refunds", "shipments"], *[["shipments"]] * 3, ["refunds", "shipments"]]


def test_an_unknown_scenario_is_one_line_and_exit_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "oms.testing.bench", "nothing"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "there is no scenario 'nothing'" in done.stderr


def test_nothing_heavy_is_loaded_for_the_command_line() -> None:
    script = (
        "import sys, oms.testing.bench.command; print([m for m in ('confluent_kafka', 'psycopg') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
