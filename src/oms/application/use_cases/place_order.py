"""Place an order, in two phases: `quote` calls pricing and policy and may block; `submit` never blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import attrs

from oms.application import orders
from oms.application.extensions.terms import checked_total
from oms.application.orders import OrderWork
from oms.application.use_cases.idempotency import checked_key, dump_order
from oms.application.use_cases.read_orders import ReadOrders
from oms.application.use_cases.requests import RequestContext
from oms.domain.commands import PlaceOrder
from oms.domain.errors import DomainError, Refused
from oms.domain.lines import OrderLine
from oms.domain.money import Currency
from oms.domain.order import Order
from oms.domain.terms import Terms
from oms.domain.values import OrderId
from oms.engine.assembly import ServiceAssembly
from oms.engine.call_health import count_error
from oms.engine.command_groups import Command, Key, Reply
from oms.ports.clock import Ids
from oms.ports.errors import Retryable
from oms.ports.extensions import Policy, Pricing, Principal
from oms.ports.messages import Cause, valid_trace
from oms.ports.telemetry import Telemetry

T = TypeVar("T")


@attrs.frozen
class Quote:
    """The result of pricing and policy for one order, to be submitted: `terms` if accepted, else `refusal`.

    Neither is set if the idempotency key already had a response: pricing and policy aren't called then, and the
    transaction returns that response. A refusal is stored under the key, unless another request's response is there by
    then.
    """

    terms: Terms | None = None
    """The terms with the total to charge."""

    refusal: DomainError | None = None
    key: Key | None = None
    trace: str | None = None
    """The `traceparent` that the order's events carry; None unless it is valid."""

    def accepted(self) -> Terms:
        """Return the terms; raises the refusal, or `Retryable` if the key's response has expired since the quote."""
        if self.refusal is not None:
            raise self.refusal
        if self.terms is None:
            raise Retryable("the response stored under this key has expired meanwhile")
        return self.terms


@attrs.frozen
class OrderChecks:
    """A shop's own pricing and policy, each optional."""

    pricing: Pricing | None = None
    policy: Policy | None = None
    telemetry: Telemetry | None = None

    @property
    def exist(self) -> bool:
        """Whether the shop has pricing or a policy of its own, which may block."""
        return self.pricing is not None or self.policy is not None

    def check(self, terms: Terms, caller: Principal) -> Terms:
        """Return the terms with the shop's total.

        Raises `DomainError` if pricing or policy refuses the order, or if lines and charges don't add up to that total.
        """
        pricing, policy = self.pricing, self.policy
        if pricing is not None:
            terms = attrs.evolve(terms, total=self._reported("pricing", lambda: pricing.price(terms)))
            terms.check_amounts()
        if policy is not None:
            self._reported("policy", lambda: policy.check(terms, caller))
        return terms

    def _reported(self, extension: str, call: Callable[[], T]) -> T:
        """Log and count an error of the shop's own code, and raise it to the caller; a refusal isn't an error."""
        try:
            return call()
        except DomainError:
            raise
        except Exception as error:
            if self.telemetry is not None:
                count_error(self.telemetry, extension, type(error).__name__)
                self.telemetry.failure("order not checked", error, extension=extension)
            raise


@attrs.frozen
class PlaceOrderUseCase:
    """Accepts orders. An order is durable when its command's reply comes."""

    _assembly: ServiceAssembly[OrderWork]
    _orders: ReadOrders
    _ids: Ids
    _currency: Currency
    _checks: OrderChecks

    @property
    def quote_may_block(self) -> bool:
        """Whether `quote` calls the shop's own pricing or policy."""
        return self._checks.exist

    def quote(self, command: PlaceOrder, context: RequestContext) -> Quote:
        """Check the order's total and owner, call pricing, check the amounts of lines and charges, and call the policy.

        A refusal of pricing or policy is part of the quote if the request has a key, because another request with the
        same key may have been accepted first; without a key it is raised. Raises `InvalidValue` and `Refused` for the
        checks of the system itself, and every other exception of pricing and policy.
        """
        terms, caller = command.terms, context.caller
        checked_total(terms.total, self._currency, "the order's total")
        if caller.owner is not None and terms.user_id != caller.owner:
            raise Refused("not_your_user", "orders can only be placed for yourself")
        if self._checks.pricing is None:
            terms.check_amounts()
        key, trace = _key(command, context), valid_trace(context.trace)
        if not self._checks.exist:
            return Quote(terms, key=key, trace=trace)
        if key is not None and self._orders.store.stored_response(key.scope, key.key) is not None:
            return Quote(key=key, trace=trace)
        try:
            return Quote(self._checks.check(terms, caller), key=key, trace=trace)
        except DomainError as refusal:
            if key is None:
                raise
            return Quote(refusal=refusal, key=key, trace=trace)

    def submit(self, quote: Quote, reply: Reply) -> None:
        """Place the order with the next group of commands; the reply gets the `Order`. Never blocks."""
        order_id = self._ids.order_id()
        command: Command[OrderWork, Order] = Command(
            lambda unit: _place(unit.work, order_id, quote),
            key=quote.key,
            dump=dump_order,
            restore=self._orders.restore,
            recover=lambda: self._orders.store.order(order_id, None),
            trace=quote.trace,
        )
        self._assembly.commands.submit(command, reply)

    def join(self, quote: Quote, connection: object) -> Order:
        """Place the order in the transaction of the caller's SQLAlchemy connection; that transaction's commit counts.

        Raises `Permanent` for a connection that can't be joined.
        """
        order_id = self._ids.order_id()
        placed: list[Order] = []

        def act(work: OrderWork) -> None:
            work.changes.cause = Cause(traceparent=quote.trace)
            placed.append(_place(work, order_id, quote))

        self._assembly.units.within(partial(self._orders.store.join, connection), act)
        return placed[0]


def _key(command: PlaceOrder, context: RequestContext) -> Key | None:
    if context.key is None:
        return None
    terms = command.terms
    body: list[object] = [terms.user_id, terms.total.minor, terms.total.currency.code]
    body += [dict(terms.items), dict(terms.metadata)]
    if terms.lines:  # an order without lines has the fingerprint that it had before orders could have some
        body += [
            [_line(line) for line in terms.lines],
            [[charge.kind, charge.amount.minor] for charge in terms.charges],
        ]
    return checked_key(context.key, context.caller, "place", body)


def _line(line: OrderLine) -> list[object]:
    return [line.sku, line.quantity, None if line.amount is None else line.amount.minor, line.name]


def _place(work: OrderWork, order_id: OrderId, quote: Quote) -> Order:
    return orders.place(work, order_id, quote.accepted())
