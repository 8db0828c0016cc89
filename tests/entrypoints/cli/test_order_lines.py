"""Lines and charges as arguments."""

from __future__ import annotations

from decimal import Decimal

import pytest

from oms.entrypoints.cli.order_lines import charges_of, lines_of


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ("a=2", {"productId": "a", "quantity": 2}),
        ("a=2@12.50", {"productId": "a", "quantity": 2, "amount": Decimal("12.50")}),
        ("a:b=2:Größe L", {"productId": "a:b", "quantity": 2, "name": "Größe L"}),
        ("a=2@1:x=1@2:y", {"productId": "a", "quantity": 2, "amount": Decimal(1), "name": "x=1@2:y"}),
        ("a=2:", {"productId": "a", "quantity": 2, "name": ""}),
    ],
)
def test_a_line_is_read(entry: str, line: dict[str, object]) -> None:
    assert lines_of([entry]) == [line]


@pytest.mark.parametrize(
    "entry", ["", "a", "a=", "a=x", "a=1.0", "a=1 ", "a=1@", "a=1@x", "a=1@1e5", "a=" + "9" * 5000]
)
def test_a_line_of_another_form_ends_the_command(entry: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        lines_of([entry])
    assert ended.value.code == 2
    assert "--line" in capsys.readouterr().err


def test_charges_are_read() -> None:
    assert charges_of(["shipping=4.90", "tax=0"]) == [
        {"kind": "shipping", "amount": Decimal("4.90")},
        {"kind": "tax", "amount": Decimal(0)},
    ]
