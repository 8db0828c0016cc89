"""The files of an embedded system: their rights, and that a start refuses files that don't belong together."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import oms
from oms.adapters.memory.telemetry import RecordingTelemetry
from oms.adapters.system.no_log import NoLog

SERVICES = ("order", "inventory", "payment", "notification")
FILES = ("broker", *SERVICES, "gateway", "step-mine")


def create(directory: Path, **given: Any) -> oms.App:
    app = oms.create(profile="embedded", environ={}, data=directory, log_level="error", **given)
    app.subscribe("order.confirmed", group="mine", handler=lambda _event, _step: None)
    return app


def worked(directory: Path, orders: int = 3) -> None:
    """One whole life of a system: a start, some orders, an end."""
    app = create(directory)
    for _ in range(orders):
        app.orders.place(app.draft("ann", 5, {"apple": 1}))
    app.run()
    app.stop()


def refused(directory: Path, **given: Any) -> str:
    app = create(directory, **given)
    with pytest.raises(oms.OmsError) as error:
        app.start()
    app.stop()
    return str(error.value)


def rewrite(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("good") / "data"
    worked(directory)
    return directory


@pytest.fixture
def data(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "data"))


# -- rights


@pytest.mark.usefixtures("umask")
def test_only_the_owner_reads_a_system(tmp_path: Path) -> None:
    directory = tmp_path / "shops" / "data"
    app = create(directory)
    app.orders.place(app.draft("ann", 5, {"apple": 1}))
    app.run()
    found = {path.name: mode(path) for path in directory.iterdir()}
    app.stop()
    assert mode(directory) == 0o700
    assert {f"{name}.db" for name in FILES} | {f"{name}.db-wal" for name in FILES} | {"broker.db.lock"} <= found.keys()
    assert set(found.values()) == {0o600}


def test_wider_rights_are_narrowed_and_logged(data: Path) -> None:
    data.chmod(0o755)
    for path in data.iterdir():
        path.chmod(0o644)
    telemetry = RecordingTelemetry()
    app = create(data, telemetry=telemetry)
    app.run()
    app.stop()
    narrowed = {
        str(line.fields["path"]): line.fields["was"] for line in telemetry.notes if line.event == "rights narrowed"
    }
    assert narrowed[str(data)] == "0755"
    assert {narrowed[str(data / f"{name}.db")] for name in FILES} == {"0644"}
    assert mode(data) == 0o700
    assert {mode(path) for path in data.iterdir()} == {0o600}


def test_a_directory_that_others_use_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "photo.png").touch()
    assert "holds files of others, such as 'photo.png'" in refused(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]
    assert mode(tmp_path) == 0o755


@pytest.mark.parametrize("name", ["", "order.db"])
def test_what_belongs_to_another_user_is_refused(data: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (data / name).chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    message = refused(data)
    assert message.startswith(str(data / name))
    assert "belongs to another user" in message


# -- files that belong together


def missing(path: Path, _foreign: Path, _before: Path) -> None:
    path.unlink()


def empty(path: Path, _foreign: Path, _before: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path, foreign: Path, _before: Path) -> None:
    shutil.copy(foreign / path.name, path)


def older(path: Path, _foreign: Path, before: Path) -> None:
    shutil.copy(before / path.name, path)


@pytest.fixture(scope="module")
def systems(good: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A system, another one, and the first one as it was before its latest start."""
    directory = tmp_path_factory.mktemp("systems")
    before = Path(shutil.copytree(good, directory / "before"))
    now = Path(shutil.copytree(good, directory / "now"))
    worked(now)
    worked(directory / "other")
    return now, directory / "other", before


MESSAGES = {missing: "is missing", empty: "is empty", foreign: "belongs to the system", older: "is older than"}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", MESSAGES)
def test_a_wrong_file_is_named_and_refused(
    systems: tuple[Path, Path, Path], tmp_path: Path, damage: Callable[[Path, Path, Path], None], name: str
) -> None:
    now, other, before = systems
    path = Path(shutil.copytree(now, tmp_path / "data")) / f"{name}.db"
    damage(path, other, before)
    kept = path.read_bytes() if path.exists() else None
    message = refused(path.parent)
    assert str(path) in message
    assert MESSAGES[damage] in message
    assert "oms restore" in message
    assert (path.read_bytes() if path.exists() else None) == kept or name == "broker"


def test_the_log_is_older_than_what_a_store_has_seen_it_take(data: Path, tmp_path: Path) -> None:
    """As after a copy of one file while the system ran: the numbers of the start agree."""
    shutil.copy(data / "broker.db", tmp_path / "broker.db")
    worked(data)
    shutil.copy(tmp_path / "broker.db", data / "broker.db")
    rewrite(data / "broker.db", "UPDATE files SET opened = opened + 1")
    message = refused(data)
    assert f"{data / 'broker.db'} is older than {data / 'order.db'}" in message
    assert "order.db has seen it take" in message


def test_a_file_that_never_belonged_here_is_refused(tmp_path: Path) -> None:
    worked(tmp_path / "other")
    app = oms.create(profile="embedded", environ={}, data=tmp_path / "data", log_level="error")
    app.run()
    app.stop()
    shutil.copy(tmp_path / "other" / "step-mine.db", tmp_path / "data")
    assert "belongs to the system" in refused(tmp_path / "data")


def test_a_step_that_pauses_for_some_starts_comes_back(data: Path) -> None:
    for _ in range(3):
        app = oms.create(profile="embedded", environ={}, data=data, log_level="error")
        app.run()
        app.stop()
    worked(data)


# -- a directory of the version before


def without_marks(directory: Path) -> None:
    for name in FILES:
        rewrite(directory / f"{name}.db", "DELETE FROM pinned WHERE name IN ('system', 'opened', 'acknowledged')")
    rewrite(directory / "broker.db", "DROP TABLE files", "DROP TABLE pinned")
    rewrite(directory / "gateway.db", "DROP TABLE pinned")


def joined(directory: Path) -> list[str]:
    telemetry = RecordingTelemetry()
    app = create(directory, telemetry=telemetry)
    app.run()
    app.stop()
    return [Path(str(line.fields["file"])).stem for line in telemetry.notes if line.event == "file joins the system"]


def test_a_system_of_the_version_before_is_adopted_once(data: Path) -> None:
    without_marks(data)
    assert sorted(joined(data)) == sorted(FILES)
    assert joined(data) == []
    (data / "payment.db").write_bytes(b"")
    assert "payment.db is empty" in refused(data)


@pytest.mark.parametrize("name", ["broker", *SERVICES, "step-mine"])
@pytest.mark.parametrize("damage", [missing, empty])
def test_a_lost_file_of_the_version_before_is_refused(
    data: Path, damage: Callable[[Path, Path, Path], None], name: str
) -> None:
    without_marks(data)
    damage(data / f"{name}.db", data, data)
    assert f"{name}.db {MESSAGES[damage]}" in refused(data)


def test_orders_that_were_imported_first_are_no_reason_to_refuse(tmp_path: Path) -> None:
    """`oms migrate-from-spring` makes two stores and no log."""
    given: dict[str, Any] = {"services": ("order", "inventory"), "broker": NoLog(), "log_level": "error"}
    app = oms.create(profile="embedded", environ={}, data=tmp_path, **given)
    app.stock.set("apple", 5)
    app.stop()
    worked(tmp_path)
