"""The ids of messages: the same for every copy, whoever sent it, and never shared by two orders."""

from __future__ import annotations

import re

import uuid_utils

from oms.ports.messages import MessageId, Record

_CANONICAL = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Fixed for ever: another value would give every message in every log another id.
_ORDERS = uuid_utils.UUID("5b0d7a3e-6c1f-5d0b-9a53-4f1c5f4f2a10")
_PLACES = uuid_utils.UUID("c2b1f6d4-0e57-5f3a-8b6e-7d9e1a3c4b21")


def message_id(order_id: str, topic: str) -> MessageId:
    """uuid5(order id, topic). An id that is no canonical UUID is first made one, in a namespace of its own.

    Only the canonical lower-case form counts as a UUID: `A...` and `a...` are two orders, and get two ids.
    """
    canonical = _CANONICAL.fullmatch(order_id)
    namespace = uuid_utils.UUID(order_id) if canonical else uuid_utils.uuid5(_ORDERS, order_id)
    return MessageId(str(uuid_utils.uuid5(namespace, topic)))


def place_id(record: Record) -> MessageId:
    """The id of a record that names no order: its place in the log."""
    return MessageId(str(uuid_utils.uuid5(_PLACES, f"{record.topic}/{record.partition}/{record.offset}")))
