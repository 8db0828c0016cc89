"""The files of the stack agree with each other and with the settings; no engine is needed to see that."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from oms.settings.settings import settings_table
from tests.support.files import ROOT

SERVICES = ("order", "inventory", "payment", "notification")
COMPOSE = (ROOT / "docker-compose.yml").read_text()
SECRETS = (ROOT / "deploy/secrets.yml").read_text()
EXAMPLE = dict(re.findall(r"^#(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
DEFAULTS = dict(re.findall(r"\$\{(\w+):?-([^}]*)\}", COMPOSE))
SETTINGS = {row.name: row for row in settings_table()}
NOT_PASSED_ON = {
    "OMS_DATA": "the image's",
    "OMS_HTTP_HOST": "the image's",
    "OMS_INSTANCE": "each container's own host name, which it keeps",
    "OMS_HTTP_PORT": "each service has its own, which edge knows",
    "OMS_PROFILE": "the stack is the distributed profile",
}
OF_THE_CLIENT = {"OMSCTL_KEY": ""}
"""Variables of `oms orders`, `oms stock` and `oms dlq`, which are no settings of a service."""


class _Loader(yaml.SafeLoader):
    """YAML with compose's own tag."""


_Loader.add_constructor("!reset", lambda *_: None)


def _services(text: str) -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = yaml.load(text, _Loader)["services"]
    return services


def _passed_on() -> set[str]:
    """Variables that are passed on where `.env` has them."""
    given = [service.get("environment", {}) for service in _services(COMPOSE).values()]
    return {name for environment in given for name, value in environment.items() if value is None}


def test_the_example_names_every_variable_with_its_default() -> None:
    assert set(EXAMPLE) == DEFAULTS.keys() | _passed_on()
    assert {name: EXAMPLE[name] for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize("name", sorted(_passed_on()))
def test_the_example_shows_the_settings_own_default(name: str) -> None:
    assert EXAMPLE[name] == (OF_THE_CLIENT[name] if name in OF_THE_CLIENT else SETTINGS[name].default)


def test_every_setting_is_passed_on_from_env() -> None:
    assert (_passed_on() | DEFAULTS.keys()) & SETTINGS.keys() == SETTINGS.keys() - NOT_PASSED_ON.keys() - {
        "OMS_POSTGRES_ADMIN_PASSWORD"  # POSTGRES_PASSWORD, which the server takes as well
    }


def test_all_services_are_given_the_same_settings_but_for_their_own() -> None:
    """A notifier, a gate's address or a password is one service's own; all else must agree."""
    own = re.compile(r"OMS_(HTTP_PORT|NOTIF\w+|WEBHOOK_\w+|REDIS_\w+|POSTGRES_PASSWORD_\w+)")
    services = [_services(COMPOSE)[f"{name}-service"]["environment"] for name in SERVICES]
    common = [{name: value for name, value in given.items() if not own.fullmatch(name)} for given in services]
    assert all(given == common[0] for given in common)


def test_the_local_image_is_never_asked_of_a_registry() -> None:
    image = _services(COMPOSE)["setup"]["image"]
    ours = {name: given for name, given in _services(COMPOSE).items() if given["image"] == image}
    assert {given["pull_policy"] for given in ours.values()} == {"${APP_PULL_POLICY:-never}"}
    assert len(ours) == len(SERVICES) + 2


@pytest.mark.parametrize("text", [COMPOSE, SECRETS], ids=["docker-compose.yml", "secrets.yml"])
def test_containers_are_given_settings_that_exist(text: str) -> None:
    given = {name for service in _services(text).values() for name in service.get("environment", {})}
    ours = {re.sub(r"(PASSWORD\w*)_FILE$", r"\1", name) for name in given if name.startswith("OMS_")}
    assert ours <= SETTINGS.keys()


def test_files_of_secrets_hold_the_defaults() -> None:
    files = {path.name: path.read_text() for path in (ROOT / "deploy/secrets.example").iterdir()}
    assert files.keys() == yaml.load(SECRETS, _Loader)["secrets"].keys()
    for name, password in files.items():
        variables = {"postgres": "POSTGRES_PASSWORD", "redis": "OMS_REDIS_PASSWORD"}
        assert password == DEFAULTS[variables.get(name, f"OMS_POSTGRES_PASSWORD_{name.upper()}")]


def test_each_password_of_a_service_has_its_file() -> None:
    """A password that secrets.yml forgot would stay in the environment."""
    with_files = _services(SECRETS)
    for service, parts in _services(COMPOSE).items():
        given = {name for name, value in parts.get("environment", {}).items() if "PASSWORD" in name and value}
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
    script = (ROOT / "scripts/stack/standins.sh").read_text().replace("$KAFKA_VERSION", "4.3.1")
    made = set(re.findall(r"[\w/.-]+:[\w.-]+", "\n".join(re.findall(r"^build \w+ (.*)$", script, re.MULTILINE))))
    asked = {default for name, default in DEFAULTS.items() if name.endswith("_IMAGE") and name != "APP_IMAGE"}
    base = re.search(r"ARG BASE_IMAGE=(\S+)", (ROOT / "Dockerfile").read_text())
    assert base
    assert asked | {base[1]} <= made
