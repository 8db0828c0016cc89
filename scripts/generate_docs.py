"""Writes the documents that are made of code: state tables, saga, settings, and what each adapter is proven to do.

    python scripts/generate_docs.py [--check]

With --check nothing is written; exit 1 and one line for each copy that is stale.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from fidelity import fidelity

from oms.application.access import topic_access
from oms.domain.machine import Cell, Effect
from oms.domain.order import ORDER_TABLE, OrderState
from oms.domain.payment import PAYMENT_TABLE
from oms.domain.reservation import RESERVATION_TABLE
from oms.domain.saga import SAGA, possible_ends, routes, what_can_still_happen
from oms.settings import settings_markdown

DOCS = Path(__file__).parent.parent / "docs"

SIGNS = {
    Effect.NOTED: "=",
    Effect.EARLY: "early",
    Effect.IMPOSSIBLE: "x",
    Effect.NOT_FOUND: "404",
    Effect.SAME: "same",
    Effect.REFUSED: "409",
}
LEGEND = """\
A cell says what a trigger (column) does to a state (row). `!topic` publishes, `+task` owes an outside call,
`=` is noted without effect, `early` is stored and applied when the order is adopted, `x` can't be (dead letter and
alarm), `same` gives the caller the same answer, `404` and `409` refuse the caller.
"""


ACCESS = """\
`oms setup --acl` prints this table as Kafka ACL commands. Only they keep forged messages out: the payment service
can't check `inventory.reserved`, so whoever may write to that topic can have a customer charged. Producers of the shop
may write to `order.created` as well. A step of your own reads the topics that it subscribes to, and writes to
`<group>.dlq` and to topics of its own.
"""


def cell(found: Cell[Any]) -> str:
    if found.to is None:
        return SIGNS[found.effect]
    parts = [found.to.value]
    parts += [f"!{found.publishes.topic}"] if found.publishes else []
    parts += [f"+{found.starts.value}"] if found.starts else []
    parts += ["(alarm)"] if found.alert else []
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
    head = "# State tables\n\nMade from `oms.domain` by `scripts/generate_docs.py`; don't edit.\n\n" + LEGEND
    tables = (("Order", ORDER_TABLE), ("Reservation", RESERVATION_TABLE), ("Payment", PAYMENT_TABLE))
    return "\n".join([head, *(table(name, machine) + "\n" + diagram(machine) for name, machine in tables)])


def saga() -> str:
    lines = ["# The order saga", "", "Made from `oms.domain.saga` by `scripts/generate_docs.py`; don't edit.", ""]
    lines += ["| step | service | listens to | publishes one of | undone by | bound |", "| --- " * 6 + "|"]
    for step in SAGA:
        listens = ", ".join(event.topic for event in step.listens)
        publishes = ", ".join(event.topic for event in step.publishes)
        lines.append(f"| {step.name} | {step.service} | {listens} | {publishes} | {step.undone_by} | {step.bound} |")
    lines += ["", "## The way of a message", "", "```mermaid", "flowchart LR"]
    ways = (
        f"    {step.service} -- {event.topic} --> {consumer}"
        for step in SAGA
        for event in step.publishes
        for consumer in routes()[event.topic]
        if consumer not in (step.service, "notification")
    )
    lines += dict.fromkeys(ways)
    lines += ["```", "", "## What can still happen", "", "| order | next | can still end as |", "| --- " * 3 + "|"]
    for state in OrderState:
        following = "; ".join(f"{p.trigger.value}: {p.to.value}" for p in what_can_still_happen(state)) or "nothing"
        ends = ", ".join(sorted(end.value for end in possible_ends(state)))
        lines.append(f"| {state.value} | {following} | {ends} |")
    lines += [
        "",
        "## Who writes and who reads each topic",
        "",
        ACCESS,
        "| topic | written by | read by |",
        "| --- " * 3 + "|",
    ]
    for row in topic_access({}):
        lines.append(f"| `{row.topic}` | {', '.join(row.writers)} | {', '.join(row.readers) or 'operators'} |")
    return "\n".join(lines) + "\n"


def settings() -> str:
    return "# Settings\n\nMade from `oms.settings` by `scripts/generate_docs.py`; don't edit.\n\n" + settings_markdown()


def main() -> int:
    stale = 0
    pages = {
        "state-machines.md": state_machines(),
        "saga.md": saga(),
        "settings.md": settings(),
        "fidelity.md": fidelity(),
    }
    for name, text in pages.items():
        path = DOCS / name
        if path.exists() and path.read_text() == text:
            continue
        if "--check" in sys.argv:
            print(f"docs/{name} is stale: run scripts/generate_docs.py")
            stale = 1
        else:
            path.write_text(text)
    return stale


if __name__ == "__main__":
    sys.exit(main())
