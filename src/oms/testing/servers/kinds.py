"""What is talked about: a server's name, the rung that gave it, and the ways in which none can be had."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

ServerName = Literal["postgres", "redis", "kafka"]
Rung = Literal["urls", "docker", "native"]

NAMES: tuple[ServerName, ...] = ("postgres", "redis", "kafka")
TITLES: dict[ServerName, str] = {"postgres": "PostgreSQL", "redis": "Redis", "kafka": "Kafka"}


class NotHere(RuntimeError):
    """A rung can't give the server; its text is the reason, in one line. The next rung is tried.

    `surprising`: the rung was there, so whoever runs the tests is told that it failed.
    """

    def __init__(self, reason: str, *, surprising: bool = False) -> None:
        super().__init__(reason)
        self.surprising = surprising


class ServersMissing(RuntimeError):
    """No rung can give the server; the text says what was tried and what to install."""


class ServerFailed(RuntimeError):
    """A server that should be there isn't: it didn't start, ended, or doesn't answer; the text has its log's end."""


@frozen
class Server:
    """One server that answers.

    `address` is a URL, of a superuser for PostgreSQL; for Kafka `host:port`. It may hold a password, so it isn't shown.
    `passed_over` has one line for each rung that should have given it and couldn't.
    """

    name: ServerName
    address: str = field(repr=False)
    rung: Rung
    passed_over: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line for a person."""
        return f"{TITLES[self.name]} by {self.rung}" + "".join(f"; {line}" for line in self.passed_over)


def first_line(reason: BaseException) -> str:
    """The first line of an error's text, or its kind where it has none."""
    return next((line.strip() for line in str(reason).splitlines() if line.strip()), type(reason).__name__)
