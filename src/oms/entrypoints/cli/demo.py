"""`oms demo`: a fresh system, one order in the open, then many."""

from __future__ import annotations

import json
import random
import tempfile
import threading
import time
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import urllib3
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from oms.adapters.telemetry.signals import StructlogSignals
from oms.domain.order import Order
from oms.domain.values import OrderId
from oms.entrypoints.app import App, create, verify
from oms.entrypoints.serve import Server, bound
from oms.settings import Settings, load_settings

SHOWN = ("Inventory reserved", "Inventory rejected", "Payment success", "Payment failed", "Notification sent")
PATIENCE_S = 120.0
_COLOURS = {"CONFIRMED": "green", "CANCELLED": "yellow", "REJECTED": "red"}


class Shown(StructlogSignals):
    """Shows the log lines of one order, and keeps the others quiet."""

    def __init__(self) -> None:
        super().__init__(level="error")
        self._lines: dict[str, list[str]] = {}

    def note(self, event: str, **fields: object) -> None:
        """Keep a line by its order."""
        if event in SHOWN:
            self._lines.setdefault(str(fields.get("order_id")), []).append(event)

    def lines(self, order_id: str) -> list[str]:
        """The lines of an order, each once."""
        return list(dict.fromkeys(self._lines.get(order_id, ())))


def run(orders: int, *, keep: bool) -> int:
    """The whole demonstration; the exit code."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="oms-demo-") as directory:
        settings = load_settings({}, profile="embedded", data=Path(directory), default_stock=max(100, orders // 8))
        shown = Shown()
        app = create(settings, signals=shown)
        listener = bound("127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = Server(app)
        app.start()
        thread = threading.Thread(target=_quiet, args=(server, listener), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            _first(console, app, shown, url)
            _many(console, app, url, orders)
            if keep:
                _keep(console, url)
        finally:
            server.should_exit = True
            thread.join(5)
            app.stop()
        return _verified(console, settings)


def _quiet(server: Server, listener: Any) -> None:
    server.run(sockets=[listener])


def _first(console: Console, app: App, shown: Shown, url: str) -> None:
    body = (files("oms.entrypoints.cli") / "first_order.json").read_bytes()
    console.rule("[bold]One order, over HTTP")
    console.print(f"POST {url}/orders\n{body.decode().strip()}", highlight=False)
    answer = _post(url, body)
    order = _settled(app, answer["id"])
    until = time.monotonic() + PATIENCE_S
    while "Notification sent" not in shown.lines(order.id) and time.monotonic() < until:
        time.sleep(0.01)
    for line in shown.lines(order.id):
        console.print(f"  [cyan]{line}[/]", highlight=False)
    console.print(f"  the order is [bold {_COLOURS[order.state.value]}]{order.state.value}[/]")
    _timeline(console, app, order)


def _many(console: Console, app: App, url: str, count: int) -> None:
    console.rule(f"[bold]{count} orders more")
    chance = random.Random(7)  # noqa: S311 - a demonstration
    pool = urllib3.PoolManager(maxsize=4)
    began = time.monotonic()
    waiting: list[str] = []
    ended: Counter[tuple[str, str]] = Counter()
    columns = (TextColumn("{task.description:>8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        placed, settled = progress.add_task("placed", total=count), progress.add_task("settled", total=count)
        for number in range(count):
            items = {f"product-{chance.randrange(10)}": chance.randrange(1, 4) for _ in range(2)}
            order = {"userId": f"customer-{number % 20}", "amount": chance.randrange(5, 200), "items": items}
            waiting.append(_post(url, json.dumps(order).encode(), pool)["id"])
            progress.advance(placed)
        for order_id in waiting:
            found = _settled(app, order_id)
            ended[found.state.value, found.reason.value if found.reason else ""] += 1
            progress.advance(settled)
    seconds = time.monotonic() - began
    table = Table("outcome", "why", "orders", box=None, pad_edge=False, header_style="bold")
    for (state, reason), number in sorted(ended.items()):
        table.add_row(f"[{_COLOURS[state]}]{state}[/]", reason.lower().replace("_", " "), str(number))
    console.print(table)
    console.print(
        f"{count} orders settled in {seconds:.1f} s, placed one after the other: {count / seconds:.0f} a second"
    )


def _timeline(console: Console, app: App, order: Order) -> None:
    console.rule("[bold]Its timeline")
    entries = app.orders.timeline(order.id)
    table = Table("", "after", "what", "state", box=None, pad_edge=False, header_style="bold")
    for entry in entries:
        offset = (entry.at - entries[0].at).total_seconds() * 1000
        moved = entry.before != entry.after
        state = f"{entry.before} [bold]→ {entry.after}[/]" if moved else f"[dim]{entry.after}[/]"
        table.add_row("●" if moved else "·", f"{offset:.0f} ms", entry.trigger, state)
    console.print(table)


def _settled(app: App, order_id: str) -> Order:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        order = app.orders.get(OrderId(order_id))
        if order.state.settled:
            return order
        time.sleep(0.002)
    raise SystemExit(f"oms: order {order_id} hasn't settled within {PATIENCE_S:.0f} s")


def _post(url: str, body: bytes, pool: urllib3.PoolManager | None = None) -> Any:
    headers = {"Content-Type": "application/json"}
    response = (pool or urllib3.PoolManager()).request("POST", f"{url}/orders", body=body, headers=headers)
    if response.status != 201:
        raise SystemExit(f"oms: the order was refused: {response.data.decode()}")
    return json.loads(response.data)


def _keep(console: Console, url: str) -> None:
    console.rule("[bold]Still serving; Ctrl-C ends it")
    console.print(f"{url}/docs\noms orders list --url {url}", highlight=False)
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        console.print()


def _verified(console: Console, settings: Settings) -> int:
    report = verify(settings)
    if report.whole:
        console.print(f"promises {', '.join(report.checked)} checked on disk: [green]all hold[/]")
        return 0
    for violation in report.violations:
        console.print(f"[red]{violation}[/]")
    return 1
