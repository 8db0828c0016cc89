"""The longest text, in characters, that each stored field may have.

One list for every store: `adapters/sql/stores/tables.py` takes its columns' lengths from it, and the memory stores
refuse the same values, so that a test in memory fails where PostgreSQL would.
"""

from __future__ import annotations

ID = 64
"""An order, user, product, payment or message id; a consumer group."""

TOKEN = 36
"""A generated name: an outbox row, a lease, a dead letter."""

INSTANCE = 255
"""The name of an instance, which may be a host name."""

TOPIC = 128
"""A topic. Kafka itself allows 249 characters."""

STATE = 16
"""The name of a state or a kind of record."""

REASON = 32
"""The name of a reason or a trigger."""

CURRENCY = 3
"""An ISO 4217 code."""

TASK_KEY = 200
"""The key of a task; the id of a notification."""

TRACE = 64
"""A W3C `traceparent`."""

HEADER = 500
"""The name of a dead letter's header."""

CAUSE = 128
"""The name of an error's type."""

KEY = 255
"""A caller's idempotency key."""

SCOPE = 160
"""Caller and route of an idempotency key."""

FINGERPRINT = 64
"""A SHA-256 digest in hexadecimal."""

DOCUMENT_KEY = 128
"""The key of a step's document."""
