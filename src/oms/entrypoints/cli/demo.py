"""`oms demo`: a new system, two orders shown step by step, then many orders, then a check of the promises."""

from __future__ import annotations

import json
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console

from oms.bootstrap.app import App
from oms.bootstrap.create import create
from oms.bootstrap.operators import verify
from oms.domain.order_table import OrderState
from oms.entrypoints.cli import crowd
from oms.entrypoints.cli.customer import Customer
from oms.entrypoints.cli.notes import Notes
from oms.entrypoints.cli.output import COLOURS, console, plain, timeline
from oms.entrypoints.cli.promise_texts import NOT_ON_RECORD, PROMISES, short_list
from oms.entrypoints.serve import Server, address, bound
from oms.settings import Settings, load_settings

QUIET_S = 10.0
"""Seconds that the last messages may take after the last order has settled."""


CAPTURED_SHARE = 0.8
"""The simulated gateway captures this share of the charges, so that the demo shows declines too."""


@attrs.frozen
class Demo:
    """A running system, and the screen on which the demonstration prints."""

    screen: Console
    settings: Settings
    app: App
    notes: Notes
    url: str


def run(orders: int, *, keep: bool, data: Path | None) -> int:
    """Run the demonstration; return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    screen = console(pipe_width=100)
    with tempfile.TemporaryDirectory(prefix="oms-demo-") as directory:
        with _running(screen, data or Path(directory)) as demo:
            customer = Customer(demo.url)
            _first(demo, customer)
            _shipped(demo, customer)
            if orders:
                crowd.run(screen, demo.app, customer, orders)
            code = _verified(demo)
            if keep and code == 0:
                _keep(demo)
        if data is not None:
            screen.print(plain(f"It is all in {data}; check it yourself: oms verify --data {data}"))
    return code


@contextmanager
def _running(screen: Console, data: Path) -> Iterator[Demo]:
    """Run an embedded system with its API on a free loopback port. Ignores the environment's settings."""
    settings = load_settings(
        {}, profile="embedded", data=data, default_stock=1_000_000, payment_success_rate=CAPTURED_SHARE
    )
    notes = Notes()
    app = create(settings, telemetry=notes)
    listener = bound("127.0.0.1", 0)
    app.start()
    server = Server(app)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield Demo(screen, settings, app, notes, address(listener))
    finally:
        server.should_exit = True
        thread.join(5)
        app.stop()


def _first(demo: Demo, customer: Customer) -> None:
    """Place the example order of the Spring system, and print the services' log lines about it until it settles."""
    screen = demo.screen
    body = (files("oms.entrypoints.cli") / "first_order.json").read_bytes().strip()
    screen.rule("[bold]One order, over HTTP", align="left")
    screen.print(f"POST {demo.url}/orders\n{body.decode()}\n", markup=False, soft_wrap=True)
    begun = time.monotonic()
    order_id = customer.place(body)
    screen.print(f"  {_since(begun, time.monotonic())}  accepted as {order_id}")
    for said in demo.notes.of(order_id):
        screen.print(f"  {_since(begun, said.at)}  [bold cyan]{said.event}[/]{_kind(said.kind)}")
    state = demo.app.orders.get(order_id).state.value
    screen.print(f"\nIt is [bold {COLOURS.get(state, 'default')}]{state}[/]. Its timeline:")
    screen.print(timeline(customer.timeline(order_id)))
    screen.print()


def _shipped(demo: Demo, customer: Customer) -> None:
    """Ship an order in two parcels and take one unit back, and print the services' log lines about it."""
    screen = demo.screen
    screen.rule("[bold]From order to return: two parcels, and one unit comes back", align="left")
    order_id = _confirmed(demo, customer)
    _said(screen, "shipments", customer.ship(order_id, {"items": {"lamp": 1}, "carrier": "DHL"}))
    _said(screen, "shipments", customer.ship(order_id, {}))
    back: dict[str, object] = {"kind": "RETURN", "items": {"lamp": 1}, "restock": True, "reason": "wrong colour"}
    _said(screen, "refunds", customer.refund(order_id, back))
    until = time.monotonic() + QUIET_S
    while customer.order(order_id)["refunds"][0]["state"] != "PAID" and time.monotonic() < until:
        time.sleep(0.02)
    state = demo.app.orders.get(order_id).state.value
    screen.print(f"\nIt is [bold {COLOURS.get(state, 'default')}]{state}[/]. Its timeline:")
    screen.print(timeline(customer.timeline(order_id)))
    screen.print()


def _confirmed(demo: Demo, customer: Customer) -> str:
    """Place orders until one is confirmed: the gateway declines some. Return its id."""
    body = (files("oms.entrypoints.cli") / "second_order.json").read_bytes().strip()
    demo.screen.print(f"POST {demo.url}/orders\n{body.decode()}\n", markup=False, soft_wrap=True)
    while True:
        order_id: str = customer.place(body)
        while not demo.app.orders.get(order_id).state.settled:
            time.sleep(0.02)
        if demo.app.orders.get(order_id).state is OrderState.CONFIRMED:
            return order_id


def _said(screen: Console, path: str, answer: dict[str, object]) -> None:
    """Print the response to one command."""
    shown = {name: value for name, value in answer.items() if value not in (None, "", [], {})}
    screen.print(plain(f"  POST .../{path} -> {json.dumps(shown)}"), soft_wrap=True)


def _since(begun: float, at: float) -> str:
    return f"{max(0.0, at - begun) * 1000:5.0f} ms"


def _kind(kind: str) -> str:
    return f" [dim]({kind})[/]" if kind else ""


def _verified(demo: Demo) -> int:
    """Check the promises on disk, as another process would; return the exit code."""
    until = time.monotonic() + QUIET_S
    report = verify(demo.settings)
    while not report.quiet and time.monotonic() < until:
        time.sleep(0.1)
        report = verify(demo.settings)
    for violation in report.violations:
        demo.screen.print(plain(violation), style="red")
    said = "[bold green]all hold[/]" if report.whole else f"[bold red]{len(report.violations)} violations[/]"
    promises = short_list(report.checked)
    count = sum(report.orders.values())
    demo.screen.print(f"Promises {promises}, checked on disk for {count} orders and {report.messages} messages: {said}")
    for name, reason in NOT_ON_RECORD.items():
        if name not in report.checked and report.quiet:
            demo.screen.print(f"{name} ({PROMISES[name]}): {reason}")
    return 0 if report.whole and report.quiet else 1


def _keep(demo: Demo) -> None:
    screen, url = demo.screen, demo.url
    screen.rule("[bold]Still serving; Ctrl-C ends it", align="left")
    order = '{"userId":"ann","amount":12.50,"items":{"apple":2}}'
    lines: tuple[Any, ...] = (
        f"curl {url}/orders --json '{order}'",
        f"oms orders list --url {url}",
        f"oms stock list --url {url}",
        f"{url}/docs",
    )
    for line in lines:
        screen.print(f"  {line}", markup=False, soft_wrap=True)
    try:
        while not demo.app.failed:
            time.sleep(0.2)
    except KeyboardInterrupt:
        screen.print()
