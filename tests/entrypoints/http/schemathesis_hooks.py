"""What no OpenAPI document can say: a client uses an idempotency key for one request, and makes another for the next."""

from __future__ import annotations

import re
import uuid
from typing import Any

import schemathesis

VALID = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")


def use_every_key_once(case: Any) -> None:
    """Invalid keys stay as they are: they are to be refused."""
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and VALID.fullmatch(key):
        case.headers["Idempotency-Key"] = str(uuid.uuid4())


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """For `st run`."""
    use_every_key_once(case)
