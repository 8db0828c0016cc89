"""Extensions for the suites: small right ones, and the webhook with a local receiver."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import oms


class Receiver:
    """An HTTP server on loopback that notes the `Oms-Id` of each request and answers with `status`."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.status = 204
        self.hangs = threading.Event()
        self._free = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.hangs.is_set():
                    receiver._free.wait(10)
                    return
                if receiver.status < 300:
                    receiver.got.append(self.headers["Oms-Id"])
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """No lines in the test's output."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    @contextmanager
    def answering(self, status: int) -> Iterator[None]:
        self.status = status
        yield
        self.status = 204

    @contextmanager
    def hanging(self) -> Iterator[None]:
        self.hangs.set()
        yield
        self.hangs.clear()
        self._free.set()

    def close(self) -> None:
        self._free.set()
        self._server.shutdown()
        self._server.server_close()


class MailNotifier(oms.Notifier):
    """A shop's notifier in small: a mailbox in memory that can be down or full."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.error: Exception | None = None

    def send(self, notification: oms.Notification) -> None:
        if self.error is not None:
            raise self.error
        self.got.append(notification.id)


class ListPricing(oms.Pricing):
    """Unit prices by product."""

    prices: Mapping[str, int] = {"sku-a": 250, "sku-b": 1999}

    def price(self, terms: oms.Terms) -> oms.Money:
        try:
            minor = sum(self.prices[sku] * units for sku, units in terms.items.items())
        except KeyError as unknown:
            raise oms.InvalidValue("unknown_product", f"{unknown} isn't for sale") from None
        return oms.Money(minor, terms.total.currency)


class LimitPolicy(oms.Policy):
    """No customer orders more than 100 of a product."""

    def check(self, terms: oms.Terms, caller: oms.Principal) -> None:
        if caller.role is oms.Role.CUSTOMER and max(terms.items.values()) > 100:
            raise oms.Refused("too_many", "at most 100 of a product")


class TokenAuthenticator(oms.Authenticator):
    """Bearer tokens in a dictionary."""

    tokens: Mapping[str, oms.Principal] = {
        "token-of-ann": oms.Principal(oms.Role.CUSTOMER, oms.UserId("ann")),
        "token-of-bob": oms.Principal(oms.Role.CUSTOMER, oms.UserId("bob")),
        "token-of-ops": oms.Principal(oms.Role.OPERATOR),
    }

    def authenticate(self, headers: Mapping[str, str]) -> oms.Principal | None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return self.tokens.get(token) if scheme == "Bearer" else None


KNOWN: Sequence[tuple[dict[str, str], oms.Principal]] = [
    ({"authorization": f"Bearer {token}"}, principal) for token, principal in TokenAuthenticator.tokens.items()
]


class ProxyAuthenticator(oms.Authenticator):
    """A proxy authenticates and names the user in a header."""

    def authenticate(self, headers: Mapping[str, str]) -> oms.Principal | None:
        user = headers.get("x-user", "")
        if not re.fullmatch("[A-Za-z0-9._:-]{1,64}", user):
            return None
        return oms.Principal(oms.Role.CUSTOMER, oms.UserId(user))
