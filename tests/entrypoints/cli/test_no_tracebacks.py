"""Damaged files and wrong extensions end a command with one line that names the file or the setting."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

import oms
from oms.adapters.sql.factory import sqlite_store
from oms.adapters.system.clock import SystemClock, SystemIds
from oms.entrypoints.cli import main
from oms.entrypoints.serve import bound

FILES = ("broker", "order", "inventory", "payment", "notification", "gateway")
DAMAGES = {"foreign": b"no database at all, " * 1000, "cut": None, "empty": b""}
EXTENSIONS = """
class Needs:
    def __init__(self, more): ...
class Raises:
    def __init__(self): raise RuntimeError("no\\nserver")
class Bare: ...
VALUE = 7
"""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("good")
    app = oms.create(profile="embedded", environ={}, data=data, log_level="error")
    app.orders.place(app.draft("ann", 5, {"apple": 1}))
    app.run()
    app.stop()
    return data


def one_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert out == ""
    assert err.startswith("oms: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, damage: str
) -> None:
    data = tmp_path / "data"
    shutil.copytree(good, data)
    file, content = data / f"{name}.db", DAMAGES[damage]
    file.write_bytes(file.read_bytes()[:5000] if content is None else content)
    assert str(file) in one_line(capsys, "verify", "--data", str(data))
    if name == "order" and damage != "empty":
        with pytest.raises(oms.OmsError, match=r"order\.db"):
            sqlite_store("order", file, SystemClock(), SystemIds())


@pytest.mark.parametrize("data", ["", " "])
def test_an_empty_directory_name_is_refused(capsys: pytest.CaptureFixture[str], data: str) -> None:
    for command in ("verify", "reconcile", "serve"):
        assert "OMS_DATA" in one_line(capsys, command, "--data", data)


@pytest.mark.parametrize("variable", ["AUTHENTICATOR", "PRICING", "POLICY", "PAYMENT_GATEWAY", "NOTIFIER"])
@pytest.mark.parametrize(
    "path", ["own:Needs", "own:Raises", "own:Bare", "own:VALUE", "own:Missing", "broken:X", "none:X"]
)
def test_a_wrong_extension_is_named_before_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], variable: str, path: str
) -> None:
    (tmp_path / "own.py").write_text(EXTENSIONS)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("own", "broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setenv(f"OMS_{variable}", path)
    stderr = one_line(capsys, "serve", "--port", "0", "--data", str(tmp_path / "data"))
    assert stderr.startswith(f"oms: OMS_{variable}: ")
    assert path in stderr or "expected" in stderr, "the path, or the port whose methods are missing"
    if path == "broken:X":
        assert "broken.py, line 1" in stderr


@pytest.mark.parametrize("path", ["own:VALUE", "own:Raises", "broken:X"])
def test_steps_that_cannot_subscribe_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    (tmp_path / "own.py").write_text(EXTENSIONS)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("OMS_STEPS", path)
    assert path in one_line(capsys, "serve", "--port", "0", "--data", str(tmp_path / "data"))


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "no.such.host.invalid"])
def test_a_host_that_is_no_name_is_one_line(host: str) -> None:
    with pytest.raises(oms.SettingsError, match="can't listen"):
        bound(host, 0)
