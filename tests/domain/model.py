"""A model of the whole system, made of the real aggregates, state tables and saga routes.

A state of the world is: the units of one product, and for each order its three aggregates, the tasks that are owed,
the gateway's book, the messages that were ever published, and which service has handled which of them. From each
state every thing that can happen next is tried, so an exploration meets every order of events there is:

* a message is delivered in any order, at any time, and again at any later time, past the inbox as well;
* customer and operator cancel at any moment; the deadline comes at any moment, also after its timer has ended;
* somebody who is no payment service writes payment news with another amount (a scope's `forged`);
* the gate refuses though there is stock; there is no stock;
* the gateway captures or declines; an answer is lost; a charge that was taken for lost captures much later; void and
  charge race; an answer comes for a task that is over;
* operators ship, cancel units, take units back and give money back (a scope's `parts`); the gateway refuses a refund,
  pays one although its answer is lost, and an operator retries or resolves (a scope's `gateway_refusals`).

Some of these *must* happen at last (a first delivery, a task's call): where none of them changes anything any more the
world has come to rest, and everything has to be settled there. The others *may* happen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from enum import Enum
from typing import Any, NamedTuple

import attrs

from oms.domain.errors import DomainError, ImpossibleTransition, TermsMismatch
from oms.domain.events import BY_TOPIC, Event, OrderCreated, PartEvent, Reason, Shortage
from oms.domain.money import Currency, Money
from oms.domain.order import Order
from oms.domain.order_table import ORDER_TABLE, SETTLED, OrderState, OrderTrigger
from oms.domain.payment import PAYMENT_TABLE, Payment, PaymentState, PaymentTrigger
from oms.domain.payment_refund import PaymentRefund, PaymentRefundState
from oms.domain.refund import WHOLE
from oms.domain.reservation import RESERVATION_TABLE, Reservation, ReservationState, ReservationTrigger
from oms.domain.saga import routes
from oms.domain.state_machine import Effect, Transition
from oms.domain.stated_terms import StatedTerms, stated_in
from oms.domain.tasks import TaskKind, key_fields
from oms.domain.terms import Terms
from tests.domain.model_parts import (
    NOW,
    ORDER,
    PARTS,
    SKU,
    announced,
    instructions,
    outside,
    restocked,
    retried_parts,
    without_sequence,
    wrong_at_end,
    wrong_units,
)

LATER = NOW + timedelta(minutes=15)
TERMS = Terms.checked("user-1", Money.of(25, Currency.of("USD")), {SKU: 1}, {"gift": "yes"})
TOTAL = TERMS.total.minor
SHORT = (Shortage(SKU, 1, 0),)

Handler = Callable[[Any, Any], Transition[Any]]


def heard(order: Order, trigger: OrderTrigger, event: Event) -> Transition[Order]:
    return order.hear(trigger, at=NOW, stated=stated_in(event))


def hears(trigger: OrderTrigger) -> Handler:
    return lambda order, event: heard(order, trigger, event)


HANDLERS: Mapping[tuple[str, str], Handler] = {
    **{("order", trigger.value): hears(trigger) for trigger in OrderTrigger if trigger.value in BY_TOPIC},
    ("order", "order.created"): lambda order, event: order.created(event.terms, at=NOW, deadline_at=LATER),
    ("order", "inventory.reserved"): lambda order, event: order.reserved(event.terms, at=NOW, deadline_at=LATER),
    ("inventory", "order.created"): lambda row, event: row.hold(event.terms, at=NOW),
    ("inventory", "order.confirmed"): lambda row, _: row.commit(at=NOW),
    ("inventory", "order.cancelled"): lambda row, _: row.release(at=NOW),
    ("payment", "inventory.reserved"): lambda payment, event: payment.start(event.terms, at=NOW),
    ("payment", "order.cancelling"): lambda payment, event: payment.cancel(event.user_id, event.total, at=NOW),
    ("order", "payment.refund_paid"): lambda order, event: order.refund_paid(event, at=NOW),
    ("order", "payment.refund_failed"): lambda order, event: order.refund_failed(event, at=NOW),
    ("inventory", "order.refund_requested"): lambda row, event: row.refunded(event, at=NOW),
    ("payment", "order.refund_requested"): lambda payment, event: payment.refund_requested(event, at=NOW),
    ("payment", "order.payment_instructed"): lambda payment, event: payment.instructed(event, at=NOW),
    ("payment", "order.shipped"): lambda payment, _: payment.shipped(at=NOW),
    ("payment", "order.completed"): lambda payment, _: payment.completed(at=NOW),
}
"""What each service does with each topic; the routes say which of these are used."""

CALLS: Mapping[str, Handler] = {
    "customer cancels": lambda order, _: order.cancel(Reason.CUSTOMER, at=NOW),
    "operator cancels": lambda order, _: order.cancel(Reason.OPERATOR, at=NOW),
    "deadline": lambda order, _: order.deadline(at=NOW),
    "import": lambda order, _: order.imported(TERMS, at=NOW, created_at=NOW),
    "resume": lambda order, _: order.resume(at=NOW, deadline_at=LATER),
    "reject": lambda row, _: row.reject(SHORT, at=NOW),
    "captured": lambda payment, _: payment.captured("pay-1", at=NOW),
    "declined": lambda payment, _: payment.declined(at=NOW),
    "no answer": lambda payment, _: payment.unanswered(at=NOW),
    "void: voided": lambda payment, _: payment.void_done(at=NOW),
    "void: captured": lambda payment, _: payment.void_lost("pay-1", at=NOW),
    "refund done": lambda payment, _: payment.refund_done(at=NOW),
}

FORGED = StatedTerms(TERMS.user_id, Money.of("0.01", TERMS.total.currency))
FORGERIES: Mapping[str, Handler] = {
    f"somebody forges {trigger.value}": lambda order, _, trigger=trigger: order.hear(trigger, at=NOW, stated=FORGED)  # type: ignore[misc]
    for trigger in (OrderTrigger.PAID, OrderTrigger.DECLINED, OrderTrigger.VOIDED, OrderTrigger.REFUNDED)
}

DEADLINE, CHARGE, VOID = 1, 2, 4
TASKS = {TaskKind.DEADLINE: DEADLINE, TaskKind.CHARGE: CHARGE, TaskKind.VOID: VOID}
FIRST_REFUND = 8
"""The bit of the first refund's task: each refund has a bit of its own."""

REFUSED = -1
"""The gateway's answer to a refund that it refuses; the answer to a paid one is its amount in minor units."""


class Book(Enum):
    """What the gateway has on record for the order's key."""

    NOTHING = "nothing"
    CAPTURED = "captured"
    DECLINED = "declined"
    VOIDED = "voided"
    LATE = "captured, though it was voided before"


TAKEN = (Book.CAPTURED, Book.LATE)


class View(NamedTuple):
    """One order in all services. Aggregates are numbers of `Model.locals`, sets of messages and tasks are bits."""

    order: int
    reservation: int
    payment: int
    book: Book = Book.NOTHING
    asked: bool = False  # a charge went out, and may reach the gateway at any time from now on
    sent: int = 0
    seen_order: int = 0
    seen_inventory: int = 0
    seen_payment: int = 0
    tasks: int = 0
    refunds: tuple[tuple[str, int], ...] = ()  # the gateway's answer under each key of a refund

    @property
    def refused(self) -> int:
        """How many refunds the gateway refused."""
        return sum(answer == REFUSED for _, answer in self.refunds)

    @property
    def money(self) -> int:
        """What the gateway's book says of the order: captures less refunds, in minor units."""
        paid = sum(answer for _, answer in self.refunds if answer != REFUSED)
        return (TOTAL if self.book in TAKEN else 0) - paid


class World(NamedTuple):
    """All there is: units of the product, and the orders, as numbers of `Model.views`."""

    on_hand: int
    held: int
    orders: tuple[int, ...]


class Move(NamedTuple):
    """One thing that can happen to an order; `must` is whether it has to at last."""

    must: bool
    name: str
    view: View
    on_hand: int = 0
    held: int = 0


AGGREGATE = {"order": "order", "inventory": "reservation", "payment": "payment"}


@attrs.frozen
class Scope:
    """What may happen, beside deliveries and answers. `orders`: True for our own, False for a foreign one."""

    orders: tuple[bool, ...] = (True,)
    units: int = 1
    repeats: bool = True
    customer: bool = True
    operator: bool = True
    deadline: bool = True
    lost: bool = True
    refusals: bool = True
    declines: bool = True
    legacy: bool = False
    """The foreign order is known to the system replaced: it may be imported, and resumed, at any moment."""

    forged: bool = False
    """Payment news with another amount comes to the order service at any moment."""

    drained: bool = False
    """It was imported first, and no message of the system replaced is left to anybody."""

    terms: Terms = attrs.field(default=TERMS, hash=False)
    parts: tuple[str, ...] = ()
    """Names of `PARTS`: what operators do with a confirmed order, each once, in any order."""

    late_capture: bool = False
    """The gateway captures a charge that it has voided, against its contract."""

    gateway_refusals: int = 0
    """How many refunds the gateway refuses; an operator then retries or resolves them."""


TABLES: Mapping[type[Enum], Any] = {
    OrderState: ORDER_TABLE,
    PaymentState: PAYMENT_TABLE,
    ReservationState: RESERVATION_TABLE,
}
IDLE: Mapping[tuple[str, str], tuple[Enum, ...]] = {
    ("order", "order.created"): (OrderTrigger.CREATED,),
    ("order", "inventory.reserved"): (OrderTrigger.RESERVED,),
    ("order", "inventory.released"): (OrderTrigger.RELEASED,),
    ("inventory", "order.created"): (ReservationTrigger.FITS, ReservationTrigger.SHORT),
    ("inventory", "order.confirmed"): (ReservationTrigger.CONFIRMED,),
    ("payment", "inventory.reserved"): (PaymentTrigger.RESERVED,),
    ("payment", "order.shipped"): (PaymentTrigger.SHIPPED,),
    ("payment", "order.completed"): (PaymentTrigger.COMPLETED,),
}
"""Messages whose effect is that of their cell and no other: they can stop having one (`Model._is_idle`)."""


def _reachable(table: Any, state: Enum) -> frozenset[Enum]:
    """The states that can follow, with `state` itself."""
    found, todo = {state}, [state]
    while todo:
        following = {cell.to for cell in table[todo.pop()].values() if cell.to is not None} - found
        found |= following
        todo += following
    return frozenset(found)


class Flaw(AssertionError):
    """The model found a way to break a promise; the text is the way."""


@attrs.frozen
class Explored:
    """What an exploration met."""

    states: int
    transitions: int
    ends: frozenset[tuple[str, ...]]
    worlds: tuple[World, ...]


@attrs.frozen
class _Outcome:
    after: int
    sent: int
    started: int
    ended: int
    on_hand: int
    held: int


class Model:
    """Explores everything that can happen in a scope; `handlers` and `routing` can be bent for planted flaws."""

    def __init__(
        self,
        scope: Scope,
        *,
        handlers: Mapping[tuple[str, str], Handler] = HANDLERS,
        routing: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.scope = scope
        self.handlers = handlers
        self.routing = routes() if routing is None else routing
        self.locals: list[Any] = []
        self.messages: list[Event] = []
        self.views: list[View] = []
        self._numbers: dict[str, int] = {}
        self._bits: dict[str, int] = {}
        self._outcomes: dict[tuple[int, str, int], _Outcome | None] = {}
        self._view_numbers: dict[View, int] = {}
        self._moves: dict[tuple[int, bool], tuple[tuple[bool, str, int, int, int], ...]] = {}
        self._refund_bits: dict[str, int] = {}
        self._idle: dict[tuple[Enum, Enum], bool] = {}
        self._announced: dict[int, int] = {}

    # -- the real aggregates, each step computed once ------------------------------------------------------------

    def number(self, aggregate: Any) -> int:
        if isinstance(aggregate, Order):
            over = {"deadline_at": None} if aggregate.state.settled else {}  # whether it ever had one
            aggregate = attrs.evolve(aggregate, version=0, updated_at=None, **over)
        aggregate = without_sequence(aggregate)
        name = repr(aggregate)
        if name not in self._numbers:
            self._numbers[name] = len(self.locals)
            self.locals.append(aggregate)
        return self._numbers[name]

    def task(self, kind: TaskKind, key: str) -> int:
        """The bit of a task: that of its kind, and one of its own for each refund."""
        if kind is not TaskKind.REFUND:
            return TASKS[kind]
        fields = key_fields(key)
        refund = str(fields[1]) if fields is not None else WHOLE
        return self._refund_bits.setdefault(refund, FIRST_REFUND << len(self._refund_bits))

    def bit(self, event: Event) -> int:
        name = repr(event)
        if name not in self._bits:
            self._bits[name] = 1 << len(self.messages)
            self.messages.append(event)
        return self._bits[name]

    def outcome(self, local: int, name: str, bit: int, call: Handler) -> _Outcome | None:
        """None where a command is refused."""
        key = (local, name, bit)
        if key not in self._outcomes:
            event = self.messages[bit.bit_length() - 1] if bit else None
            self._outcomes[key] = self._computed(self.locals[local], event, call)
        return self._outcomes[key]

    def _computed(self, before: Any, event: Event | None, call: Handler) -> _Outcome | None:
        try:
            step = call(before, event)
        except ImpossibleTransition as impossible:
            raise Flaw(f"impossible: {impossible}") from None
        except (DomainError, TermsMismatch) as refused:
            if event is not None:
                raise Flaw(f"a true message is refused: {refused}") from None
            return None
        if isinstance(before, Order):
            _check_history(before, step)
        moved = before.movements_to(step.aggregate) if isinstance(before, Reservation) else ()
        return _Outcome(
            self.number(step.aggregate),
            sum(self.bit(published) for published in step.events),
            sum(self.task(task.kind, task.key) for task in step.tasks),
            sum(self.task(task.kind, task.key) for task in step.ended),
            sum(movement.on_hand for movement in moved),
            sum(movement.held for movement in moved),
        )

    def apply(self, view: View, service: str, name: str, call: Handler, *, bit: int = 0, done: int = 0) -> Any:
        """(the view, units on hand, units held) after one trigger at one service; `done` are tasks that end with it."""
        field = AGGREGATE[service]
        outcome = self.outcome(getattr(view, field), name, bit, call)
        tasks = view.tasks & ~done
        if outcome is None:
            return view._replace(tasks=tasks), 0, 0
        self._check_once(view, outcome.sent)
        changes: dict[str, Any] = {field: outcome.after, "tasks": (tasks | outcome.started) & ~outcome.ended}
        return view._replace(sent=view.sent | outcome.sent, **changes), outcome.on_hand, outcome.held

    def _check_once(self, view: View, sent: int) -> None:
        if not sent:
            return
        topics = [_named(self.messages[i]) for i in _indexes(view.sent)]
        new = [_named(self.messages[i]) for i in _indexes(sent)]
        again = set(topics) & set(new)
        if self.scope.legacy and sent & view.sent:  # it says of a resumed order what the system replaced said of it
            again -= {OrderCreated.topic}
            new = [topic for topic in new if topic != OrderCreated.topic]
        if again or len(set(new)) < len(new):
            raise Flaw(f"published twice: {sorted(again or new)}")

    # -- what can happen -----------------------------------------------------------------------------------------

    def start(self) -> World:
        """Own orders are placed; foreign ones are only a message."""
        absent = View(
            self.number(Order(id=ORDER)), self.number(Reservation(order_id=ORDER)), self.number(Payment(order_id=ORDER))
        )
        terms = self.scope.terms
        foreign = absent._replace(sent=self.bit(OrderCreated(ORDER, terms)))
        own = self.apply(absent, "order", "place", lambda order, _: order.place(terms, at=NOW, deadline_at=LATER))[0]
        if self.scope.drained:
            foreign = self.apply(absent, "order", "import", CALLS["import"])[0]
        return World(self.scope.units, 0, tuple(self._seen(own if ours else foreign) for ours in self.scope.orders))

    def following(self, world: World) -> Iterator[tuple[bool, str, World]]:
        """(must it happen at last, its name, the world after it)."""
        on_hand, held, orders = world
        for index, number in enumerate(orders):
            room = on_hand - held >= sum(self.scope.terms.items.values())
            for must, name, after, more_on_hand, more_held in self.moves(number, room=room):
                changed = (*orders[:index], after, *orders[index + 1 :])
                yield must, name, World(on_hand + more_on_hand, held + more_held, tuple(sorted(changed)))

    def moves(self, number: int, *, room: bool) -> tuple[tuple[bool, str, int, int, int], ...]:
        """What can happen to one order, where the product has room for it or not; found once for each."""
        key = (number, room)
        if key not in self._moves:
            view = self.views[number]
            found = (*self._deliveries(view, room=room), *self._commands(view), *self._gateway(view))
            self._moves[key] = tuple(
                (move.must, move.name, self._seen(move.view), move.on_hand, move.held) for move in found
            )
        return self._moves[key]

    def _seen(self, view: View) -> int:
        if view not in self._view_numbers:
            settled = self._without_idle_messages(view) if self.scope.parts else view
            if settled not in self._view_numbers:
                self._check_view(settled)
                self._view_numbers[settled] = len(self.views)
                self.views.append(settled)
            self._view_numbers[view] = self._view_numbers[settled]
        return self._view_numbers[view]

    def _without_idle_messages(self, view: View) -> View:
        """The view in which messages that can have no effect any more count as delivered; they can still be repeated."""
        for i in _indexes(view.sent):
            for service in self.routing[self.messages[i].topic]:
                if service != "notification" and self._is_idle(view, service, self.messages[i].topic):
                    field = f"seen_{service}"
                    view = view._replace(**{field: getattr(view, field) | 1 << i})
        return view

    def _is_idle(self, view: View, service: str, topic: str) -> bool:
        """Whether a message has no effect in the present state and in all that can follow, by the state table."""
        state = self.locals[getattr(view, AGGREGATE[service])].state
        triggers = IDLE.get((service, topic), ())
        return bool(triggers) and all(self._idle_trigger(state, trigger) for trigger in triggers)

    def _idle_trigger(self, state: Enum, trigger: Enum) -> bool:
        if (state, trigger) not in self._idle:
            table: Any = TABLES[type(state)]
            cells = [dict(table[reached])[trigger] for reached in _reachable(table, state)]
            self._idle[state, trigger] = all(cell.effect is Effect.NOTED for cell in cells)
        return self._idle[state, trigger]

    def _deliveries(self, view: View, *, room: bool) -> Iterator[Move]:
        for i in _indexes(view.sent):
            bit, topic = 1 << i, self.messages[i].topic
            for service in self.routing[topic]:
                if service == "notification":
                    continue
                field = f"seen_{service}"
                fresh = not getattr(view, field) & bit
                if not fresh and (not self.scope.repeats or self._has_no_effect(view, service, bit)):
                    continue
                marked = view._replace(**{field: getattr(view, field) | bit})
                name = f"{service} gets {_named(self.messages[i])}"
                if not self._needs_stock(view, service, topic):
                    handler = self.handlers[service, topic]
                    yield Move(fresh, name, *self.apply(marked, service, topic, handler, bit=bit))
                    continue
                if room:
                    handler = self.handlers[service, topic]
                    yield Move(fresh, name, *self.apply(marked, service, topic, handler, bit=bit))
                if not room or self.scope.refusals:
                    yield Move(fresh, f"{name}: short", *self.apply(marked, service, "reject", CALLS["reject"]))

    def _has_no_effect(self, view: View, service: str, bit: int) -> bool:
        """Whether a service handled this message in its present state before, and nothing came of it."""
        local = getattr(view, AGGREGATE[service])
        outcome = self._outcomes.get((local, self.messages[bit.bit_length() - 1].topic, bit))
        return outcome is not None and outcome == _Outcome(local, 0, 0, 0, 0, 0)

    def _needs_stock(self, view: View, service: str, topic: str) -> bool:
        absent = self.locals[view.reservation].state is ReservationState.ABSENT
        return absent and (service, topic) == ("inventory", "order.created")

    def _commands(self, view: View) -> Iterator[Move]:
        scope, timed = self.scope, view.tasks & DEADLINE
        for wanted, name in ((scope.customer, "customer cancels"), (scope.operator, "operator cancels")):
            if wanted:
                yield Move(False, name, *self.apply(view, "order", name, CALLS[name]))
        for name in scope.parts:
            yield Move(False, name, *self.apply(view, "order", name, PARTS[name]))
        for name, call in instructions(self.locals[view.order]):
            yield Move(False, name, *self.apply(view, "order", name, call))
        for name in FORGERIES if scope.forged else ():
            yield Move(False, name, *self.apply(view, "order", name, FORGERIES[name]))
        for name in ("import", "resume") if scope.legacy else ():
            yield Move(False, name, *self.apply(view, "order", name, CALLS[name]))
        if scope.deadline and (timed or scope.repeats):
            yield Move(bool(timed), "deadline", *self.apply(view, "order", "deadline", CALLS["deadline"], done=timed))

    def _gateway(self, view: View) -> Iterator[Move]:
        state = self.locals[view.payment].state
        yield from self._charge(view, owed=state in (PaymentState.INITIATED, PaymentState.UNKNOWN))
        yield from self._void(view, owed=state is PaymentState.VOIDING)
        yield from self._refunds(view)

    def _answer(self, must: int, call: str, name: str, view: View, done: int) -> Move:
        return Move(bool(must), f"{call}: {name}", *self.apply(view, "payment", name, CALLS[name], done=done))

    def _charge(self, view: View, *, owed: bool) -> Iterator[Move]:
        task = view.tasks & CHARGE
        if task and owed and not view.asked:
            yield Move(True, "charge goes out", view._replace(asked=True))
        if task and not owed:
            yield Move(True, "charge is over", view._replace(tasks=view.tasks & ~CHARGE))
        if not view.asked:
            return
        if view.book is Book.NOTHING:
            yield Move(True, "gateway captures", view._replace(book=Book.CAPTURED))
            if self.scope.declines:
                yield Move(True, "gateway declines", view._replace(book=Book.DECLINED))
        if view.book is Book.VOIDED and self.scope.late_capture:
            yield Move(False, "gateway captures after all", view._replace(book=Book.LATE))
        if not task and (not self.scope.repeats or self.scope.late_capture):  # each late capture starts a refund
            return
        if view.book is not Book.NOTHING:
            name = "captured" if view.book in TAKEN else "declined"
            yield self._answer(task, "charge", name, view, CHARGE)
        if self.scope.lost:
            yield self._answer(0, "charge", "no answer", view, 0)

    def _void(self, view: View, *, owed: bool) -> Iterator[Move]:
        if not view.tasks & VOID:
            return
        if view.book is Book.NOTHING:
            yield Move(True, "gateway voids", view._replace(book=Book.VOIDED))
        else:
            name = "void: captured" if view.book in TAKEN else "void: voided"
            yield self._answer(VOID, "void", name, view, VOID)
        if not owed:
            yield Move(True, "void is over", view._replace(tasks=view.tasks & ~VOID))

    def _refunds(self, view: View) -> Iterator[Move]:
        payment = self.locals[view.payment]
        for refund_id, bit in self._refund_bits.items():
            refund = payment.whole_refund if refund_id == WHOLE and payment.total else payment.refund(refund_id)
            if refund is not None and (view.tasks & bit or self.scope.repeats):
                yield from self._refund(view, payment, refund, view.tasks & bit)

    def refund_key(self, view: View, refund: PaymentRefund) -> str:
        """The key of the next call about a refund: the same one as long as no answer came."""
        key: str = self.locals[view.payment].refund_key(refund)
        return key

    def _refund(self, view: View, payment: Payment, refund: PaymentRefund, task: int) -> Iterator[Move]:
        """What can happen to one refund; the gateway's answer under a key is the same each time."""
        key = self.refund_key(view, refund)
        answer = dict(view.refunds).get(key)
        owed = refund.id != WHOLE or payment.state in (PaymentState.REFUNDING, PaymentState.VOIDED)
        if task and not (owed and refund.state is PaymentRefundState.DUE):
            yield Move(True, f"refund {refund.id} is over", view._replace(tasks=view.tasks & ~task))
        elif task and answer is None:
            yield Move(True, f"gateway pays {key}", _answered(view, key, refund.amount.minor))
            if view.refused < self.scope.gateway_refusals:
                yield Move(True, f"gateway refuses {key}", _answered(view, key, REFUSED))
        if answer is not None and (task or answer != REFUSED):
            name, call = _refund_answer(refund.id, paid=answer != REFUSED)
            yield Move(bool(task), f"{key}: {name}", *self.apply(view, "payment", name, call, done=task))

    # -- exploration ---------------------------------------------------------------------------------------------

    def explore(self) -> Explored:
        """Meet every state; `Flaw` with the way to it where a promise is broken."""
        first = self.start()
        came: dict[World, tuple[World, str] | None] = {first: None}
        todo = deque([first])
        edges: dict[World, list[World]] = {}
        ends: set[tuple[str, ...]] = set()
        transitions = 0
        while todo:
            world = todo.popleft()
            rest = True
            edges[world] = following = []
            try:
                self.check_always(world)
                for must, name, after in self.following(world):
                    transitions += 1
                    if after == world:
                        continue
                    rest = rest and not must
                    following.append(after)
                    if after not in came:
                        came[after] = (world, name)
                        todo.append(after)
                if rest:
                    self.check_end(world)
                    ends.add(tuple(sorted(self.state(number) for number in world.orders)))
            except Flaw as flaw:
                raise Flaw(f"{flaw}\n  after: {', '.join(_way(came, world))}") from None
        _check_no_cycle(edges)
        return Explored(len(came), transitions, frozenset(ends), tuple(came))

    # -- the promises --------------------------------------------------------------------------------------------

    def state(self, number: int) -> str:
        """The name of an order's state."""
        return str(self.locals[self.views[number].order].state.value)

    def check_always(self, world: World) -> None:
        """What holds at every instant: P1 and P2; the rest is checked where a view is first seen."""
        if not 0 <= world.held <= world.on_hand:
            raise Flaw(f"P1: {world.held} held of {world.on_hand}")
        reservations = [self.locals[self.views[number].reservation] for number in world.orders]
        units = dict.fromkeys(ReservationState, 0)
        for one in reservations:
            units[one.state] += sum(self.scope.terms.items.values())
        on_hand = self.scope.units - units[ReservationState.COMMITTED] + sum(restocked(one) for one in reservations)
        if world.held != units[ReservationState.HELD] or world.on_hand != on_hand:
            raise Flaw(f"P2: {world.on_hand} on hand and {world.held} held, but {reservations}")

    def _check_view(self, view: View) -> None:
        """P4 at every instant, and that stock is never released before the money is settled."""
        order, reservation = self.locals[view.order].state, self.locals[view.reservation].state
        if self.scope.drained and order is OrderState.LEGACY and self._taken_up(view):
            raise Flaw("P4: an order that nobody resumed takes part")
        payment = self.locals[view.payment]
        known = view.book is not Book.NOTHING or not view.asked
        settled_money = view.book is Book.LATE or (view.money == outside(payment) and known)
        if order is OrderState.CONFIRMED and view.money != TOTAL:
            raise Flaw(f"P4: confirmed, but the gateway's book says {view.book.value}, {view.money}")
        if not 0 <= view.money <= TOTAL:
            raise Flaw(f"P4: the gateway's book says {view.money}: {view.refunds}")
        if wrong := wrong_units(self.locals[view.order]):
            raise Flaw(wrong)
        for name in (view.order, view.payment):
            self._check_announced(view, name)
        if order in (OrderState.REJECTED, OrderState.CANCELLED) and not settled_money:
            raise Flaw(f"P4: {order.value} while the money isn't settled ({view.book.value})")
        if reservation is ReservationState.RELEASED and not settled_money:
            raise Flaw(f"P2: stock released while the money isn't settled ({view.book.value})")

        retried = {f"order.payment_instructed {part}" for part in retried_parts(payment)}
        if not retried <= {_named(self.messages[i]) for i in _indexes(view.sent)}:
            raise Flaw(f"P12: no operator decided about {retried}")

    def _check_announced(self, view: View, local: int) -> None:
        """The events that an aggregate makes of its parts are those that were published, each time."""
        if local not in self._announced:
            self._announced[local] = sum(self.bit(event) for event in announced(self.locals[local]))
        if self._announced[local] & ~view.sent:
            missing = [self.messages[i] for i in _indexes(self._announced[local] & ~view.sent)]
            raise Flaw(f"P8: not published, or published differently: {missing}")

    def check_end(self, world: World) -> None:
        """What holds once nothing more has to happen."""
        for view in (self.views[number] for number in world.orders):
            order, reservation = self.locals[view.order].state, self.locals[view.reservation].state
            if order is OrderState.LEGACY:
                if view.tasks or self._taken_up(view):
                    raise Flaw(f"P6: LEGACY with {reservation.value} stock, and money: {view.book.value}")
                continue
            payment = self.locals[view.payment]
            if view.book is Book.LATE and payment.payment_id is None:
                continue  # the payment service can't know of it
            waits = _waits_for_an_operator(payment)
            if order not in SETTLED and not waits:
                raise Flaw(f"P6: stuck in {order.value}")
            if view.tasks:
                raise Flaw(f"P6: tasks are left: {[kind.value for kind, bit in TASKS.items() if view.tasks & bit]}")
            if wrong := wrong_at_end(self.locals[view.order], self.locals[view.reservation], payment, view.money):
                raise Flaw(wrong)
            if waits:
                continue
            if reservation not in _STOCK_AT_END[order]:
                raise Flaw(f"P2: {order.value}, but the reservation is {reservation.value}")
            if (view.book is Book.CAPTURED and payment.state is PaymentState.CAPTURED) is not (order in _PAID):
                raise Flaw(f"P4: {order.value}, but the gateway's book says {view.book.value}")
            self._check_answered(view)

    def _taken_up(self, view: View) -> bool:
        """Whether inventory, payment or the gateway know of the order."""
        absent = self.locals[view.reservation].state.value == self.locals[view.payment].state.value == "ABSENT"
        return not absent or view.asked or view.book is not Book.NOTHING

    def _check_answered(self, view: View) -> None:
        topics = self.topics(view.sent)
        answers = topics & {"payment.voided", "payment.failed", "payment.refunded"}
        if view.book is Book.LATE and "payment.voided" in answers:  # an operator gave back what was captured later
            answers -= {"payment.refunded"}
        if "order.cancelling" in topics and len(answers) != 1:
            raise Flaw(f"order.cancelling was answered with {sorted(answers)}")
        ended = topics & {"order.confirmed", "order.cancelled", "order.rejected"}
        if ended not in _TOLD:
            raise Flaw(f"the end was told as {sorted(ended)}")

    def named(self, bits: int) -> dict[str, int]:
        """A set of messages: their numbers by topic and part."""
        return {_named(self.messages[i]): i for i in _indexes(bits)}

    def topics(self, bits: int) -> frozenset[str]:
        """The topics of a set of messages."""
        return frozenset(self.messages[i].topic for i in _indexes(bits))


_PAID = (OrderState.CONFIRMED, OrderState.FULFILLING, OrderState.COMPLETED)
_STOCK_AT_END = {
    **dict.fromkeys(_PAID, (ReservationState.COMMITTED,)),
    OrderState.REJECTED: (ReservationState.REJECTED,),
    OrderState.CANCELLED: (ReservationState.RELEASED, ReservationState.REJECTED),
}
_TOLD = (
    {"order.confirmed"},
    {"order.rejected"},
    {"order.cancelled"},
    {"order.confirmed", "order.cancelled"},  # an operator cancelled it after all
)


def _waits_for_an_operator(payment: Payment) -> bool:
    """Whether the gateway refused to give the money of a cancelled order back."""
    whole = payment.refund(WHOLE)
    return whole is not None and whole.state is PaymentRefundState.REFUSED


def _named(event: Event) -> str:
    """The topic of a message, and the part that it is about."""
    return f"{event.topic} {event.part}" if isinstance(event, PartEvent) else event.topic


def _answered(view: View, key: str, answer: int) -> View:
    """The view after the gateway's answer to a refund under a key."""
    return view._replace(refunds=tuple(sorted((*view.refunds, (key, answer)))))


def _refund_answer(refund_id: str, *, paid: bool) -> tuple[str, Handler]:
    """What the payment service does with the gateway's answer."""
    if refund_id == WHOLE:
        if paid:
            return "refund done", CALLS["refund done"]
        return "refund refused", lambda payment, _: payment.refund_refused("no funds", at=NOW)
    if paid:
        return f"{refund_id} paid", lambda payment, _: payment.part_refund_paid(refund_id, at=NOW)
    return f"{refund_id} refused", lambda payment, _: payment.part_refund_refused(refund_id, "no funds", at=NOW)


def _indexes(bits: int) -> Iterator[int]:
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def _check_history(before: Order, step: Transition[Order]) -> None:
    """P5: the history has no gap, and every entry is a cell of the table."""
    at, seq = before.state, before.version
    for entry in step.history:
        cell = ORDER_TABLE[OrderState(entry.before)][OrderTrigger(entry.trigger)]
        after = cell.to if cell.effect is Effect.MOVE else OrderState(entry.before)
        seq += 1
        if entry.seq != seq or entry.before != at.value or after is None or entry.after != after.value:
            raise Flaw(f"P5: {entry} after {at.value}, {seq - 1}")
        at = after
    if step.aggregate.version != seq or step.aggregate.state is not at:
        raise Flaw(f"P5: {step.aggregate} isn't where its history ends")


def _way(came: Mapping[World, tuple[World, str] | None], world: World) -> list[str]:
    names = []
    here = came[world]
    while here is not None:
        names.append(here[1])
        here = came[here[0]]
    return names[::-1]


def _check_no_cycle(edges: Mapping[World, list[World]]) -> None:
    """No world comes back: whatever happens, after finitely many changes it is at rest."""
    incoming = dict.fromkeys(edges, 0)
    for following in edges.values():
        for after in following:
            incoming[after] += 1
    free = [world for world, count in incoming.items() if not count]
    met = 0
    while free:
        met += 1
        for after in edges[free.pop()]:
            incoming[after] -= 1
            if not incoming[after]:
                free.append(after)
    if met < len(edges):
        raise Flaw("P6: the world can run in a circle")
