"""Charts of a run as SVG, which browsers show and text tools compare."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from oms.testing.bench.results import Result

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 40
COLOURS = ("#3b6ea8", "#c46a2b", "#4c956c", "#8a5a9e", "#b23a48", "#6c757d", "#b5a642", "#2a9d8f")


def draw(directory: Path, results: Sequence[Result]) -> None:
    """Write a timeline of each run, and a chart of the CPU time per order of all runs."""
    directory.mkdir(parents=True, exist_ok=True)
    for one in results:
        name = "".join(sign if sign.isalnum() else "-" for sign in one.title.lower())
        (directory / f"timeline-{name}.svg").write_text(timeline(one))
    (directory / "cpu.svg").write_text(costs(results))


def timeline(result: Result) -> str:
    """Return a chart of the orders accepted and ended over the time of a run, in seconds."""
    points = [(0.0, 0, 0), *result.timeline]
    last_s = max(at for at, _, _ in points) or 1.0
    most = max(result.orders, 1)

    def line(values: Sequence[tuple[float, int]], colour: str) -> str:
        path = " ".join(f"{_x(at / last_s):.1f},{_y(count / most):.1f}" for at, count in values)
        return f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>'

    drawn = [
        line([(at, accepted) for at, accepted, _ in points], COLOURS[0]),
        line([(at, ended) for at, _, ended in points], COLOURS[1]),
        _text(LEFT + 10, TOP + 14, "accepted", COLOURS[0]),
        _text(LEFT + 90, TOP + 14, "ended", COLOURS[1]),
        _text(WIDTH - RIGHT, HEIGHT - 12, f"{last_s:.1f} s", anchor="end"),
        _text(LEFT - 8, TOP + 5, f"{most:,}", anchor="end"),
    ]
    return _page(f"{result.title}: {result.orders:,} orders", drawn)


def costs(results: Sequence[Result]) -> str:
    """Return a chart of the CPU time per order in milliseconds, by process, with a bar for each run."""
    names = list(dict.fromkeys(name for one in results for name in one.cpu_ms_per_order))
    most = max((sum(one.cpu_ms_per_order.values()) for one in results), default=0.0) or 1.0
    height = (HEIGHT - TOP - BOTTOM) / max(1, len(results))
    drawn = []
    for index, one in enumerate(results):
        x, y = float(LEFT), TOP + index * height
        for name, figure in one.cpu_ms_per_order.items():
            width = figure / most * (WIDTH - LEFT - RIGHT)
            colour = COLOURS[names.index(name) % len(COLOURS)]
            drawn.append(
                f'<rect x="{x:.1f}" y="{y + 4:.1f}" width="{width:.1f}" height="{height - 8:.1f}" fill="{colour}">'
                f"<title>{escape(name)}: {figure:g} ms</title></rect>"
            )
            x += width
        drawn.append(_text(LEFT - 8, y + height / 2 + 4, one.title[:11], anchor="end"))
    legend = [_text(LEFT + 80 * at, HEIGHT - 12, name, COLOURS[at % len(COLOURS)]) for at, name in enumerate(names)]
    return _page(f"CPU milliseconds an order (whole width: {most:.1f})", [*drawn, *legend])


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _text(x: float, y: float, text: str, colour: str = "#333", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'


def _page(title: str, drawn: Sequence[str]) -> str:
    axes = f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" stroke="#999" fill="none"/>'
    font = 'font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {font}>'
    return "\n".join([head, _text(LEFT, 20, title), axes, *drawn, "</svg>\n"])
