"""Describes a schedule: line by line with virtual time, and as a sequence diagram."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs

from oms.domain.fulfilment import NOTHING_YET, Fulfilment
from oms.domain.payment import order_of_key
from oms.ports.broker import TopicPartition
from oms.testing.sim.outcome import Listener, ObservedRun

if TYPE_CHECKING:
    from oms.testing.sim.outcome import Outcome
    from oms.testing.sim.simulated_system import SimulatedSystem
    from oms.testing.sim.worker import Worker

Seen = dict[tuple[str, str], str]
"""The visible state of a system: (record, id) -> state."""


LOG = "log"
STEP_WORDS = {
    "CommandGroup": "runs commands",
    "Consumer": "handles",
    "Relay": "publishes its outbox",
    "TaskRunner": "runs tasks",
    "GateKeeper": "updates the gate",
}
"""The names of the steps in a story."""


@attrs.frozen
class Line:
    """One line of a story. `is_fault`: it is a fault or another deviation from the calm schedule."""

    at_s: float
    who: str
    what: str
    then: tuple[str, ...] = ()
    is_fault: bool = False

    def __str__(self) -> str:
        follows = f"  ->  {'; '.join(self.then)}" if self.then else ""
        return f"{'!' if self.is_fault else ' '} {self.at_s:9.2f} s  {self.who:<15} {self.what}{follows}"


class Story(Listener):
    """Records the events of one run."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._before: Seen = {}
        self._at_s = 0.0
        self._faults: list[Line] = []
        self._chosen = False

    def drew(self, label: str, option: str) -> None:
        """Record a deviation."""
        kind, _, rest = label.partition(" ")
        if kind == "next":
            self._chosen = True
            return
        who, _, place = rest.partition(" ")
        what = f"{option} at {place}" if kind == "at" else f"{who}: {option}"
        self._faults.append(Line(self._at_s, who if kind == "at" else kind, what, is_fault=True))

    def begins(self, run: ObservedRun, what: str) -> None:  # noqa: ARG002 - a parameter of `Listener`
        """Record the beginning of a step."""
        self._at_s = _seconds(run)
        if not self.lines:
            following = [worker.slot for worker in run.system.workers if run.system.runs_next(worker)]
            self.lines += [Line(self._at_s, slot, "runs the next version") for slot in following]

    def ended(self, run: ObservedRun, what: str) -> None:
        """Record the changes that a step has made."""
        who, _, rest = what.partition(" ")
        seen = _seen(run.system)
        changed = [(where, of, now) for (where, of), now in seen.items() if self._before.get((where, of)) != now]
        then = [f"publishes {of}" for where, of, _ in changed if where == LOG]
        then += [f"{where} {of}: {now}" for where, of, now in changed if where != LOG]
        self._before = seen
        if who in run.slots:
            step, _, topic = rest.partition(" ")
            rest = f"{STEP_WORDS.get(step, step)} {topic}".rstrip()
        else:
            who, rest = "", what
        self.lines.append(Line(self._at_s, who, rest, tuple(then), is_fault=self._chosen))
        self.lines += self._faults
        self._faults, self._chosen = [], False

    def reached(self, worker: Worker, place: str) -> None:
        """Do nothing: a story has no lines for points."""

    def text(self) -> str:
        """Return the story, with a line for each step; deviations are marked with `!`."""
        return "\n".join(map(str, self.lines))

    def diagram(self) -> str:
        """Return a sequence diagram for Mermaid."""
        return "\n".join(["sequenceDiagram", *_arrows(self.lines)])


def _seconds(run: ObservedRun) -> float:
    return (run.system.clock.now() - run.begun_at).total_seconds()


def _seen(system: SimulatedSystem) -> Seen:
    records = system.records
    names = {order_id: name for name, order_id in system.customers.known()}

    def name(order_id: Any) -> str:
        return names.get(order_id, str(order_id)[-6:])

    seen: Seen = {("order", name(row.id)): row.state.value for row in records["order"].orders.rows.values()}
    seen |= {("stock", name(row.order_id)): row.state.value for row in records["inventory"].reservations.rows.values()}
    seen |= {("payment", name(row.order_id)): row.state.value for row in records["payment"].payments.rows.values()}
    for row in records["order"].orders.rows.values():
        if row.fulfilment is not NOTHING_YET:
            seen["parts of", name(row.id)] = _parts(row.fulfilment)
    epoch = system.gate.state["epoch"]
    seen["gate", "epoch"] = "closed" if epoch is None else str(epoch)
    for entry in system.evidence.book.all_entries() if system.evidence.book else ():
        where = "gateway", name(order_of_key(entry.key))
        seen[where] = f"{seen[where]} and {entry.kind.value}" if where in seen else entry.kind.value
    for service, record in records.items():
        for letter in record.dead_letters.rows.values():
            seen[f"{service} parked", letter.topic] = letter.cause
    for own in system.own:
        for (_group, order), document in records.of_step(own).documents.rows.items():
            seen[own, name(order)] = document
    for topic in system.log.topics():
        seen[LOG, topic] = str(sum(system.log.ends([topic]).values()))
    return seen


def _parts(fulfilment: Fulfilment) -> str:
    """Return the number of parcels, and the kind and state of each refund."""
    refunds = [f"{one.kind.value} {fulfilment.state_of(one).value}" for one in fulfilment.refunds]
    return ", ".join([f"{len(fulfilment.shipments)} shipped", *refunds])


def _arrows(lines: list[Line]) -> Iterator[str]:
    for line in lines:
        who = line.who.rpartition("-")[0] or line.who or "system"
        words = line.what.split()
        if line.is_fault:
            yield f"    Note over {who}: {line.what} !"
        if words[:1] == ["places"]:
            yield f"    customer->>order: place {words[1]}"
        elif words[:1] == ["handles"] and len(words) > 1:
            topic = words[1].partition("/")[0]
            yield f"    {topic.partition('.')[0]}->>{who}: {topic}"
        elif words == ["runs", "tasks"]:
            yield f"    {who}->>{who}: tasks"
        states = [then for then in line.then if not then.startswith("publishes ")]
        if states:
            yield f"    Note over {who}: {', '.join(state.replace(':', '') for state in states)}"


class Digest(Listener):
    """Computes the SHA-256 of a run's trace: each choice, step and point with its virtual time, and the log's bytes."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._printed: Counter[TopicPartition] = Counter()

    def drew(self, label: str, option: str) -> None:
        """Add a choice."""
        self._lines.append(f"drew {label} {option}")

    def begins(self, run: ObservedRun, what: str) -> None:
        """Add a step."""
        self._lines.append(f"{_seconds(run)} {what}")

    def ended(self, run: ObservedRun, what: str) -> None:  # noqa: ARG002 - a parameter of `Listener`
        """Add the new records of the log."""
        log = run.system.log
        for topic in log.topics():
            for place, end in log.ends([topic]).items():
                if self._printed[place] < end:
                    self._lines += map(repr, log.read(place, self._printed[place]))
                    self._printed[place] = end

    def reached(self, worker: Worker, place: str) -> None:
        """Add a point."""
        self._lines.append(f"{worker.owner} {place}")

    def of(self, outcome: Outcome) -> str:
        """Return the digest, including the outcome."""
        ends = [*outcome.violations, *outcome.deviations, outcome.at_s, sorted(outcome.tally.items())]
        return hashlib.sha256("\n".join([*self._lines, *map(str, ends)]).encode()).hexdigest()
