"""A client of a running system's HTTP API."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Annotated, Any, NoReturn
from urllib.parse import quote

import attrs
from cyclopts import Parameter

from oms.entrypoints.cli.output import give_up, to_json

DEFAULT_URL = "http://127.0.0.1:8081"
TIMEOUT_S = 30.0
REFUSED, WRONG_USE, UNREACHABLE = 1, 2, 3
"""Exit codes: the system refused the request, the command was wrong, the system can't be reached."""

_HINTS = {"order_legacy": "; `oms orders cancel --operator` cancels it"}
"""Hints on how to act on a refusal, by its code."""


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Remote:
    """The system that a command talks to, and the form of its output."""

    url: Annotated[str, Parameter(env_var="OMSCTL_URL", help="URL of the system.")] = DEFAULT_URL
    key: Annotated[
        str | None,
        Parameter(
            env_var="OMSCTL_KEY",
            help="API key. Prefer the environment variable: other users can see the options of a process.",
        ),
    ] = None
    json: Annotated[bool, Parameter(negative="", help="Print the response as JSON.")] = False

    def request(self, method: str, path: str, body: object = None, *, idempotency_key: str | None = None) -> Any:
        """Send a request and return the JSON of the response. A refusal ends the command with the system's message."""
        headers = self._credentials()
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = to_json(body)
        status, answered = self._send(method, path, data, headers)
        try:
            # Decimal keeps the digits of an amount; a float would round large ones.
            answer = json.loads(answered, parse_float=Decimal)
        except (ValueError, RecursionError):
            self.not_understood(status)
        if status >= 400:
            said = answer if isinstance(answer, dict) else {}
            code = said.get("code", status)
            give_up(f"{said.get('detail', 'refused')} [{code}]{_HINTS.get(str(code), '')}", REFUSED)
        return answer

    def health(self) -> tuple[int, Any]:
        """Return the status (200 or 503) and the JSON of `/readyz`."""
        status, answered = self._send("GET", "/readyz", None, self._credentials())
        try:
            return status, json.loads(answered)
        except (ValueError, RecursionError):
            self.not_understood(status)

    def not_understood(self, status: int = 200) -> NoReturn:
        """End the command because the response isn't one of this API."""
        give_up(f"{self.url} answered {status}, but not as an order management system does", REFUSED)

    def _credentials(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    @contextmanager
    def reading(self) -> Iterator[None]:
        """End the command if the block finds that a field of the response is missing or of another type."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
            self.not_understood()

    def _send(self, method: str, path: str, data: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        if not self.url.startswith(("http://", "https://")):
            give_up(f"--url {self.url!r} is not an http or https address", WRONG_USE)
        import urllib3
        from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

        pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=5.0, read=TIMEOUT_S))
        try:
            response = pool.request(method, self.url.rstrip("/") + path, body=data, headers=headers)
        except (NewConnectionError, ConnectTimeoutError):
            give_up(f"{self.url} can't be reached; is `oms serve` running there?", UNREACHABLE)
        except HTTPError as error:
            unknown = "" if method == "GET" else "; whether it took effect isn't known"
            give_up(f"{self.url} gave no answer ({type(error).__name__}){unknown}", UNREACHABLE)
        return response.status, response.data


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class InventoryRemote(Remote):
    """The system, or its inventory service if each service runs in a separate process."""

    url: Annotated[
        str,
        Parameter(
            env_var=["OMSCTL_INVENTORY_URL", "OMSCTL_URL"], help="URL of the system, or of its inventory service."
        ),
    ] = DEFAULT_URL


HERE = Remote()

Order = Annotated[str, Parameter(help="The order's id.")]
Key = Annotated[
    str | None,
    Parameter(name="--idempotency-key", help="Repeating the command with this key has no second effect, for 24 h."),
]
Number = Annotated[int, Parameter(name="--page", help="Number of the page, from 0.")]
Size = Annotated[int, Parameter(name="--size", help="Rows of a page, at most 100.")]


def amount_of(text: str, option: str = "--amount") -> Decimal:
    """Return the amount of money in a text such as `12` or `12.50`."""
    if not re.fullmatch(r"-?[0-9]{1,20}(\.[0-9]{1,20})?", text.strip()):
        give_up(f"{option} {text}: a number such as 12.50 is wanted", WRONG_USE)
    return Decimal(text.strip())


def segment(name: str) -> str:
    """Return a name as one segment of a URL's path."""
    return quote(name, safe="")
