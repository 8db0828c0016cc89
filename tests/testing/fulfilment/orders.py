"""Orders of the scenarios, each confirmed: lines with amounts, so that refunds have default amounts."""

from __future__ import annotations

import oms
from oms.domain.lines import OrderCharge, OrderLine
from oms.domain.values import Sku
from oms.testing import AnyShop

USD = oms.Currency.of("USD")


def usd(amount: str) -> oms.Money:
    return oms.Money.of(amount, USD)


def confirmed(shop: AnyShop, lamps: int = 2, *, price: str = "10.00", shipping: str = "5.00") -> oms.Order:
    """Order `lamps` lamps for `price` in all, and `shipping` for their way; of five in stock."""
    shop.set_stock("lamp", 5)
    line = OrderLine(Sku("lamp"), lamps, usd(price), "Lamp")
    total = usd(price).minor + usd(shipping).minor
    charges = [OrderCharge("shipping", usd(shipping))]
    order = shop.place(lines=[line], charges=charges, amount=str(oms.Money(total, USD).amount))
    shop.run()
    shop.expect(order).confirmed()
    return order
