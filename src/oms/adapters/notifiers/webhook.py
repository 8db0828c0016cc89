"""Posts notifications to a URL, with a signature by which the receiver can verify the sender.

The body is one JSON object: `id` (the same on each try), `orderId`, `userId`, `kind`, `amount`, `currency`, and
`reason`, `metadata`, `at` if they are known. `oms.verify_signature` checks the signature.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPException
from typing import Self

import msgspec
import urllib3

from oms.adapters.notifiers.limited_pools import LimitedPools
from oms.ports.clock import Clock
from oms.ports.errors import Permanent, Retryable
from oms.ports.extensions import Notification, Notifier
from oms.ports.webhook import signature
from oms.settings.records import WebhookConfig

_encoder = msgspec.json.Encoder(decimal_format="number")

MOST_BODY_BYTES = 64 * 1024
"""Bytes of a response's body that are read, so that the connection can be used again."""

_TRY_AGAIN = frozenset({408, 409, 425, 429})


class WebhookNotifier(Notifier):
    """Sends one signed POST for each try. The task rows repeat it, with back-off, for 24 h."""

    def __init__(self, url: str, secret: str, clock: Clock, *, timeout_s: float = 5.0) -> None:
        self._url, self._secret, self._clock, self._timeout_s = url, secret, clock, timeout_s
        self._pools = LimitedPools(maxsize=32, retries=False)

    @classmethod
    def from_config(cls, config: WebhookConfig, clock: Clock) -> Self:
        """Return the notifier that posts to this webhook."""
        return cls(config.url, config.secret, clock, timeout_s=config.timeout_s)

    def __repr__(self) -> str:
        return f"WebhookNotifier({self._url!r})"

    def send(self, notification: Notification) -> None:
        """Post a notification. A status 2xx means delivered; raises `Permanent` for most of 4xx, else `Retryable`."""
        body = _encoder.encode(shape(notification))
        timestamp = str(int(self._clock.now().timestamp()))
        headers = {
            "Content-Type": "application/json",
            "Oms-Id": notification.id,
            "Oms-Timestamp": timestamp,
            "Oms-Signature": signature(self._secret, timestamp, body),
        }
        status = self._post(body, headers)
        if 200 <= status < 300:
            return
        if 400 <= status < 500 and status not in _TRY_AGAIN:
            raise Permanent(f"the webhook answered {status}")
        raise Retryable(f"the webhook answered {status}")

    def _post(self, body: bytes, headers: Mapping[str, str]) -> int:
        """Post, and return the status. Connecting, headers and body together take at most the time limit.

        The status counts even if the body can't be read, which is read only so that the connection can be used again.
        """
        with self._pools.limited(self._timeout_s):
            try:
                response = self._pools.request(
                    "POST",
                    self._url,
                    body=body,
                    headers=dict(headers),
                    timeout=urllib3.Timeout(total=self._timeout_s),
                    redirect=False,
                    preload_content=False,
                )
            except (urllib3.exceptions.HTTPError, HTTPException, OSError) as error:
                raise Retryable(f"the webhook can't be reached: {type(error).__name__}") from None
            _release(response)
            return int(response.status)


def _release(response: urllib3.BaseHTTPResponse) -> None:
    """Read a short body to its end, which returns the connection to the pool; otherwise close the connection."""
    with suppress(Exception):  # the status is known, and nothing depends on the body
        response.read(MOST_BODY_BYTES, decode_content=False)
    response.close()


def shape(notification: Notification) -> dict[str, object]:
    """The JSON object of a notification."""
    found: dict[str, object] = {
        "id": notification.id,
        "orderId": notification.order_id,
        "userId": notification.user_id,
        "kind": notification.kind,
    }
    if notification.amount:
        found |= {"amount": notification.amount.amount, "currency": notification.amount.currency.code}
    if notification.reason:
        found["reason"] = notification.reason.value
    if notification.metadata:
        found["metadata"] = dict(notification.metadata)
    if notification.at:
        found["at"] = notification.at.isoformat()
    return found | _part(notification)


def _part(notification: Notification) -> dict[str, object]:
    """The fields of a shipment or refund; those without a value are left out."""
    lines = [
        {"productId": line.sku, "quantity": line.quantity} | ({"name": line.name} if line.name else {})
        for line in notification.lines
    ]
    fields = {
        "part": notification.part,
        "items": dict(notification.items),
        "lines": lines,
        "carrier": notification.carrier,
        "trackingNumber": notification.tracking_number,
    }
    return {name: value for name, value in fields.items() if value}
