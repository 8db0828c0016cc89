"""Settings: read once at start, checked as a whole, and refused with one clear line."""

from oms.settings.settings import Settings, changed, load_settings

__all__ = ["Settings", "changed", "load_settings"]
