"""The operators' commands verify, reconcile, setup and doctor, composed from adapters and operations."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from oms.bootstrap import servers
from oms.bootstrap.app import App
from oms.bootstrap.create import create
from oms.bootstrap.recorded import recorded
from oms.bootstrap.servers import acl_commands, check_servers, other_currencies, topics_of
from oms.operations.promises import Report, check
from oms.operations.reconciliation import Difference, differences
from oms.ports.broker import log_kept
from oms.ports.findings import Finding
from oms.settings import Settings


def verify(settings: Settings) -> Report:
    """Check the promises against a system's stored data, read-only, also while other processes run the system.

    The user's own steps are those of `OMS_STEPS`. Memory use doesn't grow with the number of orders: they are sorted in
    a temporary file of about 2 kB for each order.
    """
    own = create(settings).own_steps if settings.steps else {}
    with closing(recorded(settings, own=own)) as record:
        return check(
            record.evidence,
            record.codec,
            now=record.clock.now(),
            deadline_s=settings.order_deadline_s,
            settle_s=settings.settle_s,
            kept_s=log_kept(settings.retention_days).total_seconds(),
            sorter=record.sorter,
        )


RECONCILED = 2
"""Services of which `reconcile` reads a snapshot at the same time: inventory and order."""


def reconcile(settings: Settings) -> list[Difference]:
    """Compare the stock gate, the stock ledger and the orders, read-only; return the differences."""
    with closing(recorded(settings, with_book=False, snapshots=RECONCILED)) as record:
        return differences(record.evidence, now=record.clock.now(), settle_s=settings.settle_s, sorter=record.sorter)


def set_up(app: App) -> Sequence[str]:
    """Create the database, roles, schemas and topics of a distributed system; return a line for each action."""
    return servers.set_up(app.settings, app.own_steps)


def acl_of(app: App, principal: str) -> Sequence[str]:
    """Return the `kafka-acls.sh` commands that give each service of a distributed system its rights.

    `principal` is a pattern such as `User:oms-{name}`.
    """
    return acl_commands(app.settings, app.own_steps, principal)


def problems_of(app: App) -> Sequence[Finding]:
    """Check the servers of a distributed system, and the currency of its stores."""
    found = check_servers(app.settings, app.services, topics_of(app.own_steps), by_operator=True)
    return [*found, *other_currencies(app.settings, app.services)]
