"""The signatures of the webhook notifier's posts, and their verification by receivers.

`Oms-Signature` is `v1=` and the hex HMAC-SHA256, under the shared secret, of `Oms-Timestamp`, a dot and the raw body.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import TypeGuard

MAX_TIMESTAMP = 12
"""Most digits of a timestamp in seconds: enough for 30,000 years."""


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return the value of `Oms-Signature`."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"v1={digest}"


def verify_signature(
    secret: str, headers: Mapping[str, str], body: bytes, now: datetime, *, tolerance_s: float = 300
) -> bool:
    """For receivers: return whether the holder of `secret` signed a post at most `tolerance_s` seconds before `now`.

    The names in `headers` may be in upper or lower case. Returns False, and never raises, for malformed headers.
    """
    try:
        known = {str(name).lower(): value for name, value in headers.items()}
        timestamp, given = known.get("oms-timestamp"), known.get("oms-signature")
        if not (_is_timestamp(timestamp) and isinstance(given, str) and given.isascii()):
            return False
        if not abs(now.timestamp() - int(timestamp)) <= tolerance_s:
            return False
        return hmac.compare_digest(signature(secret, timestamp, body), given)
    except (TypeError, ValueError, AttributeError, OverflowError):
        return False


def _is_timestamp(text: object) -> TypeGuard[str]:
    return isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= MAX_TIMESTAMP
