"""Measures the floor alone, on its own servers: bare drivers that write the rows and messages of an order.

    python benchmarks/floor.py [--seconds 3]

The code is `oms.testing.bench.floor`, which `oms bench` also runs. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import attrs

from oms.testing.bench import deployment
from oms.testing.bench.bench import Bench, Options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = Options(floor_s=parser.parse_args().seconds)
    with tempfile.TemporaryDirectory() as name, deployment.servers() as own:
        bench = Bench(Path(name), options, lambda _title, _total: lambda _done: None, own=own)
        print(json.dumps([attrs.asdict(pace) for pace in bench.floor()], indent=1))


if __name__ == "__main__":
    main()
