"""Findings: problems that a check of a server or a setting reports to an operator."""

from __future__ import annotations

from enum import Enum

import attrs


class Severity(Enum):
    """The severity of a finding."""

    WARNING = "warning"
    """An operator should know about it; the service works."""

    ERROR = "error"
    """The service can't work."""


@attrs.frozen
class Finding:
    """One problem, as one line of text for an operator."""

    text: str
    severity: Severity = Severity.ERROR

    @property
    def is_warning(self) -> bool:
        """Whether the service can work despite this finding."""
        return self.severity is Severity.WARNING

    def __str__(self) -> str:
        """Return the line as a command prints it."""
        return f"warning: {self.text}" if self.is_warning else self.text


def warning(text: str) -> Finding:
    """Return a finding of severity WARNING."""
    return Finding(text, Severity.WARNING)
