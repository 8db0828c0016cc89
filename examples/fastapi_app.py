"""An order system inside a FastAPI application: its API is mounted under /shop, and its library is called directly.

uvicorn --app-dir examples fastapi_app:api
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import oms

shop = oms.create(
    profile="embedded",
    data=os.environ.get("SHOP_DATA", "shop-data"),
    default_stock=1_000_000,  # gift cards are printed when they are sold
    log_level="warning",
)


@asynccontextmanager
async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
    shop.start()
    yield
    shop.stop()


api = FastAPI(title="A shop", lifespan=lifespan)
api.mount("/shop", oms.asgi(shop))


@api.post("/gifts/{user}")
def gift(user: str) -> dict[str, str]:
    """An own route that places an order through the library."""
    order = shop.orders.place(shop.draft(user, 0, {"gift-card": 1}, {"campaign": "spring"}))
    return {"order": order.id, "status": order.state.value}
