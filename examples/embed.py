"""The shortest use: a durable order system inside this program.

python examples/embed.py [directory]
"""

from __future__ import annotations

import sys
import tempfile
import time

import oms


def main(data: str) -> oms.Order:
    app = oms.create(profile="embedded", data=data, log_level="warning")
    with app:
        app.stock.set("espresso-cup", 40)
        order = app.orders.place(app.draft("ann", "19.80", {"espresso-cup": 2}, {"channel": "web"}))
        print(f"{order.id} is accepted: it is on disk now")
        while not order.state.settled:
            time.sleep(0.01)
            order = app.orders.get(order.id)
        print(f"{order.id} is {order.state.value}; {app.stock.get('espresso-cup').available} cups are left")
    return order


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as directory:
            main(directory)
