"""Generates what is derived from code: state tables, saga, settings and their keyword arguments, contract tests.

    python scripts/generate_docs.py [--check]

With --check nothing is written; one line for each stale page, and exit code 1 if there is one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from fidelity import fidelity
from setting_arguments import setting_arguments

from oms.application.topic_rights import topic_access
from oms.domain.order_table import ORDER_TABLE, OrderState, OrderTrigger
from oms.domain.payment import PAYMENT_TABLE, PaymentTrigger
from oms.domain.payment_refund import REFUND_TABLE, RefundTrigger
from oms.domain.reservation import RESERVATION_TABLE, ReservationTrigger
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
for every trigger; a missing cell is an error at import. ABSENT means that there is no aggregate yet. States whose cells
are all equal share a row.

| cell | what the trigger does to an aggregate in this state |
| --- | --- |
| another state | the aggregate moves to this state |
| its own state | the aggregate stays in its state, and does what else the cell says |
| `!topic` | the transition also publishes this event |
| `+task` | the transition also creates this task, a call to the payment gateway |
| `(alert)` | the transition also raises an alert for the operators |
| `=` | the state stays, and nothing is published; an order's timeline shows the trigger |
| `early` | the order keeps the message and applies it when the order itself arrives |
| `x` | impossible: the message becomes a dead letter, and an alert is raised |
| `same` | the caller gets the same answer as before |
| `404`, `409` | the caller is refused with this HTTP status |

The tables are data in `domain/order_table.py`, `domain/reservation.py`, `domain/payment.py` and
`domain/payment_refund.py`. [saga.md](saga.md) shows how the aggregates work together. In the drawings, an arrow is a
cell that changes the state, publishes an event or creates a task.
"""

PLACED_TO_SETTLED = """\
Events and commands of the saga. Once an order is CONFIRMED, it can be shipped and refunded: see the next table.
"""
AFTER_CONFIRMATION = """\
Commands of operators for a confirmed order, and what the payment service reports about refunds. An order records each
shipment, refund and refusal: `=` for `payment.refund_paid` and `payment.refund_failed` means that its state stays.
The guards are part of the triggers: "ship the last unit" is a `ship` that leaves no unit open, and so on.
[fulfilment.md](fulfilment.md) describes the commands.
"""
OF_A_RESERVATION = """\
A refund with `restock` makes its units available again; the reservation keeps its state, and records the refund so that
a repeated message restocks nothing.
"""
OF_A_PAYMENT = """\
The columns "refund done", "refund refused" and "instructed" are about the refund of the whole payment, of an order that
is cancelled. Refunds of parts exist only in CAPTURED; each one has a state of its own: see the next table.
"""
OF_A_REFUND = """\
One refund of a part of a captured payment. A retry begins the next attempt, under a new key of the gateway; a call
without an answer is repeated under the same key.
"""


SAGA_INTRO = """\
The saga takes an order from placed to confirmed, rejected or cancelled. No service calls another one: in each step of
the table, a service handles an event, commits its own state, and publishes the next event. If an order is cancelled,
a compensating step undoes each step that already happened. Operators ship and refund a confirmed order, in parts; the
last steps of the table are theirs, and [fulfilment.md](fulfilment.md) describes them.

- **listens to**: the events that start the step; a customer's or operator's command starts the steps without one.
- **publishes one of**: at most one of these events, in the same transaction as the step's own change.
- **undone by**: the compensating step, if the order ends cancelled; for shipped units, the refund of a return.
- **limit**: the end of the wait for the next event, or of the tries; "at once" if the step waits for nothing.

[state-machines.md](state-machines.md) says what each event does in each state.
"""

FLOW = """\
Each arrow is an event that one service publishes and another one consumes. The notification service is left out: it
consumes every event that confirms or ends an order, that changes its payment, or that is about a shipment or a paid
refund.
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


def table(machine: Mapping[Any, Mapping[Enum, Cell[Any]]], triggers: Sequence[Enum]) -> str:
    """The cells of these triggers; states with equal cells share a row."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for state, row in machine.items():
        rows.setdefault(tuple(cell(row[trigger]) for trigger in triggers), []).append(state.value)
    names = " | ".join(trigger.value for trigger in triggers)
    lines = [f"| state | {names} |", "| --- " * (len(triggers) + 1) + "|"]
    lines += [f"| {', '.join(states)} | {' | '.join(cells)} |" for cells, states in rows.items()]
    return "\n".join(lines) + "\n"


def diagram(machine: Mapping[Any, Mapping[Any, Cell[Any]]]) -> str:
    """The cells that have an effect, one arrow for each pair of states."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for state, row in machine.items():
        for trigger, found in row.items():
            if found.to is not None and (found.to is not state or found.publishes or found.starts):
                arrows.setdefault((state.value, found.to.value), []).append(trigger.value)
    lines = [f"    {source} --> {to}: {' / '.join(dict.fromkeys(why))}" for (source, to), why in arrows.items()]
    # a colon would end Mermaid's label
    lines = [line.split(": ", 1)[0] + ": " + line.split(": ", 1)[1].replace(":", "") for line in lines]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"]) + "\n"


def state_machines() -> str:
    head = "# State tables\n\nGenerated from `oms.domain` by `scripts/generate_docs.py`; don't edit.\n\n" + LEGEND
    later = list(OrderTrigger)[list(OrderTrigger).index(OrderTrigger.SHIP) :]
    placed = [trigger for trigger in OrderTrigger if trigger not in later]
    parts = [
        *("## Order: from placed to settled", PLACED_TO_SETTLED, table(ORDER_TABLE, placed)),
        *("## Order: shipments and refunds", AFTER_CONFIRMATION, table(ORDER_TABLE, later)),
        *("## Order: drawing", diagram(ORDER_TABLE)),
        *("## Reservation", OF_A_RESERVATION, table(RESERVATION_TABLE, list(ReservationTrigger))),
        diagram(RESERVATION_TABLE),
        *("## Payment", OF_A_PAYMENT, table(PAYMENT_TABLE, list(PaymentTrigger)), diagram(PAYMENT_TABLE)),
        *("## Refund", OF_A_REFUND, table(REFUND_TABLE, list(RefundTrigger)), diagram(REFUND_TABLE)),
    ]
    return "\n".join([head, *(f"{part}\n" if part.startswith("#") else part for part in parts)])


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
