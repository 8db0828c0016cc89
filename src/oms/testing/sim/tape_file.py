"""A tape in a file: one shrunk failure, which can be replayed on any machine.

The file ends in `.omstape` and is a test by itself: `pytest FILE` plays it and fails while the promise is broken.
"""

from __future__ import annotations

import json
from pathlib import Path

import attrs

import oms
from oms.domain.errors import OmsError
from oms.testing.sim.scope import Scope
from oms.testing.sim.tape import Deviation, Deviations

FORMAT = 1
SUFFIX = ".omstape"


class TapeRefused(OmsError):
    """A tape can't be played here. The text is one line with the reason."""


@attrs.frozen
class TapeFile:
    """The contents of a file. `own` is the import path of the user's scenario, `test` the hunted test."""

    scope: Scope
    deviations: Deviations
    broken: str = ""
    seed: int | None = None
    own: str | None = None
    test: str | None = None


def save(tape: TapeFile, path: Path) -> None:
    """Write a tape, with one deviation in each line."""
    lines = ",\n    ".join(json.dumps([one.label, one.nth, one.option]) for one in tape.deviations)
    fields = {
        "format": FORMAT,
        "oms": oms.__version__,
        "broken": tape.broken,
        "seed": tape.seed,
        "own": tape.own,
        "test": tape.test,
        "scope": tape.scope.to_json(),
    }
    head = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{\n  {head},\n  "deviations": [\n    {lines}\n  ]\n}}\n')


def load(path: Path) -> TapeFile:
    """Read a tape; raises `TapeRefused` for a file that isn't a tape, or a tape of another version."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise TapeRefused(f"{path} can't be read: {error}") from error
    if not isinstance(found, dict) or "format" not in found:
        raise TapeRefused(f"{path} is no tape of the simulator")
    made_by = found["format"], found.get("oms")
    if made_by != (FORMAT, oms.__version__):
        raise TapeRefused(
            f"{path} was made by oms {made_by[1]} (tape format {made_by[0]}), this is oms {oms.__version__} "
            f"(format {FORMAT}): its choices mean something else here; hunt again with its seed {found.get('seed')}"
        )
    try:
        deviations = tuple(Deviation(label, nth, option) for label, nth, option in found["deviations"])
        scope = Scope.from_json(found["scope"])
        return TapeFile(scope, deviations, found["broken"], found["seed"], found["own"], found["test"])
    except (KeyError, TypeError, ValueError) as error:
        raise TapeRefused(f"{path} is damaged: {type(error).__name__}: {error}") from error
