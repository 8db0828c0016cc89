"""The HTTP client of the demonstration: places, ships, refunds and cancels orders, and sets stock."""

from __future__ import annotations

import json
from typing import Any

import urllib3

from oms.entrypoints.cli.output import give_up


class Customer:
    """A pool of connections to one system. Thread-safe."""

    def __init__(self, url: str, connections: int = 16) -> None:
        self._url = url
        self._pool = urllib3.PoolManager(maxsize=connections, retries=False, timeout=30.0)

    def place(self, body: bytes) -> Any:
        """Place an order; return its id."""
        return self._request("POST", "/orders", body)["id"]

    def cancel(self, order_id: str) -> None:
        """Cancel an order, unless it has ended already."""
        self._request("POST", f"/orders/{order_id}/cancel", refusable=True)

    def order(self, order_id: str) -> Any:
        """Return an order."""
        return self._request("GET", f"/orders/{order_id}")

    def ship(self, order_id: str, body: dict[str, object]) -> Any:
        """Ship units of an order."""
        return self._request("POST", f"/orders/{order_id}/shipments", json.dumps(body).encode())

    def refund(self, order_id: str, body: dict[str, object]) -> Any:
        """Refund units of an order."""
        return self._request("POST", f"/orders/{order_id}/refunds", json.dumps(body).encode())

    def count(self, sku: str, on_hand: int) -> None:
        """Set the units on hand of a product."""
        self._request("PUT", f"/stock/{sku}", json.dumps({"onHand": on_hand}).encode())

    def stock(self, sku: str) -> Any:
        """Return the stock of a product."""
        return self._request("GET", f"/stock/{sku}")

    def timeline(self, order_id: str) -> Any:
        """Return the timeline of an order."""
        return self._request("GET", f"/orders/{order_id}/timeline")

    def _request(self, method: str, path: str, body: bytes | None = None, *, refusable: bool = False) -> Any:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        response = self._pool.request(method, self._url + path, body=body, headers=headers)
        if response.status >= 400 and not (refusable and response.status == 409):
            give_up(f"{method} {path} was answered {response.status}: {response.data.decode(errors='replace')}", 1)
        return json.loads(response.data)
