"""Many orders at once: places them over several connections, follows them until they settle, and counts them."""

from __future__ import annotations

import json
import random
import time
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from oms.bootstrap.app import App
from oms.entrypoints.cli.customer import Customer
from oms.entrypoints.cli.output import give_up, plain, table

CONNECTIONS = 16
STALLED_S = 60.0
SCARCE = "last-seat"
"""A product with too little stock, so that some orders are rejected."""

Ended = Counter[tuple[str, str]]


def run(screen: Console, app: App, customer: Customer, count: int) -> None:
    """Place `count` orders, and print their outcomes and the time that they took."""
    scarce = max(1, count // 10)
    customer.count(SCARCE, scarce)
    screen.rule(f"[bold]{count} more orders, over {CONNECTIONS} connections", align="left")
    begun = time.monotonic()
    ended = _followed(screen, app, customer, count)
    seconds = time.monotonic() - begun
    outcomes = table("outcome", "why", "orders")
    outcomes.columns[2].justify = "right"
    for (state, reason), number in sorted(ended.items()):
        outcomes.add_row(plain(state), plain(reason.lower().replace("_", " ")), str(number))
    screen.print(outcomes)
    left = customer.stock(SCARCE)
    screen.print(
        f"\n{count} orders settled in {seconds:.1f} s: {count / seconds:.0f} a second, each one durable on disk.\n"
        f"{SCARCE}: {scarce} on hand before, {scarce - left['onHand']} sold, {left['onHand']} left, none sold twice.\n"
    )


def _followed(screen: Console, app: App, customer: Customer, count: int) -> Ended:
    ended: Ended = Counter()
    placing: deque[Future[str]] = deque()
    waiting: deque[str] = deque()
    columns = (TextColumn("{task.description:<8}"), BarColumn(), MofNCompleteColumn())
    with (
        Progress(*columns, console=screen, disable=not screen.is_terminal) as progress,
        ThreadPoolExecutor(CONNECTIONS, "demo") as pool,
    ):
        placed, settled = progress.add_task("placed", total=count), progress.add_task("settled", total=count)
        placing.extend(pool.submit(_one, customer, number) for number in range(count))
        moved_at = time.monotonic()
        while placing or waiting:
            accepted = [placing.popleft().result() for _ in range(_done(placing))]
            waiting.extend(accepted)
            over = _settled(app, waiting, ended)
            progress.advance(placed, len(accepted))
            progress.advance(settled, over)
            if accepted or over:
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > STALLED_S:
                give_up(f"{len(placing) + len(waiting)} orders haven't settled, and nothing moves", 1)
            else:
                time.sleep(0.02)
    return ended


def _one(customer: Customer, number: int) -> str:
    """Place one order; some customers cancel theirs at once."""
    chance = random.Random(number)  # noqa: S311 - the same crowd every time
    items = {f"product-{chance.randrange(10)}": chance.randrange(1, 4) for _ in range(2)}
    if chance.random() < 0.2:
        items[SCARCE] = 1
    order = {"userId": f"customer-{number % 20}", "amount": chance.randrange(500, 20_000) / 100, "items": items}
    order_id: str = customer.place(json.dumps(order).encode())
    if chance.random() < 0.05:
        customer.cancel(order_id)
    return order_id


def _done(placing: deque[Future[str]]) -> int:
    number = 0
    for future in placing:
        if not future.done():
            break
        number += 1
    return number


def _settled(app: App, waiting: deque[str], ended: Ended) -> int:
    """Check the first 64 waiting orders, remove and count those that have settled, and return how many."""
    over = 0
    for _ in range(min(len(waiting), 64)):
        order_id = waiting.popleft()
        order = app.orders.get(order_id)
        if order.state.settled:
            ended[order.state.value, order.reason.value if order.reason else ""] += 1
            over += 1
        else:
            waiting.append(order_id)
    return over
