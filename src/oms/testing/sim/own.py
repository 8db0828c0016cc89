"""A user's own steps in a simulation: made afresh for each schedule, as the system around them is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oms.bootstrap import imported
from oms.entrypoints.app import App, create
from oms.settings import Settings
from oms.testing.sim.search import Prepare, Prepared, nothing_own

Scenario = Callable[[App], Callable[[], object] | None]
"""Subscribes own steps to the `App` that it gets, and may answer with a check to be made at rest.

What the check asserts is a promise of the user's own: an `AssertionError` breaks it. The app itself is never run.
"""

_SETTINGS = Settings(profile="memory")


def prepared(path: str | None) -> Prepare:
    """The scenario behind an import path `package.module:function`; none is the four services alone."""
    if path is None:
        return nothing_own
    scenario: Any = imported(path, "--own")
    return scenario_of(scenario)


def scenario_of(scenario: Scenario) -> Prepare:
    """What a search calls for each schedule."""

    def prepare() -> Prepared:
        app = create(_SETTINGS)
        check = scenario(app)
        return app.own_steps, check

    return prepare
