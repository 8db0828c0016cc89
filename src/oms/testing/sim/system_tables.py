"""The tables of a simulated system, by service and own step: the typed form of a dictionary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast, overload

from oms.adapters.memory.inventory import InventoryTables
from oms.adapters.memory.notifications import NotificationTables
from oms.adapters.memory.orders import OrderTables
from oms.adapters.memory.payments import PaymentTables
from oms.adapters.memory.service_tables import ServiceTables
from oms.adapters.memory.steps import StepTables


class SystemTables(dict[str, ServiceTables]):
    """The tables of each service and own step by name. They outlive the workers.

    At run time this is a dictionary without more code: a search reads it several times in each step.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, name: Literal["order"], /) -> OrderTables: ...
        @overload
        def __getitem__(self, name: Literal["inventory"], /) -> InventoryTables: ...
        @overload
        def __getitem__(self, name: Literal["payment"], /) -> PaymentTables: ...
        @overload
        def __getitem__(self, name: Literal["notification"], /) -> NotificationTables: ...
        @overload
        def __getitem__(self, name: str, /) -> ServiceTables: ...
        def __getitem__(self, name: str, /) -> ServiceTables:
            """Return the tables of one service or own step."""

    def of_step(self, group: str) -> StepTables:
        """Return the tables of an own step."""
        return cast("StepTables", self[group])
