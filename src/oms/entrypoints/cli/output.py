"""Output of the commands: tables for people, JSON for machines, and one line on stderr for an error.

Every command prints through this module, which lets no control character in data reach the terminal. Otherwise a
customer's text could move the operator's cursor, recolour or reorder lines, or run commands of the terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

from oms.domain.text import printable_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

PIPE_WIDTH = 240
"""Width in columns if stdout isn't a terminal, so that identifiers stay on one line for grep."""

COLOURS = {
    "CONFIRMED": "green",
    "FULFILLING": "green",
    "COMPLETED": "green",
    "CANCELLED": "yellow",
    "CANCELLING": "yellow",
    "REJECTED": "red",
    "PAID": "green",
    "REFUSED": "red",
    "PARKED": "red",
    "holds": "green",
    "broken": "bold red",
}


def print_line(line: str) -> None:
    """Print one line on stdout."""
    sys.stdout.write(f"{printable_text(line)}\n")


def complain(line: object) -> None:
    """Print one line on stderr; line breaks in it become blanks."""
    sys.stderr.write(f"oms: {printable_text(' '.join(str(line).split()))}\n")


def give_up(line: str, code: int) -> NoReturn:
    """End the command with one line on stderr."""
    complain(line)
    raise SystemExit(code)


def console(pipe_width: int = PIPE_WIDTH) -> Console:
    """Return the console, with a fixed width if stdout isn't a terminal."""
    from rich.console import Console

    class Screen(Console):
        """Cleans each text that isn't a rich object (`printable_text`); in rich objects, `plain` cleans the values."""

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable_text(text, keep="\n"), **options)

    return Screen(width=None if sys.stdout.isatty() else pipe_width, highlight=False)


def plain(value: object) -> Text:
    """Return a value as text that can't colour, move or break the terminal, and in which markup has no effect."""
    from rich.text import Text

    if isinstance(value, Mapping):
        said = ", ".join(f"{name}={inner}" for name, inner in value.items())
    else:
        said = "" if value is None else str(value)
    said = printable_text(said)
    return Text(said, style=COLOURS.get(said, ""))


def table(*columns: str) -> Table:
    """Return a table without borders; long values are folded, never cut."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def to_json(value: object) -> bytes:
    """Return a value as JSON; decimals keep all their digits."""
    import msgspec

    return msgspec.json.Encoder(decimal_format="number").encode(value)


def show_json(answer: object) -> None:
    r"""Print a response as indented JSON; control characters are escaped, as in `\u202e`."""
    import msgspec

    try:
        text = to_json(answer)
    except UnicodeEncodeError:  # a lone surrogate, which a response can contain as `\ud83d`
        text = to_json(_encodable(answer))
    shown = msgspec.json.format(text, indent=2).decode()
    sys.stdout.write("".join(sign if sign.isprintable() or sign == "\n" else _escaped(sign) for sign in shown) + "\n")


def _escaped(sign: str) -> str:
    units = sign.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return {_encodable(name): _encodable(inner) for name, inner in value.items()}
    return [_encodable(inner) for inner in value] if isinstance(value, list) else value


def show_list(answer: Sequence[Mapping[str, Any]], columns: Sequence[str], nothing: str) -> None:
    """Print one line for each row, or `nothing` if there are none."""
    if not answer:
        console().print(nothing)
        return
    made = table(*columns)
    for column, name in zip(made.columns, columns, strict=True):
        if all(isinstance(row.get(name), int | Decimal) for row in answer):
            column.justify = "right"
    for row in answer:
        made.add_row(*(plain(row.get(column)) for column in columns))
    console().print(made)


def show_one(answer: Mapping[str, Any], names: Sequence[str]) -> None:
    """Print one object, one line for each field that it has."""
    made = table("", "")
    made.show_header = False
    for name in names:
        if answer.get(name) is not None:
            made.add_row(f"[bold]{name}[/]", plain(answer[name]))
    console().print(made)


def timeline(entries: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of an order's timeline entries (seq, at, trigger, before, after, detail).

    Changes of state are bold. Details have a column if there are some.
    """
    detailed = any(entry.get("detail") for entry in entries)
    made = table("", "seq", "after", "what", "state", *(["detail"] if detailed else []))
    made.columns[1].justify = made.columns[2].justify = "right"
    begun = datetime.fromisoformat(entries[0]["at"]) if entries else None
    for entry in entries:
        moved = entry["before"] != entry["after"]
        offset_s = (datetime.fromisoformat(entry["at"]) - begun).total_seconds() if begun else 0.0
        state = plain(entry["after"])
        if moved:
            state = plain(entry["before"]).append(" → ").append_text(state)
            state.stylize("bold", len(entry["before"]))
        else:
            state.stylize("dim")
        detail = [plain(entry.get("detail"))] if detailed else []
        made.add_row(
            "●" if moved else "·", plain(entry["seq"]), _span(offset_s), plain(entry["trigger"]), state, *detail
        )
    return made


def _span(seconds: float) -> str:
    if seconds < 10:
        return f"+{seconds * 1000:.0f} ms"
    return f"+{seconds:.1f} s" if seconds < 600 else f"+{seconds / 60:.0f} min"
