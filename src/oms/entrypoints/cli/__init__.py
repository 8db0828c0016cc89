"""The command line."""

from __future__ import annotations

from oms.entrypoints.cli.main import main

__all__ = ["main"]
