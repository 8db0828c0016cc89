"""At-least-once in, exactly once out: what the consumer does with repeats, failures, crashes and bad messages."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import oms
from oms.adapters.memory.log import MemoryLog
from oms.ports.broker import TopicPartition
from oms.testing import Shop

Handler = Callable[[oms.AnyEvent, oms.StepContext], None]


def with_step(handler: Handler, **given) -> Shop:
    shop = Shop(**given)
    shop.app.subscribe("order.confirmed", group="own", handler=handler, publishes=["own.done"])
    return shop


def failing(times: int, error: Exception, seen: list[str]) -> Handler:
    def handle(event: oms.AnyEvent, step: oms.StepContext) -> None:
        seen.append(event.order_id)
        step.save({"tries": len(seen)})
        step.publish("own.done", tries=len(seen))
        if len(seen) <= times:
            raise error

    return handle


def test_an_unclear_error_is_tried_again_and_leaves_nothing_of_the_failed_tries() -> None:
    seen: list[str] = []
    shop = with_step(failing(3, ValueError("odd"), seen))
    order = shop.place()
    shop.run()
    assert len(seen) == 1, "a try that failed waits for its time"

    shop.advance(minutes=1)

    assert len(seen) == 4
    assert shop.parked() == []
    (done,) = shop.published("own.done")
    assert isinstance(done, oms.CustomEvent)
    assert done.body == {"orderId": order.id, "tries": 4}


def test_an_unclear_error_that_stays_is_parked_with_its_cause_and_can_be_redriven() -> None:
    seen: list[str] = []
    shop = with_step(failing(5, ValueError("odd"), seen))
    order = shop.place()
    shop.advance(minutes=5)

    (letter,) = shop.parked()
    assert (letter.cause, letter.detail, letter.attempts) == ("ValueError", "odd", 5)
    assert (letter.group, letter.topic, letter.order_id) == ("own", "order.confirmed", order.id)
    assert shop.published("own.done") == []

    shop.app.dead_letters.redrive(letter.id)
    shop.run()

    assert len(shop.published("own.done")) == 1
    assert shop.parked() == []
    with pytest.raises(oms.Conflict):
        shop.app.dead_letters.redrive(letter.id)


@pytest.mark.parametrize("error", [oms.Permanent("never"), ValueError("never")])
def test_a_redrive_that_fails_again_has_no_effect(error: Exception) -> None:
    seen: list[str] = []
    shop = with_step(failing(99, error, seen))
    shop.place()
    shop.advance(minutes=5)
    (letter,) = shop.parked()

    with pytest.raises(oms.Conflict) as refused:
        shop.app.dead_letters.redrive(letter.id)

    assert refused.value.code == "redrive_failed"
    shop.run()
    assert [kept.id for kept in shop.parked()] == [letter.id]
    assert shop.published("own.done") == []
    assert shop.app.dead_letters.discard(letter.id).state.value == "DISCARDED"
    assert shop.parked() == []


def test_a_retryable_error_is_tried_for_ever_and_never_parked() -> None:
    seen: list[str] = []
    shop = with_step(failing(50, oms.Retryable("carrier is down"), seen))
    shop.place()
    shop.advance(minutes=10)

    assert len(seen) == 51
    assert shop.parked() == []
    assert len(shop.published("own.done")) == 1


def test_one_bad_message_blocks_nobody() -> None:
    handled: list[str] = []

    def handle(event: oms.AnyEvent, _step: oms.StepContext) -> None:
        if event.order_id == bad.id:
            raise ValueError("odd")
        handled.append(event.order_id)

    shop = with_step(handle)
    good = [shop.place() for _ in range(20)]
    bad = shop.place()
    good += [shop.place() for _ in range(20)]
    shop.run()
    assert sorted(set(handled)) == sorted(order.id for order in good)

    shop.advance(minutes=5)

    assert [letter.order_id for letter in shop.parked()] == [bad.id]


def test_offsets_of_unfinished_messages_are_not_committed() -> None:
    def handle(_event: oms.AnyEvent, _step: oms.StepContext) -> None:
        raise oms.Retryable("not yet")

    shop = with_step(handle)
    shop.place()
    shop.run()
    committed = shop.log.offsets("own")

    assert all(offset == 0 for offset in committed.values())


class Killed(BaseException):
    """Ends a process in the middle of a handler."""


@pytest.mark.parametrize("lived_s", [0, 60])
def test_messages_that_kill_their_process_are_parked_at_last(lived_s: int) -> None:
    """Each time a new one takes over the same store and log; the first may have lived for long before it."""
    poison: set[str] = set()

    def handle(event: oms.AnyEvent, step: oms.StepContext) -> None:
        if event.order_id in poison:
            raise Killed
        step.publish("own.done")

    shop = first = with_step(handle, broker=MemoryLog(owner="w0"))
    orders = [first.place() for _ in range(12)]
    if lived_s:
        first.run()
        first.advance(seconds=lived_s)
        orders += [first.place() for _ in range(12)]
    poison.add(orders[-7].id)
    stores = {name: assembly.service.store for name, assembly in first.app.system.assemblies.items()}
    stores["step-own"] = stores.pop("own")
    crashes = 0
    while crashes < 60:
        try:
            shop.run()
        except Killed:
            first.log.kill(f"w{crashes}")
            crashes += 1
            log = first.log.worker(f"w{crashes}")
            shop = Shop(clock=first.clock, ids=first.ids, broker=log, stores=stores)
            shop.app.subscribe("order.confirmed", group="own", handler=handle, publishes=["own.done"])
            continue
        break

    assert 5 <= crashes <= 40
    (letter,) = stores["step-own"].dead_letters()
    assert letter.order_id in poison
    assert "died" in letter.detail
    done = [event.order_id for event in shop.published("own.done")]
    assert sorted(done) == sorted(order.id for order in orders if order.id not in poison)


def test_a_process_that_has_lived_on_with_its_partitions_no_longer_notes_each_batch() -> None:
    places: list[str] = []
    plain = Shop()
    store = _with_points(plain, "inventory", places.append)
    shop = Shop(clock=plain.clock, ids=plain.ids, stores={"inventory": store})
    shop.place()
    shop.run()
    assert "inventory.start_attempts:before" in places

    shop.advance(minutes=1)
    for _ in range(40):  # in every partition
        shop.place()
    shop.run()
    shop.advance(minutes=1)
    places.clear()
    order = shop.place()
    shop.run()

    assert shop.status(order) == "CONFIRMED"
    assert "inventory.commit:before" in places
    assert "inventory.start_attempts:before" not in places


def test_a_batch_that_waits_for_its_database_is_no_death_to_whoever_gets_it_next() -> None:
    """Its worker loses its partitions again and again meanwhile, as in a long outage: no process died of the message."""
    away = [True]

    def point(place: str) -> None:
        if place == "inventory.commit:before" and away[0]:
            raise oms.Retryable("no database")

    shop = Shop()
    shop = Shop(clock=shop.clock, ids=shop.ids, stores={"inventory": _with_points(shop, "inventory", point)})
    order = shop.place()
    for _ in range(6):
        shop.run()
        shop.log.evict("worker")
    away[0] = False
    shop.advance(minutes=1)

    assert shop.parked() == []
    assert shop.status(order) == "CONFIRMED"


def test_a_lost_answer_of_the_commit_is_no_second_effect() -> None:
    """The commit took effect and its answer was lost: the batch runs again and finds itself done."""
    lost = iter([True])

    def point(place: str) -> None:
        if place == "inventory.commit:after" and next(lost, False):
            raise oms.OutcomeUnknown("the connection broke after COMMIT")

    shop = Shop()
    store = _with_points(shop, "inventory", point)
    shop = Shop(clock=shop.clock, ids=shop.ids, stores={"inventory": store})
    order = shop.place({"apple": 3})
    shop.run()
    shop.advance(seconds=30)

    assert shop.status(order) == "CONFIRMED"
    assert shop.stock("apple") == oms.Stock(oms.Sku("apple"), on_hand=97, held=0)
    shop.check()


def test_an_order_whose_commit_is_unknown_is_looked_up_under_its_id() -> None:
    lost = iter([True])

    def point(place: str) -> None:
        if place == "orders.commit:after" and next(lost, False):
            raise oms.OutcomeUnknown("the connection broke after COMMIT")

    shop = Shop()
    shop = Shop(clock=shop.clock, ids=shop.ids, stores={"order": _with_points(shop, "order", point)})
    order = shop.place({"apple": 3})
    shop.advance(minutes=1)

    assert shop.status(order) == "CONFIRMED"
    assert shop.app.orders.page().total == 1


def test_an_order_whose_commit_failed_for_sure_is_not_answered_as_accepted() -> None:
    failures = iter([True])

    def point(place: str) -> None:
        if place == "orders.commit:before" and next(failures, False):
            raise oms.OutcomeUnknown("the connection broke before COMMIT arrived")

    shop = Shop()
    shop = Shop(clock=shop.clock, ids=shop.ids, stores={"order": _with_points(shop, "order", point)})
    with pytest.raises(oms.OutcomeUnknown):
        shop.place({"apple": 3}, key="k")

    again = shop.place({"apple": 3}, key="k")
    assert shop.app.orders.page().total == 1
    assert again.state is oms.OrderState.CREATED


def _with_points(shop: Shop, service: str, point: Callable[[str], None]):
    plain = shop.app.system.assemblies[service].service.store
    return plain.worker("faulty", point=point)


def test_a_broker_that_is_away_is_waited_for() -> None:
    away = [True]

    def point(place: str) -> None:
        if place == "log.publish:before" and away[0]:
            raise oms.Retryable("no broker")

    plain = Shop()
    shop = Shop(clock=plain.clock, broker=plain.log.worker("away", point=point))
    order = shop.place()
    shop.advance(minutes=5)
    assert shop.status(order) == "CREATED"

    away[0] = False
    shop.advance(minutes=1)

    assert shop.status(order) == "CONFIRMED"


def test_a_partition_that_was_lost_is_committed_by_nobody_but_its_new_owner() -> None:
    shop = Shop()
    shop.place()
    shop.run()
    other = shop.log.subscribe("inventory-group", ["order.created"])
    shop.place()
    shop.run()
    stolen = {TopicPartition(r.topic, r.partition): r.offset for r in other.poll(100)}
    offsets = shop.log.offsets("inventory-group")

    assert all(offsets.get(partition, 0) <= offset for partition, offset in stolen.items())
