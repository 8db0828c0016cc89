"""The commands of this machine, and those of other distributions that join by the entry point `oms.commands`."""

from __future__ import annotations

import json
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

import oms
from oms.domain.errors import OmsError
from oms.entrypoints.cli.remote import dlq, orders, stock
from oms.settings import SettingsError, load_settings, settings_markdown, settings_table

app = App(name="oms", help="Orders that settle exactly once.", version=oms.__version__)
app.command(orders)
app.command(stock)
app.command(dlq)

Data = Annotated[Path | None, Parameter(name="--data", help="The system's directory (OMS_DATA)")]
NOT_ON_RECORD = {"P11": "nobody reaches another's order: tested by the matrix of routes and callers"}


@app.command
def serve(*, port: int | None = None, data: Data = None) -> int:
    """Run a whole system in this process, durable in a directory, with its API."""
    from oms.entrypoints.app import create
    from oms.entrypoints.serve import refuse
    from oms.entrypoints.serve import serve as run

    given: dict[str, Any] = {"http_port": port, "data": data}
    try:
        return run(create(None, **{name: value for name, value in given.items() if value is not None}))
    except OmsError as error:
        return refuse(error)


@app.command
def demo(*, orders: int = 100, keep: bool = False) -> int:
    """Show a fresh system at work; --keep goes on serving it."""
    from oms.entrypoints.cli.demo import run

    return run(orders, keep=keep)


@app.command
def verify(*, data: Data = None, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False) -> int:
    """Check the promises against a system on disk, read-only, also while it runs. Exit 1 where one is broken."""
    from rich.console import Console
    from rich.table import Table

    from oms.entrypoints.app import verify as check

    report = check(load_settings(None, **({"data": data} if data else {})))
    broken = {violation.promise for violation in report.violations}
    if as_json:
        found = {
            "whole": report.whole,
            "quiet": report.quiet,
            "checked": list(report.checked),
            "orders": dict(report.orders),
            "parked": report.parked,
            "messages": report.messages,
            "violations": [str(violation) for violation in report.violations],
        }
        print(json.dumps(found, indent=2))  # noqa: T201 - the command's output
        return 0 if report.whole else 1
    table = Table("promise", "found", box=None, pad_edge=False, header_style="bold")
    for promise in (f"P{number}" for number in range(1, 12)):
        if promise in broken:
            said = "[red]broken[/]"
        elif promise in report.checked:
            said = "[green]holds[/]"
        else:
            said = NOT_ON_RECORD.get(promise, "not checked: work is still under way")
        table.add_row(promise, said)
    console = Console()
    console.print(table)
    for violation in report.violations:
        console.print(f"[red]{violation}[/]", highlight=False)
    counts = ", ".join(f"{number} {state}" for state, number in report.orders.items()) or "none"
    console.print(f"orders: {counts}; {report.messages} messages, {report.parked} parked", highlight=False)
    return 0 if report.whole else 1


@app.command
def settings(*, markdown: bool = False) -> int:
    """Every setting with its default and meaning, and what it is now; --markdown for the documentation."""
    if markdown:
        print(settings_markdown(), end="")  # noqa: T201 - the command's output
        return 0
    from rich.console import Console
    from rich.table import Table

    now = load_settings()
    table = Table("setting", "now", "meaning", box=None, pad_edge=False, header_style="bold")
    for row in settings_table():
        value = getattr(now, row.name.removeprefix("OMS_").lower())
        shown = "***" if row.secret and value is not None else "" if value in (None, ()) else str(value)
        table.add_row(row.name, shown, row.meaning)
    Console().print(table)
    return 0


keys = App(name="keys", help="API keys.")
app.command(keys)


@keys.command
def new(*, role: str, name: str = "key", user: str | None = None) -> int:
    """Make an API key: the key itself, shown once, and its entry for the file OMS_API_KEYS_FILE."""
    from oms.adapters.auth.api_keys import new_key
    from oms.ports.plugs import Role

    if role not in ("customer", "operator") or (role == "customer") != (user is not None):
        raise SettingsError("--role is customer (with --user) or operator (without)")
    key, entry = new_key(name, Role(role), user)
    print(json.dumps({"key": key, "entry": entry}, indent=2))  # noqa: T201 - the command's output
    return 0


def main() -> None:
    """Run a command; what is wrong with a setting is one line and exit 2."""
    for found in entry_points(group="oms.commands"):
        app.command(found.load())
    try:
        sys.exit(app(sys.argv[1:]) or 0)
    except OmsError as error:
        sys.stderr.write(f"oms: {error}\n")
        sys.exit(2)
