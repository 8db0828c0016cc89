"""A payment gateway of your own, and what it takes to be one: every call is keyed, and unknown is never failed.

python examples/own_gateway.py
"""

from __future__ import annotations

import oms
from oms.testing import Shop


class WalletGateway(oms.PaymentGateway):
    """Prepaid wallets. The book by key makes every call safe to repeat; a void blocks its key for ever."""

    def __init__(self, balances: dict[str, int]) -> None:
        self.balances = balances
        self._book: dict[str, tuple[str, int]] = {}
        self._refunds: dict[str, tuple[str, int]] = {}

    def charge(self, charge: oms.Charge) -> oms.Captured | oms.Declined:
        known = self._book.get(charge.key)
        if known is None:
            enough = self.balances.get(charge.user_id, 0) >= charge.amount.minor
            known = ("captured" if enough else "declined", charge.amount.minor)
            self._book[charge.key] = known
            if enough:
                self.balances[charge.user_id] -= charge.amount.minor
        return self._answer(charge.key, known[0])

    def lookup(self, lookup: oms.Lookup) -> oms.Captured | oms.Declined | oms.UnknownCharge:
        known = self._book.get(lookup.key)
        return oms.UnknownCharge() if known is None else self._answer(lookup.key, known[0])

    def void(self, void: oms.Void) -> oms.Voided | oms.Captured:
        answer = self._answer(void.key, self._book.setdefault(void.key, ("voided", 0))[0])
        return answer if isinstance(answer, oms.Captured) else oms.Voided()

    def refund(self, refund: oms.Refund) -> oms.Refunded | oms.Declined:
        if refund.key in self._refunds:
            return oms.Refunded()
        left = self._left(refund.charge_key)
        if refund.amount.minor > left:
            return oms.Declined("more than is left of the charge")
        self._refunds[refund.key] = (refund.charge_key, refund.amount.minor)
        self.balances[refund.user_id] += refund.amount.minor
        return oms.Refunded()

    def _left(self, charge_key: str) -> int:
        state, amount = self._book[charge_key]
        given = sum(minor for key, minor in self._refunds.values() if key == charge_key)
        return amount - given if state == "captured" else 0

    def _answer(self, key: str, state: str) -> oms.Captured | oms.Declined:
        return oms.Captured(f"wallet-{key}"[:64]) if state == "captured" else oms.Declined(state)


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
