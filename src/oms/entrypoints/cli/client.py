"""Talks to the HTTP API of a running system."""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

import urllib3

DEFAULT_URL = "http://127.0.0.1:8081"


class Client:
    """One running system. What it refuses ends the command with its own words: exit 1, or 3 where nobody answers."""

    def __init__(self, url: str, key: str | None) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(total=30))

    def ask(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Any:
        """The JSON of the answer."""
        sent = {**self._headers, **(headers or {})}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        try:
            response = self._pool.request(method, self._url + path, body=data, headers=sent)
        except urllib3.exceptions.HTTPError as error:
            give_up(f"{self._url} can't be reached ({type(error).__name__})", 3)
        answer = json.loads(response.data) if response.data else None
        if response.status >= 400:
            detail = answer.get("detail", response.status) if isinstance(answer, dict) else response.status
            code = f" [{answer['code']}]" if isinstance(answer, dict) and "code" in answer else ""
            give_up(f"{detail}{code}", 1)
        return answer


def give_up(line: str, code: int) -> NoReturn:
    """End the command with one line on stderr."""
    sys.stderr.write(f"oms: {line}\n")
    raise SystemExit(code)
