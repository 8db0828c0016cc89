"""The gate's Lua scripts, and how they are run. No script text is ever assembled from values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

import attrs
from redis import Redis
from redis.exceptions import NoScriptError, ResponseError

from oms.adapters.redis.connection import chunks
from oms.adapters.redis.driver_errors import translated_errors

CALLS_AT_ONCE = 500
"""Calls that are sent before their replies are read."""


@attrs.frozen
class Script:
    """One script, which Redis identifies by `sha`."""

    text: str
    sha: str

    @classmethod
    @cache
    def named(cls, name: str) -> Script:
        """The script of `lua/<name>.lua`. Its first line holds its flags; the shared functions follow it."""
        flags, rules = _read(name).split("\n", 1)
        return cls.of(f"{flags}\n{_read('shared')}\n{rules}")

    @classmethod
    def of(cls, text: str) -> Script:
        """The script with this text."""
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


Call = tuple[str | int, ...]
"""The ARGV of a script."""


@attrs.frozen
class ScriptRunner:
    """Runs scripts of one gate in bounded pipelines, and translates the driver's errors."""

    client: Redis = attrs.field(repr=False)
    head: str
    """The key that each script gets as KEYS[1]."""

    def run(self, name: str, calls: Iterable[Call]) -> list[Any]:
        """Run a script once for each call, in their order; raises the first error of a pipeline."""
        script = Script.named(name)
        with translated_errors:
            return [reply for some in chunks(calls, CALLS_AT_ONCE) for reply in self._run(script, some)]

    def _run(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        replies = self._send(script, calls)
        if any(isinstance(reply, NoScriptError) for reply in replies):
            self.client.script_load(script.text)
            replies = self._send(script, calls)  # calls that ran the first time give the same reply again
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return replies

    def _send(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        with self.client.pipeline(transaction=False) as pipeline:
            for call in calls:
                pipeline.evalsha(script.sha, 1, self.head, *call)
            return pipeline.execute(raise_on_error=False)


def _read(name: str) -> str:
    return (files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8")
