"""Runs pgbench with the rows of an accepted order, one transaction per order: the speed of PostgreSQL alone."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from oms.testing.bench.deployment import BenchFailed

SCRIPT = """
\\set number random(1, 1000000000)
BEGIN;
INSERT INTO oms_order.orders VALUES (gen_random_uuid(), 'CREATED', 1, 'bench', 1250, 'USD',
  '{"sku-00":2,"sku-13":1,"sku-26":1}', NULL, now(), now(), now() + interval '15 minutes', NULL, '');
INSERT INTO oms_order.order_history VALUES (gen_random_uuid(), 1, now(), 'place', 'ABSENT', 'CREATED', '');
INSERT INTO oms_order.outbox VALUES (gen_random_uuid(), 'order.created', 'key-of-an-order-with-36-characters00',
  repeat('v', 150)::bytea, repeat('h', 500), now() + interval '10 seconds', now());
INSERT INTO oms_order.tasks VALUES (gen_random_uuid(), 'DEADLINE', '', now() + interval '15 minutes', NULL, 0, now(),
  NULL, '', NULL);
COMMIT;
"""


def rate(url: str, directory: Path, *, clients: int = 16, seconds: int = 5) -> float:
    """Return orders per second; raises `BenchFailed` if pgbench isn't installed."""
    program = shutil.which("pgbench")
    if program is None:
        raise BenchFailed("pgbench isn't on PATH; it comes with PostgreSQL (Debian: postgresql-contrib)")
    script = directory / "accept.sql"
    script.write_text(SCRIPT)
    options = ["-n", "-c", str(clients), "-j", "1", "-T", str(seconds), "-f", str(script)]
    done = subprocess.run([program, *options, url], capture_output=True, text=True, check=False)  # noqa: S603
    found = re.search(r"tps = ([0-9.]+)", done.stdout)
    if found is None:
        raise BenchFailed(f"pgbench: {done.stderr[-500:]}")
    return float(found[1])
