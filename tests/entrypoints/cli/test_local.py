"""The commands that need no running system."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import oms
from oms.adapters.auth.keys_file import read_keys
from oms.entrypoints.cli import main
from oms.settings.settings import settings_markdown

CANARY = "canary-of-at-least-16"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[object, str, str]]:
    def run(*arguments: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([*arguments])
        return (ended.value.code or 0, *capsys.readouterr())

    return run


Run = Callable[..., tuple[object, str, str]]


def test_settings_show_where_they_come_from_and_no_secret(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(CANARY)
    monkeypatch.setenv("OMS_BATCH", "7")
    monkeypatch.setenv("OMS_NOTIFIER", "webhook")
    monkeypatch.setenv("OMS_WEBHOOK_URL", "http://shop.example/hook")
    monkeypatch.setenv("OMS_WEBHOOK_SECRET_FILE", str(tmp_path / "secret"))
    code, out, _ = run("settings")
    rows = {line.split()[0]: line.split()[1:3] for line in out.splitlines() if line.startswith("OMS_")}
    assert code == 0
    assert rows["OMS_BATCH"] == ["7", "environment"]
    assert rows["OMS_PARTITIONS"] == ["4", "default"]
    assert rows["OMS_WEBHOOK_SECRET"] == ["***", "file"]
    assert CANARY not in out


def test_settings_as_the_documentation_has_them(run: Run) -> None:
    assert run("settings", "--markdown") == (0, settings_markdown(), "")


def test_a_new_key_opens_the_door_and_only_its_hash_is_kept(run: Run, tmp_path: Path) -> None:
    _, out, _ = run("keys", "new", "--role", "customer", "--user", "ann")
    made = json.loads(out)
    (tmp_path / "keys.json").write_text(json.dumps([made["entry"]]))
    (entry,) = read_keys(tmp_path / "keys.json")
    assert (entry.role, entry.user) == (oms.Role.CUSTOMER, "ann")
    assert entry.sha256 == hashlib.sha256(made["key"].encode()).hexdigest()
    assert made["key"] not in json.dumps(made["entry"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("keys", "new", "--role", "customer"),
        ("keys", "new", "--role", "operator", "--user", "ann"),
        ("keys", "new", "--role", "customer", "--user", "a b"),
        ("demo", "--orders", "-1"),
        ("demo", "--data", "{full}"),
        ("verify", "--data", "{full}"),
    ],
)
def test_wrong_use_is_one_line(run: Run, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "something").write_text("")
    code, out, err = run(*(argument.format(full=tmp_path) for argument in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("oms: ")
    assert err.count("\n") == 1


def test_verify_says_what_holds_and_what_is_broken(run: Run, tmp_path: Path) -> None:
    app = oms.create(profile="embedded", environ={}, data=tmp_path, log_level="error", default_stock=100)
    app.orders.place(app.draft("ann", 5, {"apple": 1}))
    until = time.monotonic() + 10
    while (report := oms.verify(app.settings)).orders != {"CONFIRMED": 1} or not report.quiet:
        assert time.monotonic() < until
        app.run()
    app.stop()
    code, out, _ = run("verify", "--data", str(tmp_path), "--json")
    assert (code, json.loads(out)["whole"]) == (0, True)
    assert "the system is at rest" in run("verify", "--data", str(tmp_path))[1]

    with closing(sqlite3.connect(tmp_path / "inventory.db")) as connection:
        connection.execute("UPDATE stock SET on_hand = on_hand + 1")
        connection.commit()
    code, out, _ = run("verify", "--data", str(tmp_path), "--json")
    found = json.loads(out)["promises"]
    assert (code, found["P1"], found["P2"]) == (1, "holds", "broken")
    assert "P2 apple: stock is 100, 0 held; its ledger folds to (99, 0)" in run("verify", "--data", str(tmp_path))[1]


def test_unknown_commands_end_with_2(run: Run) -> None:
    assert run("odd")[0] == 2
    assert run("--version") == (0, f"{oms.__version__}\n", "")
