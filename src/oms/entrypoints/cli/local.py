"""The commands that need no running system: serve, demo, verify, settings, keys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from oms.entrypoints.cli.client import WRONG_USE
from oms.entrypoints.cli.output import console, give_up, plain, print_line, show_json, table
from oms.entrypoints.cli.promise_texts import NOT_ON_RECORD, PROMISES

if TYPE_CHECKING:
    from oms.operations.promises import Violation
    from oms.settings import Settings

Data = Annotated[str | None, Parameter(name="--data", help="The system's directory (OMS_DATA, ./oms-data).")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print the report as JSON.")]


def data_settings(data: str | None) -> Settings:
    """Return the settings of a command; its option `--data` overrides OMS_DATA."""
    from oms.settings import load_settings

    return load_settings(None, **({"data": data} if data is not None else {}))


def serve(
    *,
    port: Annotated[
        int | None, Parameter(help="Port to listen on (OMS_HTTP_PORT, 8081); 0 chooses a free one.")
    ] = None,
    data: Data = None,
) -> int:
    """Run a whole system in this process, durable in a directory, with its HTTP API. SIGTERM or Ctrl-C ends it.

    In a second terminal: `oms stock set apple 40`, `oms orders place --user ann --amount 12.50 --item apple=2`.
    """
    from oms.bootstrap.create import create
    from oms.entrypoints.serve import serve as run

    given: dict[str, Any] = {"http_port": port, "data": data}
    return run(create(None, **{name: value for name, value in given.items() if value is not None}))


def demo(
    *,
    orders: Annotated[int, Parameter(help="Number of orders after the first one.")] = 100,
    keep: Annotated[bool, Parameter(negative="", help="Keep serving at the end, so that you can try it.")] = False,
    data: Annotated[
        Path | None, Parameter(help="Keep the system in this directory, which must be new or empty.")
    ] = None,
) -> int:
    """Run a new system: one order step by step, then many orders, then a check of every promise on disk."""
    from oms.entrypoints.cli.demo import run

    if not 0 <= orders <= 100_000:
        give_up("--orders is 0 to 100000", WRONG_USE)
    if data is not None and data.exists() and (not data.is_dir() or any(data.iterdir())):
        give_up(f"--data {data} isn't a new or empty directory", WRONG_USE)
    return run(orders, keep=keep, data=data)


def verify(*, data: Data = None, as_json: Json = False) -> int:
    """Check the promises against the stored data, read-only, also while the system runs. Exit 1 if one is broken.

    Own steps are included where OMS_STEPS names them. TMPDIR needs about 2 kB for each order.
    """
    from oms.bootstrap.operators import verify as check

    report = check(data_settings(data))
    found = dict.fromkeys(PROMISES, "not checked") | NOT_ON_RECORD | dict.fromkeys(report.checked, "holds")
    found |= {violation.promise: "broken" for violation in report.violations}
    if as_json:
        violations = [_fields(violation) for violation in report.violations]
        counts: dict[str, Any] = {"orders": dict(report.orders), "messages": report.messages, "parked": report.parked}
        counts["notes"] = list(report.notes)
        show_json({"whole": report.whole, "quiet": report.quiet, "promises": found, "violations": violations, **counts})
        return 0 if report.whole else 1
    made = table("promise", "", "found")
    for name, said in found.items():
        made.add_row(name, PROMISES[name], plain(said))
    screen = console()
    screen.print(made)
    for violation in report.violations:
        screen.print(plain(violation), style="red")
    orders = ", ".join(f"{count} {state}" for state, count in report.orders.items()) or "none"
    screen.print(f"orders: {orders}; {report.messages} messages, {report.parked} dead letters parked")
    under_way = "work is under way: the gate isn't compared with the ledger"
    screen.print("the system is at rest" if report.quiet else under_way)
    for note in report.notes:
        screen.print(plain(note))
    return 0 if report.whole else 1


def _fields(violation: Violation) -> dict[str, object]:
    """Return a violation as JSON, without its empty fields."""
    named = {"promise": violation.promise, "subject": violation.subject, "detail": violation.detail}
    where = {name: getattr(violation, name) for name in ("order", "topic", "partition", "offset")}
    return named | {name: value for name, value in where.items() if value not in ("", None)}


def settings(
    *, markdown: Annotated[bool, Parameter(negative="", help="Print the table of the documentation instead.")] = False
) -> int:
    """Show every setting: its value, the source of the value, and its meaning. Secrets are masked."""
    from oms.settings.kinds import masked_address
    from oms.settings.settings import load_settings, settings_markdown, settings_table

    if markdown:
        for line in settings_markdown().splitlines():
            print_line(line)
        return 0
    now = load_settings()
    made = table("setting", "now", "from", "meaning")
    for row in settings_table():
        value = getattr(now, row.name.removeprefix("OMS_").lower())
        shown = ",".join(value) if isinstance(value, tuple) else value
        if isinstance(shown, str):
            shown = masked_address(shown)
        masked = "***" if row.secret and value is not None else shown
        made.add_row(row.name, plain(masked), _source(row.name), plain(row.meaning))
    console().print(made)
    return 0


def _source(name: str) -> str:
    if name in os.environ:
        return "environment"
    return "file" if f"{name}_FILE" in os.environ else "[dim]default[/]"


keys = App(name="keys", help="API keys, for systems that other machines can reach.")


@keys.command
def new(
    *,
    role: Annotated[Literal["customer", "operator"], Parameter(help="A customer can reach only their own orders.")],
    user: Annotated[str | None, Parameter(help="The customer's id.")] = None,
    name: Annotated[str, Parameter(help="Name of the entry in the file.")] = "key",
) -> int:
    """Create an API key. Prints the key, which isn't stored, and its entry for the list in OMS_API_KEYS_FILE."""
    from oms.bootstrap.authentication import new_api_key
    from oms.domain.values import checked_id
    from oms.ports.extensions import Role

    if (role == "customer") != (user is not None):
        give_up("a customer's key needs --user, an operator's has none", WRONG_USE)
    if user is not None:
        checked_id(user, name="user")
    key, entry = new_api_key(name, Role(role), user)
    show_json({"key": key, "entry": entry})
    return 0
