"""A user's own steps in a simulation: made afresh for each schedule, as the system around them is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from oms.bootstrap.app import App
from oms.bootstrap.extension_loading import imported
from oms.testing.sim.rolling_upgrade import SimulatedApp
from oms.testing.sim.search import Player, Prepare, Prepared, play, player_of

Scenario = Callable[[App], Callable[[], object] | None]
"""Subscribes own steps to the `App` that it gets, and may answer with a check to be made at rest.

What the check asserts is a promise of the user's own: an `AssertionError` breaks it. The app itself is never run.
The next version of its steps goes to `oms.testing.beside(app)`.
"""


def player_of_path(path: str | None) -> Player:
    """Plays the scenario behind an import path `package.module:function`; None is the four services alone.

    Modules of the current directory are found, as those of a test are.
    """
    if path is None:
        return play
    if "" not in sys.path:
        sys.path.insert(0, "")
    scenario: Any = imported(path, "--own")
    return player_of(scenario_of(scenario))


def scenario_of(scenario: Scenario) -> Prepare:
    """What is made afresh for each schedule."""

    def prepare() -> Prepared:
        app = SimulatedApp()
        check = scenario(app)
        return app.own_steps, check

    return prepare
