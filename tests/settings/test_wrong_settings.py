"""Settings that can't be meant are refused with one line, and no secret of an address is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oms
from oms.adapters.telemetry.redaction import Redaction
from oms.settings import load_settings
from oms.settings.kinds import masked_address

CANARY = "s3cr3t-canary"


def refused(**environ: str) -> str:
    with pytest.raises(oms.SettingsError) as error:
        load_settings(environ)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize("value", ["", " ", "\t", "a\0b"])
def test_a_directory_needs_a_name(value: str) -> None:
    assert refused(OMS_DATA=value).startswith("OMS_DATA: ")
    with pytest.raises(oms.SettingsError, match="OMS_DATA"):
        oms.create(environ={}, data=value)


@pytest.mark.parametrize("name", ["OMS_HTTP_HOST", "OMS_KAFKA_USER", "OMS_POSTGRES_USER", "OMS_REDIS_USER"])
@pytest.mark.parametrize("value", ["a b", "a\x1b[31m", "a\u202e"])
def test_names_are_printable_and_have_no_blanks(name: str, value: str) -> None:
    message = refused(**{name: value})
    assert message.isprintable()
    assert ("host" in message.partition(" is not ")[2]) == (name == "OMS_HTTP_HOST")


ADDRESSES = [
    ("OMS_POSTGRES_URL", "postgresql://ann:{}@host/oms"),
    ("OMS_POSTGRES_URL", "postgresql://ann:x/{}@host/oms"),
    ("OMS_POSTGRES_URL", "postgresql://host/oms?password={}"),
    ("OMS_POSTGRES_URL", "postgresql://one,two/oms?target_session_attrs=read-write&sslpassword={}"),
    ("OMS_SPRING_POSTGRES_URL", "postgresql://host/oms?PASSWORD={}"),
    ("OMS_REDIS_URL", "redis://:{}@host/0"),
    ("OMS_REDIS_URL", "redis://host/0?password={}"),
    ("OMS_SPRING_REDIS_URL", "redis://host/0?db=1&auth_token={}"),
    ("OMS_WEBHOOK_URL", "https://ann:{}@host/hook"),
]


@pytest.mark.parametrize(("name", "address"), ADDRESSES)
def test_a_secret_in_an_address_is_refused_and_not_shown(name: str, address: str) -> None:
    message = refused(**{name: address.format(CANARY)})
    assert message.startswith(f"{name}: ")
    assert CANARY not in message


def test_addresses_without_secrets_are_taken() -> None:
    address = "postgresql://one:1,two:2/oms?sslmode=verify-full&sslrootcert=/ca.pem&target_session_attrs=read-write"
    made = load_settings({"OMS_POSTGRES_URL": address, "OMS_REDIS_URL": "rediss://host:6379/0?socket_timeout=5"})
    assert made.postgres_url == address


NAMES = st.sampled_from(["token", "password", "api_key", "X-Amz-Signature", "client_secret", "sslpassword"])
VALUES = st.text(st.sampled_from("abcXYZ019%+/="), min_size=1, max_size=12).map(lambda text: CANARY + text)


@given(st.sampled_from(["https://host/hook", "/hook", "url: /a;b"]), NAMES, VALUES)
def test_a_token_of_an_address_is_masked_wherever_it_is_shown(path: str, name: str, value: str) -> None:
    text = f"{path}?a=1&{name}={value}&b=2"
    for shown in (masked_address(text), Redaction().text(f"failed: {text}")):
        assert CANARY not in shown
        assert shown.endswith("&b=2")
    assert not Redaction().is_clean([{"detail": text}])


def test_a_setting_given_to_create_is_read_as_its_variable_is(tmp_path: Path) -> None:
    settings = load_settings({}, profile="memory")
    app = oms.create(settings, data=str(tmp_path), batch="7")
    assert (app.settings.data, app.settings.batch, app.settings.profile) == (tmp_path, 7, "memory")
    for wrong in ({"data": ""}, {"batch": "many"}, {"batch": 0}, {"no_such": 1}):
        with pytest.raises(oms.SettingsError):
            oms.create(settings, **wrong)
