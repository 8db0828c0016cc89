"""A small stand-in for a card provider's HTTP API, for the tests of card_gateway.py: payment intents and refunds."""

from __future__ import annotations

import itertools
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Answer = tuple[int, dict[str, Any]]


class FakeCardApi(ThreadingHTTPServer):
    """Runs on a free port of this machine while the `with` block is open.

    The card `card_declined` is declined. `lose(verb, times)` answers nothing to the next requests of `create`,
    `confirm`, `cancel` or `refund`, though it does what they ask. `forget_keys()` is a day that passes.
    `refuse_refunds(times)` refuses the next refunds.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.intents: dict[str, dict[str, Any]] = {}
        self.refunds: dict[str, dict[str, Any]] = {}
        self._answers: dict[str, tuple[object, Answer]] = {}
        self._to_lose: dict[str, int] = {}
        self._to_refuse = 0
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def __enter__(self) -> FakeCardApi:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.shutdown()
        self.server_close()

    def lose(self, verb: str, times: int = 1) -> None:
        """Do what the next requests ask, and close their connections without an answer."""
        self._to_lose[verb] = times

    def refuse_refunds(self, times: int = 1) -> None:
        """Refuse the next refunds, as a provider does when the card is closed."""
        self._to_refuse = times

    def forget_keys(self) -> None:
        """Forget all idempotency keys, as a provider does after a day."""
        self._answers.clear()

    def answer(self, method: str, path: str, form: dict[str, str], key: str | None) -> Answer | None:
        """Handle one request; None where its answer is to be lost."""
        with self._lock:
            verb, answer = self._once(method, path, form, key)
            if self._to_lose.get(verb, 0) > 0:
                self._to_lose[verb] -= 1
                return None
            return answer

    def _once(self, method: str, path: str, form: dict[str, str], key: str | None) -> tuple[str, Answer]:
        asked = (method, path, form)
        verb = {"payment_intents": "create", "refunds": "refund"}.get(path.rpartition("/")[2], path.rpartition("/")[2])
        if key in self._answers:
            first, answer = self._answers[key]
            return verb, answer if first == asked else _error(400, "this key was used for another request")
        answer = self._post(path, form) if method == "POST" else self._get(path)
        if key is not None:
            self._answers[key] = asked, answer
        return verb, answer

    def _post(self, path: str, form: dict[str, str]) -> Answer:
        match path.removeprefix("/v1/").split("/"):
            case ["payment_intents"]:
                return 200, self._new(self.intents, "pi", form, status="requires_confirmation")
            case ["payment_intents", name, "confirm"]:
                return self._confirm(self.intents[name])
            case ["payment_intents", name, "cancel"]:
                return self._cancel(self.intents[name])
            case ["refunds"]:
                return self._refund(form)
        return _error(404, "no such resource")

    def _get(self, path: str) -> Answer:
        match urlsplit(path).path.removeprefix("/v1/").split("/"):
            case ["payment_intents", name] if name in self.intents:
                return 200, self.intents[name]
            case ["payment_intents"]:
                return 200, _page(self.intents, dict(parse_qsl(urlsplit(path).query)))
            case ["refunds"]:
                return 200, _page(self.refunds, dict(parse_qsl(urlsplit(path).query)))
        return _error(404, "no such resource")

    def _new(
        self, kept: dict[str, dict[str, Any]], prefix: str, form: dict[str, str], **more: object
    ) -> dict[str, Any]:
        made: dict[str, Any] = {"id": f"{prefix}_{next(self._numbers)}", "created": time.time(), **more}
        made["metadata"] = {name[9:-1]: value for name, value in form.items() if name.startswith("metadata[")}
        made |= {name: value for name, value in form.items() if not name.startswith("metadata[")}
        made["amount"] = int(form["amount"])
        kept[made["id"]] = made
        return made

    def _confirm(self, intent: dict[str, Any]) -> Answer:
        if intent["status"] not in ("requires_confirmation", "requires_payment_method"):
            return _error(400, f"the intent is {intent['status']}")
        declined = intent["payment_method"] == "card_declined"
        intent["status"] = "requires_payment_method" if declined else "succeeded"
        return _error(402, "card_declined") if declined else (200, intent)

    def _cancel(self, intent: dict[str, Any]) -> Answer:
        if intent["status"] == "succeeded":
            return _error(400, "the intent is succeeded")
        intent["status"] = "canceled"
        return 200, intent

    def _refund(self, form: dict[str, str]) -> Answer:
        if self._to_refuse > 0:
            self._to_refuse -= 1
            return _error(400, "the card is closed")
        intent = self.intents[form["payment_intent"]]
        given = sum(one["amount"] for one in self.refunds.values() if one["payment_intent"] == intent["id"])
        left = intent["amount"] - given if intent["status"] == "succeeded" else 0
        if int(form["amount"]) > left:
            return _error(400, f"{left} are left")
        return 200, self._new(self.refunds, "re", form, status="succeeded")


def _error(status: int, message: str) -> Answer:
    return status, {"error": {"message": message}}


def _page(kept: dict[str, dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    found = [one for one in kept.values() if query.get("payment_intent") in (None, one.get("payment_intent"))]
    names = [one["id"] for one in found]
    first = names.index(query["starting_after"]) + 1 if "starting_after" in query else 0
    page = found[first : first + int(query["limit"])]
    return {"data": page, "has_more": first + len(page) < len(found)}


class _Handler(BaseHTTPRequestHandler):
    server: FakeCardApi

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._handle(dict(parse_qsl(body)))

    def do_GET(self) -> None:
        self._handle({})

    def _handle(self, form: dict[str, str]) -> None:
        answer = self.server.answer(self.command, self.path, form, self.headers["Idempotency-Key"])
        if answer is None:
            self.close_connection = True
            return
        body = json.dumps(answer[1]).encode()
        self.send_response(answer[0])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass
