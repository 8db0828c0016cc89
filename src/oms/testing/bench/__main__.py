"""`python -m oms.testing.bench`: `oms bench` from a source tree."""

from __future__ import annotations

from cyclopts import App

from oms.testing.bench.command import bench

if __name__ == "__main__":
    app = App(name="oms-bench")
    app.default(bench)
    app()
