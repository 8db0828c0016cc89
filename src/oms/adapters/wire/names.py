"""The ids of messages: the same for every copy, whoever sent it, and never shared by two orders."""

from __future__ import annotations

import uuid_utils

from oms.ports.messages import MessageId, Record

# Fixed for ever: another value would give every message in every log another id.
_ORDERS = uuid_utils.UUID("5b0d7a3e-6c1f-5d0b-9a53-4f1c5f4f2a10")
_PLACES = uuid_utils.UUID("c2b1f6d4-0e57-5f3a-8b6e-7d9e1a3c4b21")


def message_id(order_id: str, topic: str) -> MessageId:
    """uuid5(order id, topic). An id that is no canonical UUID is first made one, in a namespace of its own.

    Only the canonical lower-case form counts as a UUID: `A...` and `a...` are two orders, and get two ids.
    """
    return MessageId(str(uuid_utils.uuid5(_canonical(order_id) or uuid_utils.uuid5(_ORDERS, order_id), topic)))


def _canonical(order_id: str) -> uuid_utils.UUID | None:
    """The UUID whose canonical form this is: read, and compared with how it is written."""
    if len(order_id) != 36:
        return None
    try:
        found = uuid_utils.UUID(order_id)
    except ValueError:
        return None
    return found if str(found) == order_id else None


def place_id(record: Record) -> MessageId:
    """The id of a record that names no order: its place in the log."""
    return MessageId(str(uuid_utils.uuid5(_PLACES, f"{record.topic}/{record.partition}/{record.offset}")))
