"""A user's own steps in a simulation: made anew for each schedule, like the system around them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from oms.bootstrap.app import App
from oms.bootstrap.extension_loading import imported
from oms.testing.sim.rolling_upgrade import SimulatedApp
from oms.testing.sim.search import Player, Prepare, Prepared, play, player_of

Scenario = Callable[[App], Callable[[], object] | None]
"""Subscribes own steps to the `App` that it gets, and may return a check to run when the system is at rest.

The check asserts the user's own promises: an `AssertionError` breaks one. The scenario never runs the app itself.
`oms.testing.rolling_upgrade(app)` takes the next version of its steps.
"""


def player_of_path(path: str | None) -> Player:
    """Return a player of the scenario with the import path `package.module:function`; None: only the four services.

    The current directory is on the import path, as it is for tests.
    """
    if path is None:
        return play
    if "" not in sys.path:
        sys.path.insert(0, "")
    scenario: Any = imported(path, "--own")
    return player_of(scenario_of(scenario))


def scenario_of(scenario: Scenario) -> Prepare:
    """Return a function that prepares the scenario anew for each schedule."""

    def prepare() -> Prepared:
        app = SimulatedApp()
        check = scenario(app)
        return app.own_steps, check

    return prepare
