"""The record of a running server, the names of servers and providers, and the errors of starting one."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

ServerName = Literal["postgres", "redis", "kafka"]
Provider = Literal["urls", "docker", "native"]

NAMES: tuple[ServerName, ...] = ("postgres", "redis", "kafka")
TITLES: dict[ServerName, str] = {"postgres": "PostgreSQL", "redis": "Redis", "kafka": "Kafka"}


class ProviderUnavailable(RuntimeError):
    """A provider isn't available for a server; the text is the reason, in one line. The next provider is tried.

    `surprising`: the provider was expected to work (a Docker engine runs), so the test report names its failure.
    """

    def __init__(self, reason: str, *, surprising: bool = False) -> None:
        super().__init__(reason)
        self.surprising = surprising


class ServersMissing(RuntimeError):
    """No provider can start the server; the text says what was tried and what to install."""


class ServerFailed(RuntimeError):
    """A server failed to start, ended, or doesn't accept connections; the text has the end of its log."""


@frozen
class Server:
    """One running server.

    `address` is a URL, of a superuser for PostgreSQL; for Kafka `host:port`. It may hold a password, so it isn't shown.
    `passed_over` has one line for each provider that was expected to start it and failed.
    """

    name: ServerName
    address: str = field(repr=False)
    provider: Provider
    passed_over: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Describe the server in one line."""
        return f"{TITLES[self.name]} by {self.provider}" + "".join(f"; {line}" for line in self.passed_over)


def first_line(reason: BaseException) -> str:
    """Return the first line of an error's text, or the name of its type if it has no text."""
    return next((line.strip() for line in str(reason).splitlines() if line.strip()), type(reason).__name__)
