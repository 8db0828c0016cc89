"""Adapters to the outside: gateway, webhook, API keys, log lines and settings. No secret is disclosed."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oms
from oms.adapters.auth.authenticators import ApiKeys
from oms.adapters.auth.keys_file import new_key
from oms.adapters.gateways.book import Book, MemoryBook
from oms.adapters.gateways.script import ScriptError, read_script
from oms.adapters.gateways.simulated import SimulatedGateway
from oms.adapters.gateways.sqlite_book import SqliteBook
from oms.adapters.memory.clock import ManualClock
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.adapters.notifiers.webhook import WebhookNotifier
from oms.adapters.telemetry.logs_and_metrics import StructlogTelemetry
from oms.settings.settings import load_settings, settings_table

CANARY = "canary-5f2e9c71d8"
USD = oms.Currency.of("USD")


def charge(number: int = 1) -> oms.Charge:
    return oms.Charge(key=f"oms-{number}", **of_order(number))


def lookup(number: int = 1) -> oms.Lookup:
    return oms.Lookup(key=f"oms-{number}", **of_order(number))


def void(number: int = 1) -> oms.Void:
    return oms.Void(key=f"oms-{number}", **of_order(number))


def refund(number: int = 1, *, key: str | None = None, amount: int = 500) -> oms.Refund:
    charge_key = f"oms-{number}"
    order = {**of_order(number), "amount": oms.Money(amount, USD)}
    return oms.Refund(key=key or charge_key, charge_key=charge_key, payment_id="p", **order)


def of_order(number: int) -> dict[str, Any]:
    return {"order_id": oms.OrderId(str(number)), "user_id": oms.UserId("u"), "amount": oms.Money(500, USD)}


@pytest.fixture(params=["memory", "sqlite"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Book]:
    made: Book = MemoryBook() if request.param == "memory" else SqliteBook(tmp_path / "gateway.db")
    yield made
    made.close()


def test_a_charge_is_made_once_for_a_key_however_many_ask(book: Book) -> None:
    gateway = SimulatedGateway(book, ManualClock(), success_rate=1.0)
    with ThreadPoolExecutor(32) as pool:
        answers = set(pool.map(lambda _: gateway.charge(charge()), range(200)))
    assert len(answers) == 1
    assert [entry.kind.value for entry in gateway.all_entries()] == ["CAPTURE"]
    assert gateway.refund(refund()) == gateway.refund(refund()) == oms.Refunded()
    assert [entry.kind.value for entry in gateway.all_entries()] == ["CAPTURE", "REFUND"]


def test_a_void_keeps_its_promise(book: Book) -> None:
    gateway = SimulatedGateway(book, ManualClock(), success_rate=1.0)
    assert gateway.void(void()) == oms.Voided()
    assert gateway.charge(charge()) == oms.Declined("voided")
    assert isinstance(gateway.charge(charge(2)), oms.Captured)
    assert isinstance(gateway.void(void(2)), oms.Captured)


def test_a_late_capture_is_not_found_until_it_shows(book: Book) -> None:
    clock = ManualClock()
    gateway = SimulatedGateway(book, clock, success_rate=1.0)
    gateway.on("1").late(20)
    assert isinstance(gateway.charge(charge()), oms.Unanswered)
    assert gateway.lookup(lookup()) == oms.UnknownCharge()
    clock.advance(timedelta(seconds=21))
    assert isinstance(gateway.lookup(lookup()), oms.Captured)


def test_the_success_rate_is_kept_and_repeats_agree(book: Book) -> None:
    gateway = SimulatedGateway(book, ManualClock(), success_rate=0.8)
    first = [type(gateway.charge(charge(n))) for n in range(500)]
    assert 360 <= first.count(oms.Captured) <= 440
    assert [type(gateway.lookup(lookup(n))) for n in range(500)] == first


def test_a_book_outlives_its_process(tmp_path: Path) -> None:
    first = SimulatedGateway(SqliteBook(tmp_path / "g.db"), ManualClock(), success_rate=1.0)
    answer = first.charge(charge())
    first.close()
    second = SimulatedGateway(SqliteBook(tmp_path / "g.db"), ManualClock(), success_rate=0.0)
    assert second.charge(charge()) == answer
    assert len(list(SqliteBook.read_only(tmp_path / "g.db").all_entries())) == 1


def test_a_script_selects_by_user_and_metadata(tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text(json.dumps([{"user": "u", "behaviour": "decline", "times": 1}]))
    gateway = SimulatedGateway(MemoryBook(), ManualClock(), success_rate=1.0, script=read_script(path))
    assert isinstance(gateway.charge(charge(1)), oms.Declined)
    assert isinstance(gateway.charge(charge(2)), oms.Captured)


@pytest.mark.parametrize("entry", ["x", {"behaviour": "sulk"}, {"behaviour": "late", "seconds": -1}, {"who": 1}])
def test_a_wrong_script_is_one_clear_line(tmp_path: Path, entry: object) -> None:
    path = tmp_path / "script.json"
    path.write_text(json.dumps([entry]))
    with pytest.raises(ScriptError, match="entry 1") as refused:
        read_script(path)
    assert "\n" not in str(refused.value)


class Receiver(HTTPServer):
    status = 200
    slow_s = 0.0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[dict[str, str], bytes]] = []


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((dict(self.headers), body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "20")
        self.end_headers()
        for _ in range(20):
            time.sleep(self.server.slow_s)
            try:
                self.wfile.write(b".")
                self.wfile.flush()
            except OSError:
                return

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


NOTE = oms.Notification(
    "o:order.confirmed", oms.OrderId("o"), oms.UserId("u"), "order.confirmed", oms.Money(1250, USD), None, {"k": "v"}
)


def test_a_webhook_is_signed_over_time_and_raw_body(receiver: Receiver) -> None:
    clock = ManualClock()
    WebhookNotifier(f"http://127.0.0.1:{receiver.server_port}/", CANARY, clock).send(NOTE)
    ((headers, body),) = receiver.got
    assert json.loads(body)["amount"] == 12.5
    assert headers["Oms-Id"] == NOTE.id
    assert oms.verify_signature(CANARY, headers, body, clock.now())
    assert not oms.verify_signature(CANARY, headers, body + b" ", clock.now())
    assert not oms.verify_signature("other", headers, body, clock.now())
    assert not oms.verify_signature(CANARY, headers, body, clock.now() + timedelta(minutes=6))
    assert CANARY not in str(headers) + body.decode()


@pytest.mark.parametrize(
    ("status", "kind"), [(500, oms.Retryable), (429, oms.Retryable), (400, oms.Permanent), (410, oms.Permanent)]
)
def test_what_a_webhook_answers(receiver: Receiver, status: int, kind: type[Exception]) -> None:
    receiver.status = status
    with pytest.raises(kind) as refused:
        WebhookNotifier(f"http://127.0.0.1:{receiver.server_port}/", CANARY, ManualClock()).send(NOTE)
    assert CANARY not in str(refused.value)


def test_a_receiver_that_cannot_be_reached_is_tried_again() -> None:
    with pytest.raises(oms.Retryable):
        WebhookNotifier("http://127.0.0.1:9/", CANARY, ManualClock(), timeout_s=1).send(NOTE)


def test_api_keys(tmp_path: Path) -> None:
    clock, telemetry, path = ManualClock(), RecordingTelemetry(), tmp_path / "keys.json"
    key, entry = new_key("shop", oms.Role.CUSTOMER, "ann")
    old, old_entry = new_key("old", oms.Role.OPERATOR)
    path.write_text(json.dumps([entry, old_entry | {"expires": "2020-01-01T00:00:00+00:00"}]))
    keys = ApiKeys(path, clock, telemetry)

    assert keys.authenticate({"authorization": f"Bearer {key}"}) == oms.Principal(oms.Role.CUSTOMER, oms.UserId("ann"))
    assert keys.authenticate({"x-api-key": key}) is not None
    assert keys.authenticate({"x-api-key": old}) is None
    assert keys.authenticate({"x-api-key": "wrong"}) is None
    assert keys.authenticate({}) is None
    assert key not in path.read_text()

    path.write_text("broken")
    assert keys.authenticate({"x-api-key": key}) is not None, "a file that is broken later changes nothing"
    assert len(telemetry.alerts) == 1
    with pytest.raises(oms.SettingsError):
        ApiKeys(path, clock, telemetry)


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_reaches_the_log(form: str) -> None:
    stream = io.StringIO()
    telemetry = StructlogTelemetry(form=form, secrets=[CANARY], stream=stream)
    telemetry.note("started", url=f"https://user:{CANARY}@host/", password="plain-secret", detail=f"x {CANARY} y")
    telemetry.alert("failed", cause=f"ValueError: {CANARY}", nested={"token": "plain-secret", "list": [CANARY]})
    telemetry.note("header", value="Bearer abcdefgh12345678")
    telemetry.note("forged", text="a\nINFO forged line")

    text = stream.getvalue()
    assert CANARY not in text
    assert "plain-secret" not in text
    assert "abcdefgh12345678" not in text
    assert len(text.strip().splitlines()) == 4


@pytest.mark.parametrize("form", ["json", "console"])
@given(st.text(st.characters() | st.sampled_from("\x1b\x7f\x9b\u202e\u2066\ud83d\x08"), max_size=30))
def test_no_text_in_the_log_controls_a_terminal(form: str, text: str) -> None:
    stream = io.StringIO()
    telemetry = StructlogTelemetry(form=form, stream=stream)
    telemetry.note("note", text=text, nested={"text": [text]})
    telemetry.note_all([("many", {"text": text})])
    telemetry.failure("failure", ValueError(text), text=text)
    assert stream.getvalue().replace("\n", "").isprintable(), ascii(stream.getvalue())


SECRETIVE: list[dict[str, object]] = [
    {"detail": f"x {CANARY} y"},
    {"password": "plain-secret"},
    {"url": "https://user:plain-secret@host/"},
    {"nested": {"token": "plain-secret"}},
    {"text": "Bearer plain-secret"},
    {"text": "a\nINFO forged line"},
]


@pytest.mark.parametrize("fields", SECRETIVE)
def test_one_line_with_a_secret_has_its_whole_batch_masked(fields: dict[str, object]) -> None:
    stream = io.StringIO()
    telemetry = StructlogTelemetry(secrets=[CANARY], stream=stream)
    telemetry.note_all([("reserved", {"order_id": "o-1"}), ("odd", fields), ("reserved", {"order_id": "o-2"})])
    text = stream.getvalue()
    assert CANARY not in text
    assert "plain-secret" not in text
    assert len(text.strip().splitlines()) == 3


class Hostile(Exception):
    """An error whose text is whatever a user's code, or a stranger behind it, made it."""

    def __str__(self) -> str:
        if self.args[0] is None:
            raise RuntimeError("no text")
        return str(self.args[0])


HOSTILE = [None, "x" * 10**6, "half \ud83d\x00", "a\nINFO forged\r\u2028line", f"{CANARY} Bearer plain-secret"]


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("text", HOSTILE)
def test_a_failure_has_a_traceback_whatever_its_error_says(form: str, text: str | None) -> None:
    stream = io.StringIO()
    telemetry = StructlogTelemetry(form=form, secrets=[CANARY], stream=stream)
    try:
        raise ValueError("the cause") from Hostile(text)
    except ValueError as error:
        error.__cause__.__cause__ = error  # type: ignore[union-attr]
        telemetry.failure("call failed", error, order_id="o-1", attempt=1)
    output = stream.getvalue()
    assert output.encode()
    assert CANARY not in output
    assert "plain-secret" not in output
    assert len(output) < 20_000
    first, *others = output.splitlines()
    assert "call failed" in first
    if form == "json":
        line = json.loads(first)
        assert others == []
        assert (line["level"], line["error"], line["order_id"]) == ("warning", "ValueError", "o-1")
        assert "test_outside.py" in line["exception"]
    assert not [line for line in others if line and not line.startswith(("  ", "\x1b["))]


def test_failures_are_left_out_above_their_level() -> None:
    stream = io.StringIO()
    StructlogTelemetry(level="error", stream=stream).failure("call failed", ValueError("no"))
    assert stream.getvalue() == ""


def test_the_lines_of_a_batch_are_as_if_they_came_alone() -> None:
    together, alone = io.StringIO(), io.StringIO()
    notes: list[tuple[str, dict[str, object]]] = [("reserved", {"order_id": "ö-1", "units": 3}), ("sent", {"to": None})]
    StructlogTelemetry(stream=together).note_all(notes)
    for event, fields in notes:
        StructlogTelemetry(stream=alone).note(event, **fields)

    def output(stream: io.StringIO) -> list[dict[str, object]]:
        return [{**json.loads(line), "timestamp": ""} for line in stream.getvalue().splitlines()]

    assert output(together) == output(alone)


WRONG = [
    ({"OMS_PAYMENT_SUCCESS_RATE": "1.5"}, "OMS_PAYMENT_SUCCESS_RATE"),
    ({"OMS_PAYMENT_SUCESS_RATE": "1"}, "OMS_PAYMENT_SUCCESS_RATE"),
    ({"OMS_HTTP_PORT": "many"}, "OMS_HTTP_PORT"),
    ({"OMS_PROFILE": "cloud"}, "OMS_PROFILE"),
    ({"OMS_CURRENCY": "dollars"}, "OMS_CURRENCY"),
    ({"OMS_NOTIFIER": "webhook"}, "OMS_WEBHOOK_URL"),
]


@pytest.mark.parametrize(("environ", "named"), WRONG)
def test_a_wrong_setting_is_one_line_that_names_it(environ: dict[str, str], named: str) -> None:
    with pytest.raises(oms.SettingsError) as refused:
        load_settings(environ)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


def _service_links(service: str, port: int = 8081) -> dict[str, str]:
    """The variables that Kubernetes adds for a service."""
    stem = service.upper().replace("-", "_")
    url = f"tcp://10.0.0.7:{port}"
    return {
        f"{stem}_SERVICE_HOST": "10.0.0.7",
        f"{stem}_SERVICE_PORT": str(port),
        f"{stem}_SERVICE_PORT_WEB": str(port),
        f"{stem}_PORT": url,
        f"{stem}_PORT_{port}_TCP": url,
        f"{stem}_PORT_{port}_TCP_PROTO": "tcp",
        f"{stem}_PORT_{port}_TCP_PORT": str(port),
        f"{stem}_PORT_{port}_TCP_ADDR": "10.0.0.7",
    }


@pytest.mark.parametrize(
    "service", ["oms", "oms-service", "oms-redis", "oms-order", "oms-http", "oms-kafka-conf", "oms-postgres-url"]
)
def test_the_service_links_of_kubernetes_are_no_settings(service: str) -> None:
    assert load_settings(_service_links(service)) == load_settings({})
    assert load_settings({**_service_links(service), "OMS_HTTP_PORT": "9000"}).http_port == 9000


@pytest.mark.parametrize("name", ["OMS_HTPP_PORT", "OMS_REDIS_SERVICE_PORT", "OMS_REDIS_PORT_6379_TCP", "OMS_REDS_URL"])
def test_a_variable_that_is_no_service_link_is_still_refused(name: str) -> None:
    with pytest.raises(oms.SettingsError, match=f"{name} is not a setting"):
        load_settings({**_service_links("oms-order"), name: "8081"})


def test_a_secret_setting_never_shows() -> None:
    good = {"OMS_NOTIFIER": "webhook", "OMS_WEBHOOK_URL": "https://x.test/", "OMS_WEBHOOK_SECRET": CANARY * 3}
    assert CANARY not in repr(load_settings(good))
    with pytest.raises(oms.SettingsError) as refused:
        load_settings(good | {"OMS_NOTIFIER": "log"})
    assert CANARY not in str(refused.value)


def test_every_setting_is_described() -> None:
    assert all(row.meaning for row in settings_table())
    assert load_settings({"OMS_DEFAULT_STOCK": ""}).default_stock is None
    assert load_settings({}).order_deadline_s == 900
