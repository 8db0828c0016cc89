"""The keyword arguments of `oms.create` and `Shop`: completed by editors, checked by type checkers and at run time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import attrs
import pytest

import oms
from oms.bootstrap.container import Extensions
from oms.ports.extension_arguments import ExtensionArguments
from oms.testing import Shop

GOOD = """
import oms
from oms.testing import Shop
from pathlib import Path


class Prices:
    def price(self, terms: oms.Terms) -> oms.Money:
        return terms.total


app: oms.App = oms.create(profile="memory", http_port=0, data=Path("x"), notifier="log", pricing=None)
oms.create(app.settings, data="x", batch="20", policy="shop.rules:Policy", environ={}, services=["order"])
shop = Shop(pricing=Prices(), partitions=2)
"""
WRONG = {
    'oms.create(profil="memory")': 'Unexpected keyword argument "profil"',
    "oms.create(gatewy=None)": 'Unexpected keyword argument "gatewy"',
    "oms.create(http_port=[])": 'Argument "http_port" to "create" has incompatible type',
    "oms.create(pricing=3)": 'Argument "pricing" to "create" has incompatible type',
    "Shop(partition=2)": 'Unexpected keyword argument "partition"',
    "Shop(batch=None)": 'Argument "batch" to "Shop" has incompatible type',
}


def test_every_extension_is_an_argument() -> None:
    assert set(ExtensionArguments.__annotations__) == {field.name for field in attrs.fields(Extensions)}


@pytest.mark.parametrize("make", [oms.create, Shop])
@pytest.mark.parametrize(
    ("name", "meant"), [("profil", "profile"), ("gatewy", "gateway"), ("partition", "partitions"), ("xyz", None)]
)
def test_a_misspelt_argument_is_refused_and_the_right_one_named(make: object, name: str, meant: str | None) -> None:
    with pytest.raises(oms.SettingsError) as refused:
        make(**{name: "1"})  # type: ignore[operator]
    hint = f"; did you mean {meant}?" if meant else ""
    assert str(refused.value) == f"{name} is neither a setting nor an extension{hint}"


def test_a_shop_refuses_a_clock_that_it_cannot_move() -> None:
    class Clock:
        pass

    with pytest.raises(TypeError, match="clock must be a ManualClock, which `advance` can move, not a Clock"):
        Shop(clock=Clock())  # type: ignore[arg-type]


@pytest.mark.slow  # mypy reads the whole package
def test_a_type_checker_finds_wrong_arguments(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    lines = GOOD.strip().splitlines()
    script.write_text("\n".join([*lines, *WRONG]) + "\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert len(errors) == len(WRONG), done.stdout
    for number, (error, message) in enumerate(zip(errors, WRONG.values(), strict=True), len(lines) + 1):
        assert error.startswith(f"script.py:{number}: error: {message}"), error
