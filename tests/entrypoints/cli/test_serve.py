"""`oms serve`: starts with one line, refuses with one line, ends in good order."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import urllib3

from tests.support.processes import Served, oms

pytestmark = pytest.mark.slow
Start = Callable[..., Served]


def one_line(text: str) -> str:
    assert text.startswith("oms: "), text
    assert text.count("\n") == 1, text
    return text


def test_it_says_where_it_listens_and_where_data_is(start: Start) -> None:
    served = start()
    assert served.ready()
    lines = [json.loads(line) for line in served.out.splitlines()]
    (listening,) = [line for line in lines if line["event"] == "listening"]
    assert (listening["url"], listening["data"]) == (served.url, str(served.data))
    assert {line["event"] for line in lines} == {"currency pinned", "listening"}, "a quiet start of a new directory"
    assert served.stop()[0] == 0
    assert served.err == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_ten_seconds_under_load(start: Start, number: signal.Signals) -> None:
    served = start(OMS_PAYMENT_DELAY_MS="3000", OMS_LOG_LEVEL="info")
    accepted: list[str] = []
    pool = urllib3.PoolManager(maxsize=8, retries=False, timeout=10)

    def post(worker: int) -> None:
        for count in range(10_000):
            body = {"userId": f"u{worker}", "amount": 5, "items": {f"sku-{worker}-{count % 50}": 1}}
            try:
                answer = pool.request("POST", f"{served.url}/orders", json=body)
            except urllib3.exceptions.HTTPError:
                return
            if answer.status == 201:
                accepted.append(answer.json()["id"])

    threads = [threading.Thread(target=post, args=(worker,), daemon=True) for worker in range(8)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 20
    while len(accepted) < 40 and time.monotonic() < until:
        time.sleep(0.05)
    code, seconds = served.stop(number)
    for thread in threads:
        thread.join(15)
    assert (code, served.err) == (0, "")
    assert seconds < 10
    assert len(accepted) >= 40
    with sqlite3.connect(f"file:{served.data / 'order.db'}?mode=ro", uri=True) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert "orders" in tables, tables
        stored = connection.execute("SELECT count(*) FROM orders").fetchone()[0]
    assert stored >= len(accepted)
    assert oms("verify", "--data", str(served.data)).returncode == 0


def test_a_signal_while_it_starts_is_not_lost(start: Start) -> None:
    served = start(wait=False)
    # The earliest moment at which the signal is ours: the data directory is being made.
    until = time.monotonic() + 30
    while not (served.data / "broker.db").exists() and time.monotonic() < until:
        time.sleep(0.002)
    code, seconds = served.stop()
    assert code == 0, served.err
    assert seconds < 10


def test_a_second_one_on_the_same_directory_is_refused(start: Start) -> None:
    served = start()
    second = oms("serve", "--port", "0", "--data", str(served.data))
    assert second.returncode == 2
    assert "in use" in one_line(second.stderr)
    assert served.ready()
    assert served.stop()[0] == 0
    again = start()
    assert again.ready()


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = oms("serve", "--port", str(port), "--data", str(tmp_path / "data"))
    assert done.returncode == 2
    assert f"127.0.0.1:{port}" in one_line(done.stderr)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"OMS_HTTP_PROT": "1"}, "OMS_HTTP_PORT"),
        ({"OMS_BATCH": "many"}, "OMS_BATCH"),
        ({"OMS_HTTP_HOST": "0.0.0.0"}, "OMS_API_KEYS_FILE"),
        ({"OMS_API_KEYS_FILE": "/nowhere/keys.json"}, "OMS_API_KEYS_FILE"),
        ({"OMS_PAYMENT_GATEWAY": "nowhere.at:all"}, "OMS_PAYMENT_GATEWAY"),
        ({"OMS_PROFILE": "nowhere"}, "OMS_PROFILE"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path: Path, given: dict[str, str], named: str) -> None:
    done = oms("serve", "--port", "0", "--data", str(tmp_path / "data"), **given)
    assert (done.returncode, done.stdout) == (2, "")
    assert named in one_line(done.stderr)


def test_a_directory_that_cant_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = oms("serve", "--port", "0", "--data", str(tmp_path / "file" / "data"))
    assert done.returncode == 2
    assert "OMS_DATA" in one_line(done.stderr)


def test_a_failed_worker_ends_it(start: Start) -> None:
    served = start()
    shutil.copy(served.data / "order.db", served.directory / "order.db")
    with sqlite3.connect(served.data / "payment.db", timeout=10) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        connection.execute(f"DROP TABLE {next(name for name in names if name == 'tasks')}")
    served.run("orders", "place", "--user", "ann", "--amount", "1", "--item", "apple=1")
    code = served.process.wait(30)
    assert (code, served.err) == (1, "")
    (failed,) = [line for line in map(json.loads, served.out.splitlines()) if line["event"] == "worker failed"]
    assert failed["worker"] == "payment"


def test_requests_that_wait_at_the_signal_are_told_to_come_again(start: Start) -> None:
    served = start()
    assert served.ready()
    answers: list[tuple[int, str | None, str]] = []

    def post(number: int) -> None:
        body = {"userId": "ann", "amount": 5, "items": {f"sku-{number}": 1}}
        answer = urllib3.request("POST", f"{served.url}/orders", json=body, retries=False, timeout=20)
        answers.append((answer.status, answer.headers.get("retry-after"), answer.json()["code"]))

    with sqlite3.connect(served.data / "order.db", isolation_level=None) as connection:
        connection.execute("BEGIN IMMEDIATE")  # another connection locks the store: no order can be accepted
        threads = [threading.Thread(target=post, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
            time.sleep(0.2)
        begun = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(20)
        connection.execute("ROLLBACK")
    assert served.process.wait(20) == 0, served.err
    assert time.monotonic() - begun < 10
    assert [(status, after) for status, after, _ in answers] == [(503, "1")] * 3, answers
