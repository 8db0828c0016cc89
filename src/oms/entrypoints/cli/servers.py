"""The commands of the distributed profile: run a service, set up the servers, check them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from oms.entrypoints.cli.client import InventoryRemote, Remote
from oms.entrypoints.cli.local import Data, Json, data_settings
from oms.entrypoints.cli.output import complain, console, plain, print_line, show_json, table
from oms.ports.findings import Finding

if TYPE_CHECKING:
    from oms.bootstrap.spring_import import Found

PORTS = {"order": 8081, "inventory": 8082, "payment": 8083, "notification": 8084}
FIRST_STEP_PORT = 8085
"""Port of the step whose group was subscribed first; each further step has the next port."""

INVENTORY = InventoryRemote(url=f"http://127.0.0.1:{PORTS['inventory']}")


def run(
    service: Annotated[str, Parameter(help="order, inventory, payment, notification, or the group of an own step.")],
    *,
    port: Annotated[
        int | None,
        Parameter(help="Port to listen on (OMS_HTTP_PORT; 8081 to 8084 by service, own steps from 8085 on)."),
    ] = None,
) -> int:
    """Run one process of a service on Kafka, PostgreSQL and Redis. It waits for servers that aren't up yet."""
    from oms.bootstrap.create import create
    from oms.entrypoints.serve import serve

    given: dict[str, Any] = {"profile": "distributed"} | ({} if port is None else {"http_port": port})
    app = create(services=[service], **given)
    if port is None and "OMS_HTTP_PORT" not in os.environ:
        return serve(app, port=default_port(service, list(app.own_steps)))
    return serve(app)


def default_port(service: str, steps: Sequence[str]) -> int:
    """Return the default port of a service or of one of these steps."""
    return PORTS[service] if service in PORTS else FIRST_STEP_PORT + steps.index(service)


def setup(
    *,
    check: Annotated[
        bool, Parameter(negative="", help="Change nothing; print what is missing, and exit 1 if anything is.")
    ] = False,
    acl: Annotated[
        bool,
        Parameter(negative="", help="Change nothing; print the kafka-acls.sh commands that let each service work."),
    ] = False,
    principal: Annotated[
        str, Parameter(help="With --acl: the Kafka principal of a service or step; {name} stands for its name.")
    ] = "User:oms-{name}",
) -> int:
    """Create the database, roles, schemas and topics that are missing. Safe to repeat, also from several hosts."""
    from oms.bootstrap.create import create
    from oms.bootstrap.operators import acl_of, problems_of, set_up

    app = create(profile="distributed")
    if acl:
        for line in acl_of(app, principal):
            print_line(line)
        return 0
    if check:
        return _report(problems_of(app), "nothing is missing")
    for line in set_up(app):
        print_line(line)
    return _report(problems_of(app), "everything is set up")


def migrate_from_spring(
    *,
    apply: Annotated[bool, Parameter(negative="", help="Import; without this option nothing is changed.")] = False,
    skip_bad: Annotated[
        bool,
        Parameter(
            negative="", help="Import the good rows although some can't be imported; without this option none is."
        ),
    ] = False,
    data: Data = None,
) -> int:
    """Import orders and stock from the Spring Boot system. Exit 1 if a row can't be imported.

    Only checks the rows, unless --apply. OMS_SPRING_POSTGRES_URL and OMS_SPRING_REDIS_URL are the addresses of that
    system. Its orders become LEGACY: none is charged before `oms orders resume`. Safe to repeat.
    """
    from oms.bootstrap.spring_import import migrate

    settings = data_settings(data)
    found, applied = migrate(settings, complain, apply=apply, skip_bad=skip_bad)
    for name, tally, verb in (("orders", found.orders, "import"), ("products", found.stock, "count")):
        if tally is None:
            print_line(f"{name}: skipped, because no server is set for them")
        else:
            print_line(f"{name}: {tally.new} to {verb}, {tally.known} here already, {tally.bad} bad")
    print_line(_done(found, applied=applied, requested=apply))
    return 1 if found.bad else 0


def _done(found: Found, *, applied: bool, requested: bool) -> str:
    if applied:
        return "done, without the bad ones" if found.bad else "done"
    return (
        "nothing was changed: --skip-bad leaves the bad ones out"
        if requested
        else "nothing was changed: --apply does it"
    )


def doctor(
    *,
    url: Annotated[
        str | None,
        Parameter(help="URL of a running process: print what fails there at the moment, and check no server."),
    ] = None,
    key: Annotated[
        str | None, Parameter(env_var="OMSCTL_KEY", help="With --url: an operator's API key, who gets the details.")
    ] = None,
) -> int:
    """Check that each server is reachable, of a supported version and configured correctly. Exit 1 if one isn't.

    With --url: query a running process instead, and print a line for each failure. Exit 1 if it isn't ready.
    """
    if url is not None:
        return _health_of(Remote(url=url, key=key))
    from oms.bootstrap.create import create
    from oms.bootstrap.operators import problems_of

    return _report(problems_of(create(profile="distributed")), "all servers are ready")


def _health_of(remote: Remote) -> int:
    status, answer = remote.health()
    with remote.reading():
        codes = [*answer["problems"], *answer["degraded"]]
        lines = [f"{one['code']} ({one['service']}): {one['detail']}" for one in answer.get("details", ())]
        state = answer["status"]
    for line in lines or codes:
        complain(plain(line))
    if status == HTTPStatus.OK:
        print_line(str(plain(state)))
    return 0 if status == HTTPStatus.OK else 1


def reconcile(
    *,
    rebuild: Annotated[
        bool, Parameter(negative="", help="First have the inventory service rebuild the gate from the ledger.")
    ] = False,
    data: Data = None,
    as_json: Json = False,
    remote: InventoryRemote = INVENTORY,
) -> int:
    """Compare the stock gate, the stock ledger and the orders. Read-only, unless --rebuild. Exit 1 on a difference."""
    from oms.bootstrap.operators import reconcile as look

    if rebuild:
        remote.request("POST", "/gate/rebuild")
    found = look(data_settings(data))
    if as_json:
        show_json({"differences": [{"kind": d.kind, "subject": d.subject, "detail": d.detail} for d in found]})
    elif found:
        made = table("kind", "subject", "difference")
        for difference in found:
            made.add_row(plain(difference.kind), plain(difference.subject), plain(difference.detail))
        console().print(made)
    else:
        print_line("gate, ledger and orders agree")
    return 1 if found else 0


def _report(findings: Sequence[Finding], otherwise: str) -> int:
    """Print the findings; return 1 if one of them is an error, else print `otherwise` and return 0."""
    for finding in findings:
        complain(str(finding))
    wrong = any(not finding.is_warning for finding in findings)
    if not wrong:
        print_line(otherwise)
    return 1 if wrong else 0
