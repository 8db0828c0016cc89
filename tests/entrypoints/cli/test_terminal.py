"""No command lets control characters of any data through to the terminal, on stdout, on stderr or as JSON."""

from __future__ import annotations

import ast
import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from cyclopts import App
from hypothesis import example, given, settings
from hypothesis import strategies as st

import oms
from oms.bootstrap.spring_import import Found, Tally
from oms.entrypoints.cli import main
from oms.entrypoints.cli.client import Remote
from oms.entrypoints.cli.demo import Demo, _verified
from oms.entrypoints.cli.main import assembled
from oms.entrypoints.cli.output import console
from oms.operations.promises import Report, Violation
from oms.operations.reconciliation import Difference
from oms.ports.findings import Finding

EVIL = "\x1b[2J\x1b]0;title\x07 \x9b31m\x7f\x08 \u202eevil\u2066\u200f \u2028 [bold]x[/] \ud83d \U000e0041 \x00"
TEXTS = st.text(
    st.sampled_from([*EVIL, "\r", "\n", "\t", "é", "😀", "\ue000"]) | st.characters(), min_size=1, max_size=20
)
STATUSES = st.sampled_from([200, 404])

REMOTE = {
    "orders place": ("--user", "ann", "--amount", "1", "--item", "a=1"),
    "orders show": ("x",),
    "orders list": (),
    "orders cancel": ("x",),
    "orders resume": ("x",),
    "orders ship": ("x",),
    "orders shipments": ("x",),
    "orders refund": ("x", "cancel", "--reason", "r"),
    "orders refunds": ("x",),
    "orders retry": ("x", "y", "--why", "w"),
    "orders resolve": ("x", "y", "--why", "w"),
    "orders timeline": ("x",),
    "stock show": ("x",),
    "stock list": (),
    "stock set": ("x", "1"),
    "stock add": ("x", "1"),
    "dlq list": (),
    "dlq show": ("x",),
    "dlq redrive": ("x",),
    "dlq discard": ("x",),
}
LOCAL: dict[str, tuple[str, ...]] = {
    "verify": (),
    "reconcile": (),
    "settings": (),
    "keys new": ("--role", "operator", "--name"),
    "doctor": (),
    "setup": ("--check",),
    "migrate-from-spring": (),
    "backup": ("x",),
    "restore": ("x",),
    "repair": (),
}
WITHOUT_DATA = {"serve", "run", "demo", "bench", "sim"}
"""They log (tests/adapters/test_outside.py), and demo and sim show only orders of their own and violations."""


def answer(method: str, path: str, text: str, status: int) -> object:
    """What a system would answer in which every text is hostile."""
    if status >= 400:
        return {"detail": text, "code": text}
    names = (
        "id",
        "status",
        "reason",
        "userId",
        "productId",
        "service",
        "topic",
        "orderId",
        "cause",
        "detail",
        "state",
        "text",
    )
    one: dict[str, Any] = dict.fromkeys(names, text) | {"items": {text: 1}, "metadata": {text: text}, "onHand": 1}
    if path.endswith("/timeline"):
        return [
            {
                "seq": n,
                "at": "2026-01-01T00:00:00+00:00",
                "trigger": text,
                "before": text,
                "after": text,
                "detail": text,
            }
            for n in (1, 2)
        ]
    if path.startswith("/dead-letters?"):
        return [one]
    if path.endswith(("/shipments", "/refunds")):
        one |= part(text)
        return one if method == "POST" else [one]
    if path.startswith("/orders"):
        one |= after_confirmation(text)
    if "?" in path:
        return {"content": [one], "totalElements": 5, "size": 1, "number": 0}
    return one


def part(text: str) -> dict[str, Any]:
    """What a shipment and a refund have, with hostile texts."""
    refusal = dict.fromkeys(("of", "reason", "instruction", "by", "why"), text) | {"attempt": 1}
    names = ("shippedAt", "carrier", "trackingNumber", "kind", "requestedAt")
    return dict.fromkeys(names, text) | {"amount": 1, "restock": True, "outside": True, "refusal": refusal}


def after_confirmation(text: str) -> dict[str, Any]:
    """What an order has after its confirmation, with hostile texts."""
    parts = [{"id": text, "items": {text: 1}, "state": text, "reason": text} | part(text)]
    line = {"productId": text, "name": text, "ordered": 3, "cancelled": 1, "shipped": 1, "returned": 1}
    return {
        "lines": [line],
        "charges": [{"kind": text, "amount": 1}],
        "refundedAmount": 1,
        "payment": {"state": text, "refusal": parts[0]["refusal"]},
        "shipments": parts,
        "refunds": parts,
    }


def ran(*arguments: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.suppress(SystemExit):
        main([*arguments])
    return out.getvalue(), err.getvalue()


def assert_harmless(*printed: str) -> None:
    for text in printed:
        assert text.replace("\n", "").isprintable(), ascii(text)


def asked(command: str, text: str, status: int, *more: str) -> tuple[str, str]:
    def send(_self: Remote, method: str, path: str, *_rest: object) -> tuple[int, bytes]:
        return status, json.dumps(answer(method, path, text, status)).encode()

    with mock.patch.object(Remote, "_send", send):
        return ran(*command.split(), *REMOTE[command], *more)


@pytest.mark.parametrize("command", sorted(REMOTE))
@settings(max_examples=15)
@given(TEXTS, STATUSES)
@example(EVIL, 200)
@example(EVIL, 404)
def test_what_a_system_answers(command: str, text: str, status: int) -> None:
    out, err = asked(command, text, status)
    assert_harmless(out, err)
    assert bool(out) == (status == 200)
    shown, err = asked(command, text, status, "--json")
    assert_harmless(shown, err)


ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["content", "totalElements", "size", "id", "items", "at", "code"]) | TEXTS, inner
        )
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("command", sorted(REMOTE))
@settings(max_examples=15)
@given(ANSWERS, STATUSES)
@example({"content": [None], "totalElements": 1, "size": 0}, 200)
@example([{"at": "yesterday"}], 200)
def test_a_server_that_is_no_oms_never_ends_a_command_with_a_traceback(
    command: str, answered: object, status: int
) -> None:
    with mock.patch.object(Remote, "_send", return_value=(status, json.dumps(answered).encode())):
        assert_harmless(*ran(*command.split(), *REMOTE[command]))


@pytest.mark.parametrize("sent", [b"", b"<html>", b"\xff", b"[" * 100_000, b"NaN" * 3])
def test_an_answer_that_is_no_json_is_one_line(sent: bytes) -> None:
    with mock.patch.object(Remote, "_send", return_value=(200, sent)):
        out, err = ran("orders", "list")
    assert (out, err.count("\n")) == ("", 1)
    assert "not as an order management system does" in err


@settings(max_examples=50)
@given(TEXTS.filter(lambda text: text.isascii() or text.encode("utf-8", "ignore").decode() == text))
def test_json_for_machines_has_the_very_text(text: str) -> None:
    shown, _ = asked("orders show", text, 200, "--json")
    assert json.loads(shown) == answer("GET", "/orders/x", text, 200)


@contextlib.contextmanager
def found(text: str) -> Iterator[None]:
    """A system in whose records every text is hostile."""
    report = Report((Violation("P1", text, text),), True, {text: 1}, 0, 1, ("P1",))

    def migrate(_settings: object, say: Any, **_: object) -> tuple[Found, bool]:
        say(text)
        return Found(Tally(1, 1, 1), None), False

    def refuses(*_: object) -> None:
        raise oms.SettingsError(text)

    changes: Mapping[str, object] = {
        "oms.bootstrap.backups.back_up": refuses,
        "oms.bootstrap.backups.restore": refuses,
        "oms.bootstrap.repair.repair": lambda _: [text],
        "oms.bootstrap.operators.verify": lambda _: report,
        "oms.bootstrap.operators.reconcile": lambda _: [Difference(text, text, text)],
        "oms.bootstrap.operators.problems_of": lambda _: [Finding(text)],
        "oms.bootstrap.spring_import.migrate": migrate,
    }
    with contextlib.ExitStack() as stack:
        for name, change in changes.items():
            stack.enter_context(mock.patch(name, change))
        yield


@pytest.mark.parametrize("command", sorted(LOCAL))
@pytest.mark.parametrize("more", [(), ("--json",)])
@settings(max_examples=10)
@given(TEXTS)
@example(EVIL)
def test_what_is_on_record(command: str, more: tuple[str, ...], text: str) -> None:
    name = (f"x{text}",) if command == "keys new" else ()
    if more and command not in ("verify", "reconcile"):
        return
    with found(text), mock.patch.dict("os.environ", {"OMS_REDIS_USER": "x\u202e\x1b"}):
        assert_harmless(*ran(*command.split(), *LOCAL[command], *name, *more))


@settings(max_examples=20)
@given(TEXTS)
@example(EVIL)
def test_wrong_arguments_and_settings(text: str) -> None:
    assert_harmless(*ran(f"x{text}"))
    assert_harmless(*ran("stock", "set", "apple", f"x{text}"))
    assert_harmless(*ran("orders", "show", f"x{text}", "--url", f"x{text}"))
    with mock.patch.dict("os.environ", {"OMS_CURRENCY": "x\x1b[31m\u202e"}):
        assert_harmless(*ran("settings"))


@settings(max_examples=20)
@given(TEXTS)
@example(EVIL)
def test_violations_that_a_demo_shows(text: str) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        demo = mock.create_autospec(Demo, screen=console(), settings=None)
        report = Report((Violation("P1", text, text),), True, {}, 0, 1, ("P1",))
        with mock.patch("oms.entrypoints.cli.demo.verify", return_value=report):
            _verified(demo)
        demo.screen.print(f"[bold]{text.replace('[', '')}[/]")
    assert_harmless(out.getvalue())


def commands(app: App, before: str = "") -> Iterator[str]:
    for name in app:
        if not name.startswith("-"):
            path, inner = f"{before} {name}".strip(), app[name]
            if any(not one.startswith("-") for one in inner):
                yield from commands(inner, path)
            else:
                yield path


def test_no_command_is_missing_here() -> None:
    assert {*REMOTE, *LOCAL, *WITHOUT_DATA} == set(commands(assembled()))


@pytest.mark.parametrize(
    "file", sorted((Path(oms.__file__).parent / "entrypoints/cli").glob("*.py")), ids=lambda file: file.name
)
def test_one_module_writes_to_the_terminal(file: Path) -> None:
    direct = [
        node.lineno
        for node in ast.walk(ast.parse(file.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr"))
        or (isinstance(node, ast.Name) and node.id == "print")
    ]
    # notes.py names the stream of a log, which cleans its lines itself
    assert not direct or file.name in ("output.py", "main.py", "notes.py"), (
        f"use output.print_line, complain or console: lines {direct}"
    )
