"""Prints the responses of a running system: tables for people, JSON for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oms.entrypoints.cli.client import Remote
from oms.entrypoints.cli.output import console, show_json, show_list, show_one


def print_one(remote: Remote, answer: dict[str, object], names: Sequence[str]) -> None:
    """Print one object."""
    if remote.json:
        show_json(answer)
        return
    with remote.reading():
        show_one(answer, names)


def print_many(
    remote: Remote, answer: object, rows: Sequence[dict[str, object]], columns: Sequence[str], nothing: str
) -> None:
    """Print one line for each row, or `nothing` if there are none."""
    if remote.json:
        show_json(answer)
        return
    with remote.reading():
        show_list(rows, columns, nothing)


def print_page(remote: Remote, answer: dict[str, Any], columns: Sequence[str], what: str) -> None:
    """Print one page and, if there are more, its number and that of the last one."""
    with remote.reading():
        rows, last = answer["content"], (answer["totalElements"] - 1) // answer["size"]
    print_many(remote, answer, rows, columns, f"no {what}")
    if not remote.json and last > 0:
        console().print(f"[dim]page {answer['number']}, the last is {last}; {answer['totalElements']} {what}[/]")
