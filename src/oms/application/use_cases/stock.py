"""The stock use cases of one system, as `app.stock` offers them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import attrs

from oms.application import inventory
from oms.application.inventory import InventoryService
from oms.application.inventory_work import InventoryWork
from oms.application.stock_gate import GatePhase
from oms.application.use_cases.idempotency import checked_key, dump_stock, restore_stock
from oms.application.use_cases.requests import TRUSTED, Drive, RequestContext, Submit, checked_page, result_of
from oms.domain.commands import AddStock, SetStock
from oms.domain.errors import NotFound
from oms.domain.stock import Stock
from oms.domain.values import Sku, checked_id
from oms.engine.assembly import ServiceAssembly
from oms.engine.command_groups import Command, Key, Reply
from oms.ports.clock import Ids
from oms.ports.extensions import Principal
from oms.ports.stores.inventory import InventoryStore
from oms.ports.stores.rows import Page

StockChange = Callable[[InventoryWork, str], Stock]
"""Changes a product's stock in a unit of work; the text is the reference of the ledger's row."""


@attrs.frozen
class StockUseCases:
    """The stock of a system. `set` takes a count, `add` a difference; both take an idempotency key."""

    _assembly: ServiceAssembly[InventoryWork]
    _ids: Ids
    _drive: Drive

    def driven_by(self, drive: Drive) -> StockUseCases:
        """Return the same use cases, whose commands `drive` runs."""
        return attrs.evolve(self, drive=drive)

    def get(self, sku: str) -> Stock:
        """Return a product's stock; `NotFound` for an unknown product."""
        checked_id(sku, name="productId")
        found = self._store.stock([Sku(sku)]).get(Sku(sku))
        if found is None:
            raise NotFound("product_not_found", f"there is no product {sku}")
        return found

    def page(self, number: int = 0, size: int = 10) -> Page[Stock]:
        """Return a page of products, ordered by SKU."""
        checked_page(number, size)
        return self._store.stock_page(number, size)

    def set(self, sku: str, on_hand: int, *, caller: Principal = TRUSTED, key: str | None = None) -> Stock:
        """Set the units on hand, as counted. Raises `Conflict` for fewer units than are held for orders."""
        return self._result(partial(self.submit_set, SetStock.of(sku, on_hand), RequestContext(caller, key)))

    def add(self, sku: str, delta: int, *, caller: Principal = TRUSTED, key: str | None = None) -> Stock:
        """Add received units, or remove lost ones (`delta` < 0); raises `Conflict` if held units would be missing."""
        return self._result(partial(self.submit_add, AddStock.of(sku, delta), RequestContext(caller, key)))

    def submit_set(self, command: SetStock, context: RequestContext, reply: Reply) -> None:
        """Like `set`, with the next group of commands; the reply gets the `Stock`. Never blocks."""
        key = checked_key(context.key, context.caller, "stock.set", [command.sku, command.on_hand])
        self._submit(command.sku, lambda work, reference: inventory.set_stock(work, command, reference), key, reply)

    def submit_add(self, command: AddStock, context: RequestContext, reply: Reply) -> None:
        """Like `add`, with the next group of commands; the reply gets the `Stock`. Never blocks."""
        key = checked_key(context.key, context.caller, "stock.add", [command.sku, command.delta])
        self._submit(command.sku, lambda work, reference: inventory.add_stock(work, command, reference), key, reply)

    def rebuild_gate(self) -> int:
        """Replace the stock gate's data with that of the ledger, and return the new epoch. May block.

        Raises `NotFound` if the system has no gate.
        """
        phase = _gate_phase(self._assembly)
        if phase is None:
            raise NotFound("no_gate", "there is no gate here: the ledger alone decides")
        return phase.rebuild()

    @property
    def _store(self) -> InventoryStore:
        return cast("InventoryStore", self._assembly.service.store)

    def _submit(self, sku: Sku, change: StockChange, key: Key | None, reply: Reply) -> None:
        command = stock_command(self._assembly, sku, change, self._ids.token(), key)
        self._assembly.commands.submit(command, reply)

    def _result(self, submit: Submit) -> Stock:
        stock: Stock = result_of(submit, self._assembly, self._drive)
        return stock


def stock_command(
    assembly: ServiceAssembly[InventoryWork], sku: Sku, change: StockChange, reference: str, key: Key | None = None
) -> Command[InventoryWork, Stock]:
    """Return the command that changes a product's stock. It adds the product to the gate before the transaction.

    `reference` identifies the change in the ledger.
    """
    phase = _gate_phase(assembly)
    return Command(
        lambda unit: change(unit.work, reference),
        key=key,
        dump=dump_stock,
        restore=restore_stock,
        prepare=None if phase is None else lambda: phase.make_known(sku),
    )


def _gate_phase(assembly: ServiceAssembly[InventoryWork]) -> GatePhase | None:
    return cast("InventoryService", assembly.service).gate_phase
