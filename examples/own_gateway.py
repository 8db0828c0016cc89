"""A payment gateway of your own: every call has an idempotency key, and an unknown outcome is never a failure.

python examples/own_gateway.py
"""

from __future__ import annotations

import threading
from uuid import NAMESPACE_URL, uuid5

import oms
from oms.testing import Shop


class WalletGateway(oms.PaymentGateway):
    """Prepaid wallets. The book by key makes every call safe to repeat; a void blocks its key for ever."""

    def __init__(self, balances: dict[str, int]) -> None:
        self.balances = balances
        self._lock = threading.Lock()  # calls come from several threads at once
        self._book: dict[str, tuple[str, int]] = {}
        self._refunds: dict[str, tuple[str, int]] = {}

    def charge(self, charge: oms.Charge) -> oms.Captured | oms.Declined:
        with self._lock:
            if charge.key not in self._book:
                enough = self.balances.get(charge.user_id, 0) >= charge.amount.minor
                if enough:
                    self.balances[charge.user_id] -= charge.amount.minor
                self._book[charge.key] = ("captured" if enough else "declined", charge.amount.minor)
            return self._answer(charge.key)

    def lookup(self, lookup: oms.Lookup) -> oms.Captured | oms.Declined | oms.Refunded | oms.UnknownCharge:
        if lookup.of is oms.LookupOf.REFUND:
            return oms.Refunded() if lookup.key in self._refunds else oms.UnknownCharge()
        return self._answer(lookup.key) if lookup.key in self._book else oms.UnknownCharge()

    def void(self, void: oms.Void) -> oms.Voided | oms.Captured:
        with self._lock:
            self._book.setdefault(void.key, ("voided", 0))
            answer = self._answer(void.key)
            return answer if isinstance(answer, oms.Captured) else oms.Voided()

    def refund(self, refund: oms.Refund) -> oms.Refunded | oms.Declined:
        with self._lock:
            if refund.key not in self._refunds:
                if refund.amount.minor > self._left(refund.charge_key):
                    return oms.Declined("more than is left of the charge")
                self._refunds[refund.key] = (refund.charge_key, refund.amount.minor)
                self.balances[refund.user_id] += refund.amount.minor
            return oms.Refunded()

    def _left(self, charge_key: str) -> int:
        state, amount = self._book.get(charge_key, ("unknown", 0))
        given = sum(minor for key, minor in self._refunds.values() if key == charge_key)
        return amount - given if state == "captured" else -1

    def _answer(self, key: str) -> oms.Captured | oms.Declined:
        state, _ = self._book[key]
        return oms.Captured(f"wallet-{uuid5(NAMESPACE_URL, key)}") if state == "captured" else oms.Declined(state)


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
