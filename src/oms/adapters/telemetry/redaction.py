"""Masks secrets in log lines: by the names of fields, by patterns in texts, and by known values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any

from oms.settings.kinds import IN_QUERY, MASK

_NAMES = re.compile(r"authorization|api[-_]?key|secret|password|passwd|token|dsn|credential|cookie", re.IGNORECASE)
_SHAPES = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {MASK}"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]+:)[^\s@/]+@"), rf"\1{MASK}@"),
    (IN_QUERY, rf"\1{MASK}"),
    (re.compile(r"\boms_[A-Za-z0-9_-]{20,}"), MASK),
)
_SUSPECT = re.compile(r"(?i)bearer|basic|://|oms_|[\r\n]|[?&][a-z0-9_.-]+=")
"""Matches every text that a pattern of `_SHAPES` may match, or that has several lines. Most texts match nothing."""

_SHORTEST = 4
"""Characters of the shortest known secret that is masked; a shorter secret would mask ordinary words."""


@lru_cache(maxsize=1000)
def _is_secret(name: str) -> bool:
    return _NAMES.search(name) is not None


class Redaction:
    """Masks secrets in the fields of a log line."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted((secret for secret in secrets if len(secret) >= _SHORTEST), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, _logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """A structlog processor."""
        return {name: self._value(name, value) for name, value in line.items()}

    def is_clean(self, lines: Iterable[Mapping[str, object]]) -> bool:
        """Whether no line has anything to mask, as in most batches; it searches the texts of all lines together."""
        values: list[str] = []
        for line in lines:
            if any(_is_secret(name) for name in line):
                return False
            for value in line.values():
                if isinstance(value, str):
                    values.append(value)
                elif not (value is None or isinstance(value, bool | int | float)):
                    return False
        text = "\0".join(values)
        return _SUSPECT.search(text) is None and (self._known is None or self._known.search(text) is None)

    def text(self, text: str) -> str:
        """A text without secrets, on one line, so that it can't forge another log line."""
        return self._masked(text).replace("\r", "\\r").replace("\n", "\\n")

    def traceback(self, text: str) -> str:
        """A traceback without secrets. Its lines are indented, so that none looks like a log line of its own."""
        return "\n".join(f"  {line}" for line in self._masked(text).splitlines())

    def _masked(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(MASK, text)
        if _SUSPECT.search(text) is None:
            return text
        for shape, replacement in _SHAPES:
            text = shape.sub(replacement, text)
        return text

    def _value(self, name: str, value: Any) -> Any:
        if _is_secret(name):
            return MASK
        if isinstance(value, str):
            return self.traceback(value) if name == "exception" else self.text(value)
        if isinstance(value, dict):
            return {key: self._value(str(key), inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._value("", inner) for inner in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.text(str(value))
