"""What a check of a server or a setting reports to an operator."""

from __future__ import annotations

from enum import Enum

import attrs


class Severity(Enum):
    """How serious a finding is."""

    WARNING = "warning"
    """An operator should know it; the service works."""

    ERROR = "error"
    """It keeps a service from working."""


@attrs.frozen
class Finding:
    """One line for an operator."""

    text: str
    severity: Severity = Severity.ERROR

    @property
    def is_warning(self) -> bool:
        """Whether the service works nevertheless."""
        return self.severity is Severity.WARNING

    def __str__(self) -> str:
        """Return the line as a command prints it."""
        return f"warning: {self.text}" if self.is_warning else self.text


def warning(text: str) -> Finding:
    """Return a finding that keeps nothing from working."""
    return Finding(text, Severity.WARNING)
