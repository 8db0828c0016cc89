"""The wire contract as JSON: payloads in camelCase, CloudEvents headers in binary mode."""

from oms.adapters.wire.codec import JsonCodec
from oms.adapters.wire.names import message_id

__all__ = ["JsonCodec", "message_id"]
