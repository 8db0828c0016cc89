"""A shipping service on top of `oms`, in a package of its own."""

from shipping.carrier import Carrier, PaperCarrier
from shipping.step import subscribe

__all__ = ["Carrier", "PaperCarrier", "subscribe"]
