"""Writes docs/crash-table.md and docs/bug-zoo.md: what the simulator crashed, and what it caught. Takes some minutes.

python scripts/sim_tables.py [crashes] [zoo]
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "sim"))

from zoo import ZOO, killed  # noqa: E402

from oms.testing.sim.crash_table import crashes, paths  # noqa: E402

CRASHES = """# Crash table

Made by `python scripts/sim_tables.py crashes`. Each row is a port call of a service; each number says how often a
worker died right before or after that call, on any of the paths below, and how often all promises held afterwards.
Each death was a run of its own: the worker's ports die first, then its step is dropped, and another worker takes over.

"""

ZOO_HEAD = """# Bug zoo

Made by `python scripts/sim_tables.py zoo`. Each line is a fault that was planted into the real code, one at a time, and
the first schedule in which a promise broke: the n-th of the exhaustive search (fewest deviations first), or a seed.

| planted fault | what the developer did | found | as |
| --- | --- | --- | --- |
"""


def crash_table() -> None:
    died: Counter[tuple[str, str]] = Counter()
    held: Counter[tuple[str, str]] = Counter()
    ways = []
    for path in paths():
        count = 0
        for crash in crashes(path):
            count += 1
            key = crash.point.service, crash.point.call
            died[key] += 1
            held[key] += not crash.outcome.violations
        ways.append(f"| {path.name} | {'; '.join(map(str, path.deviations)) or 'calm'} | {count} |")
        print(ways[-1], flush=True)
    rows = [
        f"| {service} | `{call}` | {died[service, call]} | {held[service, call]} |" for service, call in sorted(died)
    ]
    text = CRASHES + f"{sum(died.values())} deaths, {sum(held.values())} times every promise held.\n\n"
    text += "| service | call | deaths | promises held |\n| --- | --- | --- | --- |\n" + "\n".join(rows)
    text += "\n\n## Paths\n\n| how the orders end | schedule | points |\n| --- | --- | --- |\n" + "\n".join(ways) + "\n"
    (ROOT / "docs" / "crash-table.md").write_text(text)


def bug_zoo() -> None:
    lines = []
    for fault in ZOO.values():
        kill = killed(fault)
        how = (
            "**not found**"
            if kill is None
            else f"seed {kill.seeds - 1}"
            if kill.seeds
            else f"schedule {kill.schedules}"
        )
        lines.append(f"| {fault.name} | {fault.what} | {how} | {kill.promise if kill else ''} |")
        print(lines[-1], flush=True)
        (ROOT / "docs" / "bug-zoo.md").write_text(ZOO_HEAD + "\n".join(lines) + "\n")


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["crashes", "zoo"]
    if "crashes" in wanted:
        crash_table()
    if "zoo" in wanted:
        bug_zoo()
