"""How long to wait before the next try: a due time, never a sleep."""

from __future__ import annotations

from datetime import datetime, timedelta

FIRST_S = 0.25
LONGEST_S = 60.0


def next_try(now: datetime, attempts: int, *, longest_s: float = LONGEST_S) -> datetime:
    """The due time after `attempts` tries: 0.25 s, doubled each time, at most `longest_s`."""
    return now + timedelta(seconds=min(longest_s, FIRST_S * 2 ** min(attempts - 1, 30)))
