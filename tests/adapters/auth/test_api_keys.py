"""The keys file: only unambiguous entries are accepted, and without the file no key is accepted."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oms
from oms.adapters.auth.authenticators import ApiKeys
from oms.adapters.auth.keys_file import FIELDS, new_key, read_keys
from oms.adapters.memory.clock import ManualClock
from oms.adapters.memory.telemetry import RecordingTelemetry

KEY, ENTRY = new_key("shop", oms.Role.CUSTOMER, "ann")
BEARER = {"authorization": f"Bearer {KEY}"}
ANN = oms.Principal(oms.Role.CUSTOMER, oms.UserId("ann"))
DEEP = 200_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "keys.json"
    made.write_text(json.dumps([ENTRY]))
    return made


def refused(file: Path, text: str) -> str:
    file.write_text(text)
    with pytest.raises(oms.SettingsError) as error:
        read_keys(file)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expire": "2030-01-01T00:00:00+00:00"}, "unknown field 'expire'"),
        ({"expires": ""}, "expires must be a date and time"),
        ({"expires": 0}, "expires must be a date and time"),
        ({"expires": None}, "expires must be a date and time"),
        ({"expires": 1893456000}, "expires must be a date and time"),
        ({"expires": "2030-01-01T00:00:00"}, "expires needs a time zone"),
        ({"role": "admin"}, "role must be customer or operator"),
        ({"role": "trusted"}, "role must be customer or operator"),
        ({"role": None}, "role must be a text"),
        ({"user": "a b"}, "user"),
        ({"user": 7}, "user must be a text"),
        ({"sha256": "5f"}, "sha256 must be 64 hex digits"),
        ({"sha256": 5}, "sha256 must be a text"),
        ({"name": ["shop"]}, "name must be a text"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_line(file: Path, change: dict[str, Any], message: str) -> None:
    lines = ",\n".join(json.dumps(entry) for entry in (ENTRY, ENTRY, ENTRY | change))
    error = refused(file, f"[\n{lines}\n]\n")
    assert message in error
    assert "line 4, entry 3: " in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "line 1: must be a JSON list"),
        ("", "line 1: must be a JSON list"),
        ("[\n7]", "line 2, entry 1: must be an object"),
        ("[\n\n" + "[" * DEEP, "line 3: too deeply nested"),
        ('[\n{"name": ' + '{"a":' * DEEP, "line 2: too deeply nested"),
        ('[\n{"name": "a", "name": "b"}]', "line 2: the field 'name' comes twice"),
        (f"[\n{json.dumps(ENTRY)}\n{json.dumps(ENTRY)}]", "line 3: ',' or ']' is missing"),
        (f"[{json.dumps(ENTRY)},\n]", "line 2: Expecting value"),
        (f"[{json.dumps(ENTRY)}", "line 1: ',' or ']' is missing"),
        ("[]\n[]", "line 2: text after the list's end"),
        ("[" + "9" * 5000 + "]", "line 1: "),
    ],
)
def test_other_json_is_refused_with_its_line(file: Path, text: str, message: str) -> None:
    assert message in refused(file, text)


@given(st.text(st.sampled_from('[]{},:" \n\tx0'), max_size=30))
def test_the_list_is_read_as_json_is(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever the text, it is accepted only where `json` itself reads it as a list of entries."""
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_text(text, newline="")
    try:
        entries = read_keys(file)
    except oms.SettingsError:
        return
    assert json.loads(text) == list(entries) == []


@given(
    st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), st.none() | st.text() | st.integers(), max_size=6)
)
def test_any_object_is_an_entry_or_a_line(tmp_path_factory: pytest.TempPathFactory, raw: dict[str, object]) -> None:
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_text(json.dumps([raw]))
    with pytest.raises(oms.SettingsError, match="line 1, entry 1: "):
        read_keys(file)


def test_a_deleted_file_closes_the_door_until_it_is_back(file: Path) -> None:
    telemetry = RecordingTelemetry()
    keys = ApiKeys(file, ManualClock(), telemetry)
    assert keys.authenticate(BEARER) == ANN

    file.unlink()
    assert [keys.authenticate(BEARER) for _ in range(3)] == [None] * 3
    assert [alert.event for alert in telemetry.alerts] == ["API keys file deleted, every key is refused"]

    file.write_text("broken")
    assert keys.authenticate(BEARER) is None, "there are no last good entries any more"
    file.write_text(json.dumps([ENTRY]))
    assert keys.authenticate(BEARER) == ANN


def test_a_file_replaced_by_one_of_equal_size_and_time_is_read_again(file: Path, tmp_path: Path) -> None:
    keys, before = ApiKeys(file, ManualClock(), RecordingTelemetry()), file.stat()
    other, entry = new_key("shop", oms.Role.CUSTOMER, "bob")
    replacement = tmp_path / "new.json"
    replacement.write_text(json.dumps([entry]))
    os.utime(replacement, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert replacement.stat().st_size == before.st_size
    replacement.replace(file)

    assert keys.authenticate(BEARER) is None
    assert keys.authenticate({"x-api-key": other}) is not None


def test_a_key_that_was_extended_by_a_second_entry_is_known(file: Path) -> None:
    expired = ENTRY | {"expires": "2020-01-01T00:00:00+00:00"}
    file.write_text(json.dumps([expired, ENTRY]))
    assert ApiKeys(file, ManualClock(), RecordingTelemetry()).authenticate(BEARER) == ANN


class Compared(str):
    """A hash that counts how often one is compared with it."""

    count = 0

    def __eq__(self, other: object) -> bool:
        Compared.count += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_a_look_up_compares_no_more_hashes_where_there_are_more_keys(file: Path) -> None:
    """Each comparison would take time, by which the place of a key in the file could be measured."""
    others = [{**ENTRY, "sha256": hashlib.sha256(b"%d" % n).hexdigest()} for n in range(500)]
    file.write_text(json.dumps([*others, ENTRY]))
    keys = ApiKeys(file, ManualClock(), RecordingTelemetry())
    keys._entries = {Compared(sha256): found for sha256, found in keys._entries.items()}
    Compared.count = 0

    assert keys.authenticate(BEARER) == ANN
    assert Compared.count <= 2
