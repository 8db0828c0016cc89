"""A rolling deployment: two versions of a handler run at the same time on the same rows, log and tasks.

In each group that has a next version, the last worker runs it; such a group has at least two workers. Each version must
read the rows that the other one wrote, and run the tasks that the other one created.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

import attrs

from oms.application.steps.context import OutsideCall, OwnStep, StepHandler
from oms.application.steps.service import step_service
from oms.application.use_cases.orders import OrderUseCases
from oms.application.use_cases.stock import StockUseCases
from oms.bootstrap.app import App
from oms.bootstrap.container import Extensions, container_of
from oms.domain.errors import OmsError
from oms.engine.group_start import DEFAULT, Since
from oms.engine.service import Service
from oms.ports.extensions import Policy, Pricing
from oms.ports.stores.steps import StepStore
from oms.ports.telemetry import Telemetry
from oms.settings import Settings
from oms.testing.sim.own_calls import OwnCalls

Change = Callable[[Service[Any]], Service[Any]]
"""Makes the next version of a service from the current one: other routes, or other executors of its tasks."""


class NextVersion(App):
    """Takes the next version of own steps (`subscribe`, like any `App`) and of the four services (`change`)."""

    def __init__(self) -> None:
        super().__init__(container_of(Settings(profile="memory"), Extensions()))
        self.changes: dict[str, Change] = {}

    def change(self, service: str, change: Change) -> None:
        """Define the next version of one of the four services: the result of `change`."""
        self.changes[service] = change


@attrs.frozen
class NextVersions:
    """The next versions of own steps by group, and of services by name."""

    steps: Mapping[str, OwnStep] = attrs.field(factory=dict)
    changes: Mapping[str, Change] = attrs.field(factory=dict)

    def changed(self, name: str) -> bool:
        """Whether there is a next version of a service or step."""
        return name in self.steps or name in self.changes

    def workers(self, name: str, wanted: int) -> int:
        """Return the number of workers of a service or step: at least two if it has two versions."""
        return max(wanted, 2) if self.changed(name) else wanted

    def next_of(self, service: Service[Any], clock: Any, telemetry: Telemetry) -> Service[Any]:
        """Return the next version of a service or step, which must have one."""
        if service.name in self.changes:
            return self.changes[service.name](service)
        store = cast("StepStore", service.store)
        return step_service(store, clock, telemetry, service.name, self.steps[service.name])


class OwnSteps(dict[str, OwnStep]):
    """The steps of a scenario by group, with the next versions of steps and services."""

    next_versions = NextVersions()


class SimulatedApp(App):
    """The app that a scenario gets: it takes steps and extensions, which the simulation runs.

    Its `orders` and `stock` are those of the simulated system; they raise `OmsError` if no system has been made.
    """

    def __init__(self, extensions: Extensions | None = None) -> None:
        super().__init__(container_of(Settings(profile="memory"), extensions or Extensions()))
        self.extensions = extensions or Extensions()
        self.next_version: NextVersion | None = None
        self.taken = False
        """Whether a system was made of its steps, so that further steps come too late."""

        self.place_in: Callable[[], tuple[OrderUseCases, StockUseCases]] | None = None
        """Returns the orders and the stock of the simulated system."""

    @property
    def orders(self) -> OrderUseCases:
        """The orders of the simulated system."""
        return self._use_cases[0]

    @property
    def stock(self) -> StockUseCases:
        """The stock of the simulated system."""
        return self._use_cases[1]

    @property
    def own_calls(self) -> OwnCalls:
        """The shop's own gateway and notifier."""
        made = self.container
        return OwnCalls(
            made.gateway() if self.extensions.gateway else None, made.notifier() if self.extensions.notifier else None
        )

    @property
    def rules(self) -> tuple[Pricing | None, Policy | None]:
        """The shop's own pricing and policy."""
        return self.container.pricing(), self.container.policy()

    @property
    def _use_cases(self) -> tuple[OrderUseCases, StockUseCases]:
        if self.place_in is None:
            raise OmsError("a simulated app has orders and stock in a hunted test only: elsewhere nothing runs it")
        return self.place_in()

    def subscribe(
        self,
        topic: str,
        *,
        group: str,
        handler: StepHandler,
        calls: Mapping[str, OutsideCall] | None = None,
        publishes: Collection[str] = (),
        since: Since = DEFAULT,
        foreign: bool = False,
    ) -> None:
        """As `App.subscribe`; call it before the first order or any other use of the shop."""
        if self.taken:
            raise OmsError("subscribe before the shop is used")
        super().subscribe(
            topic, group=group, handler=handler, calls=calls, publishes=publishes, since=since, foreign=foreign
        )

    @property
    def own_steps(self) -> OwnSteps:
        """Return the user's own steps by group, with the next versions that run at the same time."""
        found = OwnSteps(super().own_steps)
        if self.next_version is not None:
            found.next_versions = NextVersions(self.next_version.own_steps, self.next_version.changes)
        return found


def rolling_upgrade(app: App) -> NextVersion:
    """Return the next version of a simulated app's services and steps: a rolling deployment for the whole schedule."""
    if not isinstance(app, SimulatedApp):
        raise OmsError("two versions run side by side in the simulator: in `oms sim --own`, or in a hunted test")
    if app.next_version is None:
        app.next_version = NextVersion()
    return app.next_version


def next_versions_of(own: Mapping[str, OwnStep] | None) -> NextVersions:
    """Return the next versions that run at the same time as these steps."""
    return own.next_versions if isinstance(own, OwnSteps) else NextVersions()
