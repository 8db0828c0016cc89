"""What a program can ask of a running system: orders, stock and dead letters. Outside to command, result to outside."""

from __future__ import annotations

import hashlib
import json
from asyncio import to_thread
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

import attrs

from oms.application import inventory, orders
from oms.application.extensions.terms import checked_total
from oms.application.inventory import GateKeeper, GatePhase, InventoryWork
from oms.application.orders import OrderWork
from oms.domain.commands import AddStock, CancelOrder, PlaceOrder, SetStock
from oms.domain.errors import DomainError, InvalidValue, NotFound, Refused
from oms.domain.events import Reason
from oms.domain.money import Currency
from oms.domain.order import Order, OrderState
from oms.domain.state_machine import HistoryEntry
from oms.domain.stock import Stock
from oms.domain.values import OrderId, Sku, Terms, UserId, checked_id
from oms.engine.assembly import ServiceAssembly
from oms.engine.call_health import count_error
from oms.engine.command_groups import Command, CommandGroup, Key
from oms.ports.clock import Ids
from oms.ports.errors import Retryable
from oms.ports.extensions import Policy, Pricing, Principal, Role
from oms.ports.messages import Cause, valid_trace
from oms.ports.stores.inventory import InventoryStore
from oms.ports.stores.order import OrderStore
from oms.ports.stores.rows import DeadLetter, DeadLetterState, DeadLetterSummary, Page
from oms.ports.telemetry import Telemetry

T = TypeVar("T")
W = TypeVar("W")

TRUSTED = Principal(Role.TRUSTED)
MAX_PAGE = 100
MAX_PAGE_NUMBER = 10**6
MAX_KEY = 255

Agreed = Terms | DomainError | Retryable
"""The terms of an order before its transaction, or what this raises unless the order's key has an answer by then."""

Pump = Callable[[ServiceAssembly[Any], "Future[Any]"], None]
"""Lets the system work until a future is done, where no thread does."""


def ask(group: CommandGroup[Any], command: Command[Any, T]) -> Future[T]:
    """Have a command run with its service's next group."""
    future: Future[T] = Future()

    def reply(value: Any, error: Exception | None) -> None:
        if not future.set_running_or_notify_cancel():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)

    group.submit(command, reply)
    return future


def checked_key(key: str | None, caller: Principal, route: str, body: object) -> Key | None:
    """An idempotency key with its scope (caller and route) and the fingerprint of the parsed body."""
    if key is None:
        return None
    if not (isinstance(key, str) and 1 <= len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
        raise InvalidValue("invalid_idempotency_key", f"an Idempotency-Key is 1 to {MAX_KEY} printable characters")
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return Key(f"{caller.scope} {route}", key, hashlib.sha256(text.encode()).hexdigest())


def checked_page(number: int, size: int) -> None:
    """Refuse pages that don't exist or are too large."""
    if not 0 <= number <= MAX_PAGE_NUMBER:
        raise InvalidValue("invalid_page", f"page is 0 to {MAX_PAGE_NUMBER}")
    if not 1 <= size <= MAX_PAGE:
        raise InvalidValue("invalid_size", f"size is 1 to {MAX_PAGE}")


@attrs.frozen
class Orders:
    """The orders of a system. Every method takes the caller; a customer sees and changes only own orders.

    The `submit` methods return a future that is done after the commit; the others wait for it. Both raise
    `oms.DomainError` for refusals, and `oms.Retryable` or `oms.OutcomeUnknown` where the caller should try again.
    """

    _parts: ServiceAssembly[OrderWork]
    _store: OrderStore
    _ids: Ids
    _pump: Pump
    _currency: Currency
    _pricing: Pricing | None = None
    _policy: Policy | None = None
    _telemetry: Telemetry | None = None

    def place(
        self,
        command: PlaceOrder,
        *,
        caller: Principal = TRUSTED,
        key: str | None = None,
        connection: object = None,
        trace: str | None = None,
    ) -> Order:
        """Accept an order: durable when this returns. Its events carry `trace`, a W3C `traceparent`, on.

        With `connection` (a SQLAlchemy connection to the database of the order service, in a transaction) the order
        is part of the caller's own transaction: it and its events exist if, and only if, that one commits. After an
        error the caller has to roll back. That transaction is then what makes a repeat harmless: a `key` can't be given
        as well (`ValueError`). Raises `Permanent` for a connection that can't be joined: see "Joining" in
        docs/distributed.md.
        """
        if connection is None:
            return self._wait(self.submit(command, caller=caller, key=key, trace=trace))
        if key is not None:
            raise ValueError("key and connection exclude each other")
        order_id, agreed = self._ids.order_id(), self.agree(command, caller)
        placed: list[Order] = []

        def act(work: OrderWork) -> None:
            work.changes.cause = Cause(traceparent=valid_trace(trace))
            placed.append(_placed(work, order_id, agreed))

        self._parts.units.within(partial(self._store.join, connection), act)
        return placed[0]

    async def aplace(
        self, command: PlaceOrder, *, caller: Principal = TRUSTED, key: str | None = None, trace: str | None = None
    ) -> Order:
        """Like `place`, for coroutines: the blocking call runs in a thread (`asyncio.to_thread`).

        A coroutine that is cancelled meanwhile doesn't stop the call, so the order may be accepted all the same; a
        `key` makes it safe to repeat. A `connection` can't be joined from another thread.
        """
        return await to_thread(self.place, command, caller=caller, key=key, trace=trace)

    def submit(
        self, command: PlaceOrder, *, caller: Principal = TRUSTED, key: str | None = None, trace: str | None = None
    ) -> Future[Order]:
        """Like `place`, without waiting for the commit. Pricing and policy run in the calling thread."""
        return self.submit_agreed(command, self.agree(command, caller, key), caller=caller, key=key, trace=trace)

    @property
    def asks_the_shop(self) -> bool:
        """Whether `agree` calls pricing or policy of the shop's own, which may block."""
        return self._pricing is not None or self._policy is not None

    def agree(self, command: PlaceOrder, caller: Principal, key: str | None = None) -> Agreed:
        """What owner, pricing and policy say; may block where those do I/O.

        A key that has its answer already gets it whatever they would say now, so they aren't asked. Where they
        refuse a keyed order, the refusal is left to the transaction: another request may have been answered first.
        """
        terms = command.terms
        checked_total(terms.total, self._currency, "the order's total")
        if caller.owner is not None and terms.user_id != caller.owner:
            raise Refused("not_your_user", "orders can only be placed for yourself")
        if not self.asks_the_shop:
            return terms
        named = _place_key(command, caller, key)
        if named is not None and self._store.answer(named.scope, named.key) is not None:
            return Retryable("the answer under this key has come to its end meanwhile")
        try:
            return self._asked(terms, caller)
        except DomainError as refusal:
            if named is None:
                raise
            return refusal

    def submit_agreed(
        self, command: PlaceOrder, agreed: Agreed, *, caller: Principal, key: str | None, trace: str | None = None
    ) -> Future[Order]:
        """The last part of `submit`: never blocks."""
        return ask(*self.placing(command, agreed, caller=caller, key=key, trace=trace))

    def placing(
        self, command: PlaceOrder, agreed: Agreed, *, caller: Principal, key: str | None, trace: str | None = None
    ) -> tuple[CommandGroup[OrderWork], Command[OrderWork, Order]]:
        """What that submits, and to whom."""
        order_id = self._ids.order_id()
        return self._parts.commands, Command(
            lambda unit: _placed(unit.work, order_id, agreed),
            key=_place_key(command, caller, key),
            dump=_dump,
            restore=self._restore,
            recover=lambda: self._store.order(order_id, None),
            trace=valid_trace(trace),
        )

    def cancel(
        self, command: CancelOrder, *, caller: Principal = TRUSTED, key: str | None = None, trace: str | None = None
    ) -> Order:
        """End an order cancelled; `Conflict` where it has ended otherwise, `NotFound` for another's."""
        return self._wait(self.submit_cancel(command, caller=caller, key=key, trace=trace))

    async def acancel(
        self, command: CancelOrder, *, caller: Principal = TRUSTED, key: str | None = None, trace: str | None = None
    ) -> Order:
        """Like `cancel`, for coroutines: the call runs in a thread, which goes on when the coroutine is cancelled."""
        return await to_thread(self.cancel, command, caller=caller, key=key, trace=trace)

    def submit_cancel(
        self, command: CancelOrder, *, caller: Principal = TRUSTED, key: str | None = None, trace: str | None = None
    ) -> Future[Order]:
        """Like `cancel`, without waiting."""
        checked_id(command.order_id, name="orderId")
        if command.by_operator and caller.role is Role.CUSTOMER:
            raise Refused("operators_only", "only an operator may cancel as an operator")
        return ask(
            self._parts.commands,
            Command(
                lambda unit: orders.cancel(unit.work, command, caller.owner),
                names=(command.order_id,),
                key=checked_key(key, caller, "cancel", [command.order_id, command.by_operator]),
                dump=_dump,
                restore=self._restore,
                recover=lambda: self._cancelled(command.order_id, caller),
                trace=valid_trace(trace),
            ),
        )

    def resume(self, order_id: str, *, caller: Principal = TRUSTED, trace: str | None = None) -> Order:
        """Have an imported order (LEGACY) go on as if it were placed now; safe to repeat.

        `Conflict` for one that ended otherwise, `Refused` for a customer.
        """
        return self._wait(self.submit_resume(order_id, caller=caller, trace=trace))

    def submit_resume(self, order_id: str, *, caller: Principal = TRUSTED, trace: str | None = None) -> Future[Order]:
        """Like `resume`, without waiting."""
        known = OrderId(checked_id(order_id, name="orderId"))
        if caller.role is Role.CUSTOMER:
            raise Refused("operators_only", "only an operator may resume an imported order")
        return ask(
            self._parts.commands,
            Command(
                lambda unit: orders.resume(unit.work, known),
                names=(known,),
                recover=lambda: self._resumed(known),
                trace=valid_trace(trace),
            ),
        )

    def get(self, order_id: str, *, caller: Principal = TRUSTED) -> Order:
        """An order; `NotFound` where there is none of this caller."""
        order = self._store.order(OrderId(checked_id(order_id, name="orderId")), caller.owner)
        if order is None:
            raise NotFound("order_not_found", f"there is no order {order_id}")
        return order

    async def aget(self, order_id: str, *, caller: Principal = TRUSTED) -> Order:
        """Like `get`, for coroutines: the blocking call runs in a thread."""
        return await to_thread(self.get, order_id, caller=caller)

    def page(
        self, number: int = 0, size: int = 10, *, user_id: str | None = None, caller: Principal = TRUSTED
    ) -> Page[Order]:
        """A page of orders, the newest first; a customer's own whatever `user_id` says, else of `user_id` or all."""
        checked_page(number, size)
        wanted = UserId(checked_id(user_id, name="userId")) if user_id is not None else None
        if caller.owner is not None and wanted not in (None, caller.owner):
            return Page((), number, size, 0)
        return self._store.orders(caller.owner or wanted, number, size)

    def timeline(self, order_id: str, *, caller: Principal = TRUSTED) -> Sequence[HistoryEntry]:
        """What the order service did and consumed, by `seq`."""
        found = self._store.timeline(OrderId(checked_id(order_id, name="orderId")), caller.owner)
        if found is None:
            raise NotFound("order_not_found", f"there is no order {order_id}")
        return found

    def _wait(self, future: Future[T]) -> T:
        self._pump(self._parts, future)
        return future.result()

    def _asked(self, terms: Terms, caller: Principal) -> Terms:
        pricing, policy = self._pricing, self._policy
        if pricing is not None:
            terms = attrs.evolve(terms, total=self._watched("pricing", lambda: pricing.price(terms)))
        if policy is not None:
            self._watched("policy", lambda: policy.check(terms, caller))
        return terms

    def _watched(self, extension: str, call: Callable[[], T]) -> T:
        """Log and count an error of a shop's own code, and raise it to the caller; a refusal isn't one."""
        try:
            return call()
        except DomainError:
            raise
        except Exception as error:
            if self._telemetry is not None:
                count_error(self._telemetry, extension, type(error).__name__)
                self._telemetry.failure("order not checked", error, extension=extension)
            raise

    def _restore(self, body: str) -> Order:
        answer = json.loads(body)
        order = self.get(answer["orderId"])
        reason = Reason(answer["reason"]) if answer["reason"] else None
        return attrs.evolve(order, state=OrderState(answer["status"]), reason=reason)

    def _resumed(self, order_id: OrderId) -> Order | None:
        order = self._store.order(order_id, None)
        return order if order is not None and order.state is not OrderState.LEGACY else None

    def _cancelled(self, order_id: OrderId, caller: Principal) -> Order | None:
        order = self._store.order(order_id, caller.owner)
        ended = order is not None and order.state in (OrderState.CANCELLING, OrderState.CANCELLED)
        return order if ended else None


def _place_key(command: PlaceOrder, caller: Principal, key: str | None) -> Key | None:
    if key is None:
        return None
    asked = command.terms
    body = [asked.user_id, asked.total.minor, asked.total.currency.code, dict(asked.items), dict(asked.metadata)]
    return checked_key(key, caller, "place", body)


def _placed(work: OrderWork, order_id: OrderId, agreed: Agreed) -> Order:
    if isinstance(agreed, Exception):
        raise agreed
    return orders.place(work, order_id, agreed)


def _dump(order: Order) -> str:
    reason = order.reason.value if order.reason else None
    return json.dumps({"orderId": order.id, "status": order.state.value, "reason": reason})


@attrs.frozen
class StockDesk:
    """The stock of a system. `set` is a count, `add` a delta; both take an idempotency key."""

    _parts: ServiceAssembly[InventoryWork]
    _store: InventoryStore
    _ids: Ids
    _pump: Pump

    def get(self, sku: str) -> Stock:
        """A product; `NotFound` for one that nobody has named yet."""
        checked_id(sku, name="productId")
        found = self._store.stock([Sku(sku)]).get(Sku(sku))
        if found is None:
            raise NotFound("product_not_found", f"there is no product {sku}")
        return found

    def page(self, number: int = 0, size: int = 10) -> Page[Stock]:
        """A page of products, by sku."""
        checked_page(number, size)
        return self._store.stock_page(number, size)

    def set(self, sku: str, on_hand: int, *, caller: Principal = TRUSTED, key: str | None = None) -> Stock:
        """Count a product: so many are on hand. `Conflict` below what is held."""
        return self._wait(self.submit_set(SetStock.of(sku, on_hand), caller=caller, key=key))

    def add(self, sku: str, delta: int, *, caller: Principal = TRUSTED, key: str | None = None) -> Stock:
        """Receive (or write off) units. `Conflict` where held units would be missing."""
        return self._wait(self.submit_add(AddStock.of(sku, delta), caller=caller, key=key))

    def submit_set(self, command: SetStock, *, caller: Principal = TRUSTED, key: str | None = None) -> Future[Stock]:
        """Like `set`, without waiting."""
        return self._submit(
            command.sku,
            lambda work, reference: inventory.set_stock(work, command, reference),
            checked_key(key, caller, "stock.set", [command.sku, command.on_hand]),
        )

    def submit_add(self, command: AddStock, *, caller: Principal = TRUSTED, key: str | None = None) -> Future[Stock]:
        """Like `add`, without waiting."""
        return self._submit(
            command.sku,
            lambda work, reference: inventory.add_stock(work, command, reference),
            checked_key(key, caller, "stock.add", [command.sku, command.delta]),
        )

    def rebuild_gate(self) -> int:
        """Have the gate forget all and know what the ledger says; answers with the new epoch. May block.

        `NotFound` where there is no gate, because the ledger alone decides.
        """
        for step in self._parts.service.steps:
            if isinstance(step, GateKeeper):
                return step.rebuild()
        raise NotFound("no_gate", "there is no gate here: the ledger alone decides")

    def _submit(self, sku: Sku, change: Callable[[InventoryWork, str], Stock], key: Key | None) -> Future[Stock]:
        return ask(self._parts.commands, stock_command(self._parts, sku, change, self._ids.token(), key))

    def _wait(self, future: Future[T]) -> T:
        self._pump(self._parts, future)
        return future.result()


def stock_command(
    parts: ServiceAssembly[InventoryWork],
    sku: Sku,
    change: Callable[[InventoryWork, str], Stock],
    reference: str,
    key: Key | None = None,
) -> Command[InventoryWork, Stock]:
    """A change of a product, which the gate is made to know first. The ledger's row of it refers to `reference`."""
    phase = parts.service.prepare
    prepare = (lambda: phase.make_known(sku)) if isinstance(phase, GatePhase) else None
    return Command(
        lambda unit: change(unit.work, reference),
        key=key,
        dump=_dump_stock,
        restore=_restore_stock,
        prepare=prepare,
    )


def _dump_stock(stock: Stock) -> str:
    return json.dumps([stock.sku, stock.on_hand, stock.held])


def _restore_stock(body: str) -> Stock:
    return Stock(*json.loads(body))


_Submitted = tuple[ServiceAssembly[Any], "Future[DeadLetter]"]


@attrs.frozen
class DeadLetters:
    """The dead letters of all services of a system, by service name."""

    _parts: Mapping[str, ServiceAssembly[Any]]
    _pump: Pump

    def page(
        self, state: DeadLetterState | None = DeadLetterState.PARKED, *, service: str | None = None, limit: int = 100
    ) -> Sequence[tuple[str, DeadLetterSummary]]:
        """(service, summary) pairs, the oldest first; `get` returns a dead letter with its content."""
        found = [
            (name, letter)
            for name, parts in self._parts.items()
            if service in (None, name)
            for letter in parts.service.store.dead_letters(state, limit=limit)
        ]
        return sorted(found, key=lambda pair: pair[1].parked_at)[:limit]

    def get(self, letter_id: str) -> tuple[str, DeadLetter]:
        """The service that parked it, and the dead letter."""
        checked_id(letter_id, name="id")
        for name, parts in self._parts.items():
            letter = parts.service.store.dead_letter(letter_id)
            if letter is not None:
                return name, letter
        raise NotFound("dead_letter_not_found", f"there is no dead letter {letter_id}")

    def redrive(self, letter_id: str) -> DeadLetter:
        """Handle a message once more, now; `Conflict` where it fails again, and the letter then has the new cause.

        A task is called again soon after; where it fails, the same letter is PARKED again.
        """
        return self._wait(self._redrive(letter_id))

    def discard(self, letter_id: str) -> DeadLetter:
        """Give it up."""
        return self._wait(self._discard(letter_id))

    def submit_redrive(self, letter_id: str) -> Future[DeadLetter]:
        """Like `redrive`, without waiting for more than the look-up of whose it is."""
        return self._redrive(letter_id)[1]

    def submit_discard(self, letter_id: str) -> Future[DeadLetter]:
        """Like `discard`, without waiting for more than the look-up of whose it is."""
        return self._discard(letter_id)[1]

    def _redrive(self, letter_id: str) -> _Submitted:
        parts = self._owner(letter_id)
        command: Command[Any, DeadLetter] = Command(
            lambda unit: parts.dead_letter_actions.redrive(unit, letter_id),
            prepare=lambda: parts.dead_letter_actions.prepare(letter_id),
            failed=lambda unit, error: parts.dead_letter_actions.failed(unit, letter_id, error),
        )
        return parts, ask(parts.commands, command)

    def _discard(self, letter_id: str) -> _Submitted:
        parts = self._owner(letter_id)
        return parts, ask(parts.commands, Command(lambda unit: parts.dead_letter_actions.discard(unit, letter_id)))

    def _owner(self, letter_id: str) -> ServiceAssembly[Any]:
        return self._parts[self.get(letter_id)[0]]

    def _wait(self, submitted: _Submitted) -> DeadLetter:
        parts, future = submitted
        self._pump(parts, future)
        return future.result()
