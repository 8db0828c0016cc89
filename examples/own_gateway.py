"""A payment gateway of your own, and what it takes to be one: every call is keyed, and unknown is never failed.

python examples/own_gateway.py
"""

from __future__ import annotations

import oms
from oms.ports.plugs import NotFound
from oms.testing import Shop


class WalletGateway(oms.PaymentGateway):
    """Prepaid wallets. The book by key makes every call safe to repeat; a void blocks its key for ever."""

    def __init__(self, balances: dict[str, int]) -> None:
        self.balances = balances
        self._book: dict[str, tuple[str, str, int]] = {}

    def charge(self, charge: oms.Charge) -> oms.Captured | oms.Declined | oms.Unanswered:
        known = self._book.get(charge.key)
        if known is None:
            enough = self.balances.get(charge.user_id, 0) >= charge.amount.minor
            known = ("captured" if enough else "declined", charge.user_id, charge.amount.minor)
            self._book[charge.key] = known
            if enough:
                self.balances[charge.user_id] -= charge.amount.minor
        if known[0] == "captured":
            return oms.Captured(f"wallet-{charge.key}")
        return oms.Declined(known[0])

    def lookup(self, key: str) -> oms.Captured | oms.Declined | NotFound | oms.Unanswered:
        known = self._book.get(key)
        if known is None:
            return NotFound()
        return oms.Captured(f"wallet-{key}") if known[0] == "captured" else oms.Declined(known[0])

    def void(self, key: str) -> oms.Voided | oms.Captured | oms.Unanswered:
        known = self._book.setdefault(key, ("voided", "", 0))
        return oms.Captured(f"wallet-{key}") if known[0] == "captured" else oms.Voided()

    def refund(self, key: str) -> oms.Refunded | oms.Unanswered:
        state, user, minor = self._book[key]
        if state == "captured":
            self._book[key] = ("refunded", user, minor)
            self.balances[user] += minor
        return oms.Refunded()


def main() -> dict[str, str]:
    gateway = WalletGateway({"ann": 50_00, "bob": 5_00})
    shop = Shop(gateway=gateway)
    orders = {user: shop.place({"book": 1}, amount=30, user=user) for user in ("ann", "bob")}
    shop.run()
    shop.cancel(orders["ann"], by_operator=True)
    shop.run()
    shop.check()
    outcome = {user: shop.status(order) for user, order in orders.items()}
    print(outcome, gateway.balances)
    return outcome


if __name__ == "__main__":
    main()
