"""Generates what is derived from code: state tables, saga, settings and their keyword arguments, contract tests.

    python scripts/generate_docs.py [--check]

With --check nothing is written; one line for each stale page, and exit code 1 if there is one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from fidelity import fidelity
from setting_arguments import setting_arguments

from oms.application.topic_rights import topic_access
from oms.domain.order import ORDER_TABLE, OrderState
from oms.domain.payment import PAYMENT_TABLE
from oms.domain.payment_refund import REFUND_TABLE
from oms.domain.reservation import RESERVATION_TABLE
from oms.domain.saga import SAGA, possible_ends, routes, what_can_still_happen
from oms.domain.state_machine import Cell, Effect
from oms.settings.settings import settings_markdown

ROOT = Path(__file__).parent.parent

SIGNS = {
    Effect.NOTED: "=",
    Effect.EARLY: "early",
    Effect.IMPOSSIBLE: "x",
    Effect.NOT_FOUND: "404",
    Effect.SAME: "same",
    Effect.REFUSED: "409",
}
LEGEND = """\
An order, a reservation of stock and a payment are aggregates. Each has one state, and a trigger may move it to another:
a message, a command, a deadline or an answer of the payment gateway. Each table has a row for every state and a column
for every trigger; a missing cell is an error at import. ABSENT means that there is no aggregate yet.

| cell | what the trigger does to an aggregate in this state |
| --- | --- |
| a state | the aggregate moves to this state, or stays in it |
| `!topic` | the transition also publishes this event |
| `+task` | the transition also creates this task, a call to the payment gateway |
| `(alert)` | the transition also raises an alert for the operators |
| `=` | no effect; an order's timeline shows it |
| `early` | the order keeps the message and applies it when the order itself arrives |
| `x` | impossible: the message becomes a dead letter, and an alert is raised |
| `same` | the caller gets the same answer as before |
| `404`, `409` | the caller is refused with this HTTP status |

The tables are data in `domain/order.py`, `domain/reservation.py` and `domain/payment.py`. [saga.md](saga.md) shows how
the aggregates work together.
"""


SAGA_INTRO = """\
The saga takes an order from placed to confirmed, rejected or cancelled. No service calls another one: in each step of
the table, a service handles an event, commits its own state, and publishes the next event. If an order is cancelled,
a compensating step undoes each step that already happened.

- **listens to**: the events that start the step; a customer's or operator's command starts the steps without one.
- **publishes one of**: at most one of these events, in the same transaction as the step's own change.
- **undone by**: the compensating step, if the order ends cancelled.
- **limit**: the end of the wait for the next event, or of the tries; "at once" if the step waits for nothing.

[state-machines.md](state-machines.md) says what each event does in each state.
"""

FLOW = """\
Each arrow is an event that one service publishes and another one consumes. The notification service is left out: it
consumes every event that ends an order or changes its payment.
"""

PROSPECTS = """\
Derived from the order's state table: each trigger that moves an order on, and the final states that it can still reach.
"""

ACCESS = """\
`oms setup --acl` prints this table as Kafka ACL commands. Only access control keeps forged messages out: the payment
service can't check `inventory.reserved`, so a client that may write to that topic can cause a customer to be charged.
A producer of your own that places orders by message needs the right to write to `order.created`. A step of your own
reads the topics that it subscribes to, and writes to `<group>.dlq` and to the topics that it declares (`publishes=` of
`app.subscribe`). Operators read the `.dlq` topics with their own tools.
"""


def cell(found: Cell[Any]) -> str:
    if found.to is None:
        return SIGNS[found.effect]
    parts = [found.to.value]
    parts += [f"!{event.topic}" for event in found.publishes]
    parts += [f"+{found.starts.value}"] if found.starts else []
    parts += ["(alert)"] if found.alert else []
    return " ".join(parts)


def table(name: str, machine: Mapping[Any, Mapping[Enum, Cell[Any]]]) -> str:
    triggers = [trigger.value for trigger in next(iter(machine.values()))]
    lines = [f"## {name}", "", "| state | " + " | ".join(triggers) + " |", "| --- " * (len(triggers) + 1) + "|"]
    lines += ["| " + " | ".join([state.value, *map(cell, row.values())]) + " |" for state, row in machine.items()]
    return "\n".join(lines) + "\n"


def diagram(machine: Mapping[Any, Mapping[Any, Cell[Any]]]) -> str:
    """The cells that go to another state, one arrow for each pair of states."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for state, row in machine.items():
        for trigger, found in row.items():
            if found.to is not None and found.to is not state:
                arrows.setdefault((state.value, found.to.value), []).append(trigger.value)
    lines = [f"    {source} --> {to}: {' / '.join(dict.fromkeys(why))}" for (source, to), why in arrows.items()]
    # a colon would end Mermaid's label
    lines = [line.split(": ", 1)[0] + ": " + line.split(": ", 1)[1].replace(":", "") for line in lines]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"]) + "\n"


def state_machines() -> str:
    head = "# State tables\n\nGenerated from `oms.domain` by `scripts/generate_docs.py`; don't edit.\n\n" + LEGEND
    tables = (
        ("Order", ORDER_TABLE),
        ("Reservation", RESERVATION_TABLE),
        ("Payment", PAYMENT_TABLE),
        ("Refund", REFUND_TABLE),
    )
    return "\n".join([head, *(table(name, machine) + "\n" + diagram(machine) for name, machine in tables)])


def saga() -> str:
    lines = ["# The order saga", "", "Generated from `oms.domain.saga` by `scripts/generate_docs.py`; don't edit.", ""]
    lines += [SAGA_INTRO]
    lines += ["| step | service | listens to | publishes one of | undone by | limit |", "| --- " * 6 + "|"]
    for step in SAGA:
        listens = ", ".join(event.topic for event in step.listens)
        publishes = ", ".join(event.topic for event in step.publishes)
        lines.append(f"| {step.name} | {step.service} | {listens} | {publishes} | {step.undone_by} | {step.limit} |")
    lines += ["", "## How events flow", "", FLOW, "```mermaid", "flowchart LR"]
    ways = (
        f"    {step.service} -- {event.topic} --> {consumer}"
        for step in SAGA
        for event in step.publishes
        for consumer in routes()[event.topic]
        if consumer not in (step.service, "notification")
    )
    lines += dict.fromkeys(ways)
    lines += ["```", "", "## What can still happen to an order", "", PROSPECTS]
    lines += ["| state | next events, and the states they lead to | possible final states |", "| --- " * 3 + "|"]
    for state in OrderState:
        following = "; ".join(f"{p.trigger.value}: {p.to.value}" for p in what_can_still_happen(state)) or "nothing"
        ends = ", ".join(sorted(end.value for end in possible_ends(state)))
        lines.append(f"| {state.value} | {following} | {ends} |")
    lines += [
        "",
        "## Topics: writers and readers",
        "",
        ACCESS,
        "| topic | written by | read by |",
        "| --- " * 3 + "|",
    ]
    for row in topic_access({}):
        lines.append(f"| `{row.topic}` | {', '.join(row.writers)} | {', '.join(row.readers) or 'operators'} |")
    return "\n".join(lines) + "\n"


def settings() -> str:
    return (
        "# Settings\n\nGenerated from `oms.settings` by `scripts/generate_docs.py`; don't edit.\n\n"
        + settings_markdown()
    )


def main() -> int:
    stale = 0
    made = {
        "docs/state-machines.md": state_machines(),
        "docs/saga.md": saga(),
        "docs/settings.md": settings(),
        "docs/fidelity.md": fidelity(),
        "src/oms/settings/arguments.py": setting_arguments(),
    }
    for name, text in made.items():
        path = ROOT / name
        if path.exists() and path.read_text() == text:
            continue
        if "--check" in sys.argv:
            print(f"{name} is stale: run scripts/generate_docs.py")
            stale = 1
        else:
            path.write_text(text)
    return stale


if __name__ == "__main__":
    sys.exit(main())
