"""The HTTP port of each service and own step that no setting names: no two on one machine have the same."""

from __future__ import annotations

from pathlib import Path

import pytest

import oms
from oms.entrypoints import serve
from oms.entrypoints.cli import servers

STEPS = """
def subscribe(app):
    for group in ("shipping", "mail"):
        app.subscribe("order.confirmed", group=group, handler=lambda event, step: None)

def more(app):
    app.subscribe("order.cancelled", group="shipping", handler=lambda event, step: None)
    app.subscribe("order.cancelled", group="crm", handler=lambda event, step: None)
"""


@pytest.fixture
def ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ports that `oms run` listens on; nothing is started."""
    (tmp_path / "steps_of_ports.py").write_text(STEPS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("OMS_STEPS", "steps_of_ports:subscribe,steps_of_ports:more")
    monkeypatch.delenv("OMS_HTTP_PORT", raising=False)
    found: list[int] = []

    def record(_host: str, port: int) -> None:
        found.append(port)
        raise oms.SettingsError("enough is known")

    monkeypatch.setattr(serve, "bound", record)
    return found


def run(*names: str, port: int | None = None) -> None:
    for name in names:
        with pytest.raises(oms.SettingsError, match="enough is known"):
            servers.run(name, port=port)


def test_services_and_steps_have_ports_of_their_own(ports: list[int]) -> None:
    run("order", "inventory", "payment", "notification", "shipping", "mail", "crm")
    assert ports == [8081, 8082, 8083, 8084, 8085, 8086, 8087]


def test_a_setting_names_the_port(ports: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMS_HTTP_PORT", "9000")
    run("order", "mail")
    run("mail", port=0)
    assert ports == [9000, 9000, 0]


def test_a_step_that_no_function_subscribes_is_refused(ports: list[int]) -> None:
    with pytest.raises(oms.SettingsError, match="there is no service 'shiping'"):
        servers.run("shiping")
    assert ports == []
