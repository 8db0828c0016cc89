"""The ids of messages: the same for every copy, from any sender, and never shared by two orders."""

from __future__ import annotations

import uuid_utils

from oms.ports.messages import AnyEvent, MessageId, Record

# These must never change: another value would change the id of every message in every log.
_ORDERS = uuid_utils.UUID("5b0d7a3e-6c1f-5d0b-9a53-4f1c5f4f2a10")
_POSITIONS = uuid_utils.UUID("c2b1f6d4-0e57-5f3a-8b6e-7d9e1a3c4b21")


def message_id(order_id: str, topic: str) -> MessageId:
    """uuid5(order id, topic). An order id that isn't a canonical UUID is first turned into one, in its own namespace.

    Only the canonical lower-case form counts as a UUID, because `A...` and `a...` are two orders with two ids.
    """
    return MessageId(str(uuid_utils.uuid5(_canonical(order_id) or uuid_utils.uuid5(_ORDERS, order_id), topic)))


def event_id(event: AnyEvent) -> MessageId:
    """The id of an event's message: `message_id`, of topic and part (`topic/part`) for an event about a part."""
    part = event.part
    return message_id(event.order_id, f"{event.topic}/{part}" if part else event.topic)


def _canonical(order_id: str) -> uuid_utils.UUID | None:
    """The UUID of which `order_id` is the canonical form; None if it isn't one."""
    if len(order_id) != 36:
        return None
    try:
        found = uuid_utils.UUID(order_id)
    except ValueError:
        return None
    return found if str(found) == order_id else None


def position_id(record: Record) -> MessageId:
    """The id of a record without an order id, made from its position in the log."""
    return MessageId(str(uuid_utils.uuid5(_POSITIONS, f"{record.topic}/{record.partition}/{record.offset}")))
