"""Orders from several callers at once, each repeated under its key until it is answered."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from tests.system.stack.stack import place

CALLERS = 4
PACE_S = 0.05


@attrs.define
class Load:
    """`orders` are all ids that callers got in responses."""

    orders: list[str] = attrs.field(factory=list)
    errors: list[BaseException] = attrs.field(factory=list)
    _numbers: Iterator[int] = attrs.field(factory=itertools.count)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Callers place orders while the block runs; an error of theirs is raised at its end."""
        over = threading.Event()
        threads = [threading.Thread(target=self._call, args=(over,)) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()
        if self.errors:
            raise self.errors[0]

    def place(self, count: int) -> list[str]:
        """Place some orders, one after the other."""
        return [self._place() for _ in range(count)]

    def _call(self, over: threading.Event) -> None:
        try:
            while not over.wait(PACE_S):
                self._place()
        except BaseException as error:  # noqa: BLE001 - handed to the thread of the test
            self.errors.append(error)

    def _place(self) -> str:
        number = next(self._numbers)
        body = {"userId": f"user-{number % 7}", "amount": 19.80, "items": {f"sku-{number % 50}": 1}}
        order = place(f"load-{number}", json.dumps(body))
        self.orders.append(order)
        return order
