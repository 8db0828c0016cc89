"""The gate's Lua, read from the package. Nothing is ever put together from values."""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from importlib.resources import files

import attrs


@attrs.frozen
class Script:
    """One script; Redis knows it by `sha`."""

    text: str
    sha: str

    @classmethod
    @cache
    def named(cls, name: str) -> Script:
        """The script of `lua/<name>.lua`, with the shared beginning after its first line (which holds its flags)."""
        flags, rules = _read(name).split("\n", 1)
        return cls.of(f"{flags}\n{_read('open')}\n{rules}")

    @classmethod
    def of(cls, text: str) -> Script:
        """A script by its text."""
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


def _read(name: str) -> str:
    return (files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8")
