"""Limits that several adapters share: of messages, of idempotency keys, and of the text in each stored field.

The length of a text is in characters. `adapters/sql` takes the lengths of its columns from this list, and the memory
stores refuse the same values, so that a test in memory fails where PostgreSQL would.
"""

from __future__ import annotations

from datetime import timedelta

MAX_MESSAGE_BYTES = 1_048_576
"""Limit of a message's value and headers together, in bytes, in all logs: Apache Kafka's default limit of a batch."""

MAX_KEY_BYTES = 65_536
"""Limit of a message's key, in bytes. The keys of `oms` are order ids, which are much shorter."""

IDEMPOTENCY_KEYS_KEPT = timedelta(hours=24)
"""The time for which every store keeps the response to an idempotency key. Afterwards the key may be used again."""

ID = 64
"""An order, user, product, payment or message id; a consumer group."""

TOKEN = 36
"""A generated id: of an outbox row, a lease or a dead letter."""

REFERENCE = ID + 1 + TOKEN
"""The reference of a row of the stock ledger: the longest is a refund's, an order id, a slash and a generated id."""

INSTANCE = 255
"""The name of an instance; may be a host name."""

TOPIC = 128
"""The name of a topic. Kafka itself allows 249 characters."""

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
"""The scope of an idempotency key: caller and route."""

FINGERPRINT = 64
"""The fingerprint of a request: a SHA-256 digest in hexadecimal."""

DOCUMENT_KEY = 128
"""The key of a step's document."""
