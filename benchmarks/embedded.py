"""Embedded throughput over HTTP, placed to settled, beside SQLite's own single-row commit rate of the same run.

    python benchmarks/embedded.py [--orders 5000] [--connections 16]

The load runs in a process of its own; `oms serve` is another. Prints one JSON object; ratios are what to compare.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path
from statistics import quantiles

BODY = json.dumps({"userId": "bench", "amount": 12.5, "items": {"sku-a": 2, "sku-b": 1, "sku-c": 1}}).encode()
REQUEST = (
    b"POST /orders HTTP/1.1\r\nHost: oms\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
) + BODY


def single_row_commits(directory: Path, seconds: float = 2.0) -> float:
    """Commits of one row each, durable (WAL, synchronous=FULL), in one connection."""
    connection = sqlite3.connect(directory / "floor.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, body TEXT)")
    count, until = 0, time.perf_counter() + seconds
    began = time.perf_counter()
    while time.perf_counter() < until:
        connection.execute("INSERT INTO rows (body) VALUES (?)", ("x" * 200,))
        count += 1
    return count / (time.perf_counter() - began)


async def _connection(port: int, numbers: list[int], latencies: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while numbers:
        numbers.pop()
        began = time.perf_counter()
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 201"):
            raise RuntimeError(head.decode())
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        await reader.readexactly(length)
        latencies.append(time.perf_counter() - began)
    writer.close()


def load(port: int, orders: int, connections: int, result: multiprocessing.Queue[list[float]]) -> None:
    async def run() -> list[float]:
        numbers, latencies = list(range(orders)), []
        await asyncio.gather(*(_connection(port, numbers, latencies) for _ in range(connections)))
        return latencies

    result.put(asyncio.run(run()))


def _get(port: int, path: str) -> dict[str, object]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    body: dict[str, object] = json.loads(connection.getresponse().read())
    connection.close()
    return body


def _serve(directory: Path, port: int) -> subprocess.Popen[bytes]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("OMS_")}
    environ |= {"OMS_PAYMENT_SUCCESS_RATE": "1", "OMS_DEFAULT_STOCK": "10000000", "OMS_LOG_LEVEL": "warning"}
    command = [sys.executable, "-m", "oms", "serve", "--port", str(port), "--data", str(directory / "data")]
    process = subprocess.Popen(command, env=environ)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            _get(port, "/readyz")
        except OSError:
            time.sleep(0.05)
        else:
            return process
    raise RuntimeError("oms serve didn't start")


def _confirmed(directory: Path) -> int:
    connection = sqlite3.connect(f"file:{directory / 'data' / 'order.db'}?mode=ro", uri=True)
    (count,) = connection.execute("SELECT count(*) FROM orders WHERE state = 'CONFIRMED'").fetchone()
    connection.close()
    return int(count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=5000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--port", type=int, default=18081)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        floor = single_row_commits(directory)
        process = _serve(directory, chosen.port)
        try:
            latencies: multiprocessing.Queue[list[float]] = multiprocessing.Queue()
            arguments = (chosen.port, chosen.orders, chosen.connections, latencies)
            client = multiprocessing.Process(target=load, args=arguments)
            began = time.perf_counter()
            client.start()
            taken = sorted(latencies.get())
            accepted_s = time.perf_counter() - began
            while _confirmed(directory) < chosen.orders:
                time.sleep(0.05)
            completed_s = time.perf_counter() - began
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
    cuts = quantiles(taken, n=100)
    print(
        json.dumps(
            {
                "orders": chosen.orders,
                "connections": chosen.connections,
                "accepted_per_s": round(chosen.orders / accepted_s),
                "completed_per_s": round(chosen.orders / completed_s),
                "post_ms": {
                    "p50": round(cuts[49] * 1e3, 1),
                    "p95": round(cuts[94] * 1e3, 1),
                    "p99": round(cuts[98] * 1e3, 1),
                },
                "sqlite_single_row_commits_per_s": round(floor),
                "ratio": round(chosen.orders / completed_s / floor, 3),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
