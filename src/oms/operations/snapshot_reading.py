"""Reads the single records of a snapshot: positions, gate, dead letters, outbox, responses and the gateway's book."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime

from oms.application.routing import ROUTING
from oms.domain.payment import order_of_key
from oms.domain.values import OrderId
from oms.engine.dead_letter_copies import original_of
from oms.operations.log_snapshot import microseconds, part_of, written_at
from oms.operations.merging import Grouped, MemorySorter, keys_of
from oms.operations.snapshot_rows import Balance, GateStock, Letter, Member, Passed, Unsent
from oms.ports.evidence import Evidence, GateEvidence, GatewayBook, InventoryEvidence
from oms.ports.gate import GateAnswer
from oms.ports.messages import COPY_PREFIX, Codec, is_copies_topic
from oms.ports.sorting import Row, Sorter
from oms.ports.stores.rows import StoredResponse


def members_of(evidence: Evidence) -> list[Member]:
    """Return all consumers of the log in the order in which they are read: the order service last."""
    services = {name: getattr(evidence, name) for name in ("inventory", "payment", "notification", "order")}
    named = [Member(name, ROUTING[name].group, ROUTING[name].topics, record) for name, record in services.items()]
    steps = [Member(group, group, step.topics, step.record) for group, step in sorted(evidence.steps.items())]
    return [*named[:-1], *steps, named[-1]]


def read_positions(evidence: Evidence, members: Iterable[Member]) -> Passed:
    """Return how far each consumer group has read the log."""
    if evidence.log is None:
        return {}
    known = {member.group: evidence.log.offsets(member.group) for member in members}
    return {group: offsets for group, offsets in known.items() if offsets is not None}


def read_gate(gate: GateEvidence, inventory: InventoryEvidence, sorter: Sorter) -> GateStock:
    """Return the gate's stock, and give the orders that hold stock at the gate to the sorter."""
    before = {row.sku: row for row in inventory.all_stock()}
    if gate.epoch() is None:
        return GateStock(closed=True, available={}, before=before)
    available = dict(gate.all_available())
    for order_id, answer, _ in gate.all_answers():
        if answer is GateAnswer.HELD:
            sorter.add((order_id,))
    return GateStock(closed=False, available=available, before=before)


def read_letters(member: Member) -> Iterator[Letter]:
    """Yield the dead letters of a service, without their content."""
    for one in member.record.all_dead_letters():
        copy_of = original_of(one.headers) if is_copies_topic(one.topic) else None
        yield Letter(member.name, one.id, one.message_id, one.parked_at, one.state, copy_of)


def read_unsent(
    member: Member, codec: Codec, owed: Sorter, copies: set[bytes], since: datetime | None
) -> Iterator[Unsent]:
    """Give all messages that wait to be sent to the sorter, and yield those that wait since before `since`."""
    for row in member.record.all_outbox():
        order_id = (row.message.key or b"").decode(errors="replace")
        if is_copies_topic(row.message.topic):
            copies.add(original_of(row.message.headers))
        else:
            owed.add((order_id, row.message.topic, part_of(row.message, codec)))
        at = written_at(dict(row.message.headers), "ce_time", f"{COPY_PREFIX}parked_at")
        if at is not None and since is not None and at < since:
            yield Unsent(member.name, order_id, row.message.topic, at)


def add_response(response: StoredResponse, sorter: Sorter) -> None:
    """Give the order that a stored response names to the sorter; a refusal names none."""
    try:
        body = json.loads(response.body)
    except ValueError:
        return
    if isinstance(body, dict) and isinstance(body.get("orderId"), str):
        sorter.add((body["orderId"], response.key))


def read_book(book: GatewayBook, sorter: Sorter) -> int:
    """Give the book's lines to the sorter; returns the number of lines whose key belongs to another system."""
    others = 0
    for entry in book.all_entries():
        order_id = order_of_key(entry.key)
        if order_id is None:
            others += 1
        else:
            line = (microseconds(entry.at), entry.kind.value, entry.amount, entry.currency or "")
            sorter.add((order_id, *line, entry.refund_key or ""))
    return others


def balances(book: GatewayBook) -> dict[OrderId, Balance]:
    """Return the balance of each order in the book, all in memory: for few orders."""
    sorter = MemorySorter()
    read_book(book, sorter)
    lines: Grouped[Row] = Grouped((row[0], row[1:]) for row in sorter.rows())
    return {OrderId(key): Balance.of(lines.take(key)) for key in keys_of((lines,))}


def has_any(rows: Iterable[object]) -> bool:
    """Whether there is at least one row; reads no more than that."""
    return next(iter(rows), None) is not None
