"""For all tests: what they mean doesn't depend on how fast the machine is."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("oms", parent=settings.default, deadline=None)
settings.load_profile("oms")
