"""Terms, notifications and texts of the extension suites: legal values that careless code handles wrongly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from hypothesis import strategies as st

from oms.domain.events import Reason
from oms.domain.lines import OrderLine
from oms.domain.money import MAX_MINOR, Currency, Money
from oms.domain.terms import Terms
from oms.domain.values import MAX_QUANTITY, OrderId, Sku, UserId
from oms.ports.extensions import Notification, Principal, Role
from oms.testing.contracts.samples import AT

HOSTILE_TEXTS = (
    "",
    " ",
    "line one\r\nX-Injected: yes\r\n\r\nbody",
    "'; DROP TABLE orders; --",
    '{"json": ["inside", \\ "broken',
    "<script>alert(1)</script>&amp;%s%(x)s{0}{x}",
    "\x01\x1b[31mred\x7f\x85\u2028\u2029",
    "\u202eright to left, zero width: \u200b\ufeff",
    "🧾 ärger ✓ 中文",
    "x" * 2000,
)
"""Texts that are legal in an order's metadata, which excludes U+0000, lone surrogates and more than 4 KiB."""

HOSTILE_METADATA: Mapping[str, str] = {f"{number} {text[:40]}": text for number, text in enumerate(HOSTILE_TEXTS)}

IDS = ("a", "a:b", "..", "-rf", "NULL", "0", "-_.:" * 16)
"""Legal ids: 1 to 64 of `A-Z a-z 0-9 . _ : -`."""

CALLERS = (Principal(Role.CUSTOMER, UserId("ann")), Principal(Role.OPERATOR), Principal(Role.TRUSTED))


def terms(
    currency: Currency,
    items: Mapping[str, int],
    *,
    minor: int = 1250,
    user: str = "ann",
    metadata: Mapping[str, str] | None = None,
) -> Terms:
    """Return terms with plain dictionaries, so that a suite notices when an extension changes them."""
    found = {Sku(sku): quantity for sku, quantity in items.items()}
    return Terms(UserId(user), Money(minor, currency), found, dict(metadata or {}))


def any_terms(currency: Currency, skus: Sequence[str]) -> st.SearchStrategy[Terms]:
    """Generate legal terms for these products, with any amounts, quantities and texts that `place` accepts."""
    texts = st.one_of(st.sampled_from(HOSTILE_TEXTS), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
    metadata = st.dictionaries(texts, texts, max_size=3).map(_without_nul)
    items = st.dictionaries(st.sampled_from(list(skus)), st.integers(1, MAX_QUANTITY), min_size=1, max_size=100)
    return st.builds(
        lambda items, minor, user, metadata: terms(currency, items, minor=minor, user=user, metadata=metadata),
        items,
        st.one_of(st.sampled_from([0, 1, MAX_MINOR]), st.integers(0, MAX_MINOR)),
        st.sampled_from(["ann", *IDS]),
        metadata,
    )


def _without_nul(metadata: Mapping[str, str]) -> dict[str, str]:
    return {key.replace("\x00", ""): value.replace("\x00", "") for key, value in metadata.items()}


def notification(
    id: str,  # noqa: A002 - the field's name
    kind: str = "order.confirmed",
    *,
    currency: Currency,
    reason: Reason | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Notification:
    """Return a notification about an order of its own, with plain dictionaries, as `terms` has them."""
    amount = None if kind == "order.shipped" else Money(1250, currency)
    order_id, user_id = OrderId(f"order-of-{id}"[:64]), UserId("ann")
    found = Notification(id, order_id, user_id, kind, amount, reason, dict(metadata or {}), AT, items={})
    return attrs.evolve(found, **_parts().get(kind, {}))


def _parts() -> Mapping[str, Mapping[str, Any]]:
    """The further fields of notifications about shipments and refunds, by kind."""
    items = {Sku("lamp"): 2}
    lines = (OrderLine(Sku("lamp"), 2, name="Lamp, „red“"),)
    shipment = {"part": "shipment-1", "items": items, "lines": lines, "carrier": "DHL", "tracking_number": "t-1"}
    return {
        "order.shipped": shipment,
        "order.completed": {"items": items},
        "payment.refund_paid": {"part": "refund-1", "items": items},
    }
