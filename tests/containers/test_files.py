"""The files of the stack agree with each other and with the settings; no engine is needed to see that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml

from oms.settings import Settings, variable

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
SECRETS = (ROOT / "containers/secrets.yml").read_text()
EXAMPLE = dict(re.findall(r"^#(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
DEFAULTS = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE))
SETTINGS = {variable(field.name): field for field in attrs.fields(Settings)}


class _Loader(yaml.SafeLoader):
    """YAML with compose's own tag."""


_Loader.add_constructor("!reset", lambda *_: None)


def _services(text: str) -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = yaml.load(text, _Loader)["services"]
    return services


def _passed_on() -> set[str]:
    """Settings that are passed on where `.env` has them."""
    given = _services(COMPOSE)["order-service"]["environment"]
    return {name for name, value in given.items() if value is None}


def test_the_example_names_every_variable_with_its_default() -> None:
    assert set(EXAMPLE) == DEFAULTS.keys() | _passed_on()
    assert {name: EXAMPLE[name] for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize("name", sorted(_passed_on()))
def test_the_example_shows_the_settings_own_default(name: str) -> None:
    default = SETTINGS[name].default
    assert EXAMPLE[name] == ("" if default is None else str(default))


@pytest.mark.parametrize("text", [COMPOSE, SECRETS], ids=["docker-compose.yml", "secrets.yml"])
def test_containers_are_given_settings_that_exist(text: str) -> None:
    given = {name for service in _services(text).values() for name in service.get("environment", {})}
    ours = {re.sub(r"(PASSWORD\w*)_FILE$", r"\1", name) for name in given if name.startswith("OMS_")}
    assert ours <= SETTINGS.keys()


def test_files_of_secrets_hold_the_defaults() -> None:
    files = {path.name: path.read_text() for path in (ROOT / "containers/secrets.example").iterdir()}
    assert files.keys() == yaml.load(SECRETS, _Loader)["secrets"].keys()
    for name, password in files.items():
        variables = {"postgres": "POSTGRES_PASSWORD", "redis": "OMS_REDIS_PASSWORD"}
        assert password == DEFAULTS[variables.get(name, f"OMS_POSTGRES_PASSWORD_{name.upper()}")]


def test_each_password_of_a_service_has_its_file() -> None:
    """A password that secrets.yml forgot would stay in the environment."""
    with_files = _services(SECRETS)
    for service, parts in _services(COMPOSE).items():
        given = {name for name in parts.get("environment", {}) if "PASSWORD" in name}
        instead = with_files.get(service, {}).get("environment", {})
        assert given == {name for name, value in instead.items() if value is None}
        assert {f"{name}_FILE" for name in given} == {name for name, value in instead.items() if value}


def test_every_port_is_published_on_loopback() -> None:
    ports = [port for service in _services(COMPOSE).values() for port in service.get("ports", ())]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert not [name for name, service in _services(COMPOSE).items() if service.get("network_mode")]


def test_the_image_needs_no_buildkit_to_build_and_no_shell_to_run() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert not re.search(r"--mount|--link|<<|^# *syntax", text, re.MULTILINE)
    last = text.rpartition("\nFROM ")[2]
    assert "\nRUN " not in last
    starts = re.findall(r"(?:CMD|ENTRYPOINT) (.*)$", last, re.MULTILINE)
    assert len(starts) == 3
    assert all(line.startswith("[") for line in starts)
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)


def test_stand_ins_have_the_names_that_are_asked_for() -> None:
    script = (ROOT / "scripts/containers/standins.sh").read_text().replace("$KAFKA_VERSION", "4.3.1")
    made = set(re.findall(r"[\w/.-]+:[\w.-]+", "\n".join(re.findall(r"^build \w+ (.*)$", script, re.MULTILINE))))
    asked = {default for name, default in DEFAULTS.items() if name.endswith("_IMAGE") and name != "APP_IMAGE"}
    base = re.search(r"ARG BASE_IMAGE=(\S+)", (ROOT / "Dockerfile").read_text())
    assert base
    assert asked | {base[1]} <= made
