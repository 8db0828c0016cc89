"""Violations of promises, in a bounded number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import attrs

MOST_LISTED = 1000
"""Violations of one promise that are kept one by one; the others are counted."""


@attrs.frozen
class Violation:
    """A broken promise: its id, its subject and what was found.

    `order`, `topic`, `partition` and `offset` are set if it is about an order or a message in the log.
    """

    promise: str
    subject: str
    detail: str
    order: str = ""
    topic: str = ""
    partition: int | None = None
    offset: int | None = None

    def __str__(self) -> str:
        return f"{self.promise} {self.subject}: {self.detail}"


class Violations:
    """Collects violations in a bounded amount of memory."""

    def __init__(self) -> None:
        self._listed: list[Violation] = []
        self._counts: Counter[str] = Counter()

    def add(self, violation: Violation) -> None:
        """Add a violation."""
        self._counts[violation.promise] += 1
        if self._counts[violation.promise] <= MOST_LISTED:
            self._listed.append(violation)

    def extend(self, violations: Iterable[Violation]) -> None:
        """Add several violations."""
        for violation in violations:
            self.add(violation)

    def merged(self, other: Violations) -> Sequence[Violation]:
        """Return all listed violations of both, and one line for each promise that has more than are listed."""
        listed = [*self._listed, *other._listed]
        kept = Counter(violation.promise for violation in listed)
        counts = self._counts + other._counts
        more = [(promise, count - kept[promise]) for promise, count in sorted(counts.items())]
        left_out = [Violation(promise, "others", f"{count} more violations") for promise, count in more if count]
        return [*listed, *left_out]
