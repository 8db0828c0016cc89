"""The API against its own OpenAPI document: schemathesis, with every check that it has."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis.stateful import Bundle, initialize
from schemathesis.generation import GenerationMode
from schemathesis.generation.stateful.state_machine import StepInput

import oms
from oms.adapters.auth.keys_file import new_key
from oms.entrypoints.http.routes import ROUTES
from oms.entrypoints.serve import Server, address, bound
from oms.ports.messages import Outgoing
from oms.testing import Shop
from tests.entrypoints.http.schemathesis_hooks import before_each

pytestmark = pytest.mark.slow
CALLS = 100
"""By links, for each tag."""

MOST_CALLS = 20 * CALLS
"""By then every link has been followed, unless one can't be."""

EXAMPLES = 10
CHOSEN = hypothesis.settings(
    max_examples=20,
    stateful_step_count=8,
    deadline=None,
    database=None,
    derandomize=False,  # where CI is set, hypothesis would make the same scenarios in each run of the loop
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.generate],
)
OWN_LINKS = schemathesis.Config.from_dict({"phases": {"stateful": {"inference": {"algorithms": []}}}})
"""Only the links of the document: those that schemathesis adds would take most of the calls."""

STOCK = 8000
"""Of each product: most orders, which have up to 10,000 units of a product, are confirmed, others rejected."""

LETTERS = 100
"""Messages that can't be read, so that there is something to redrive and to discard."""


def app_of(**given: object) -> oms.App:
    app = oms.create(
        profile="memory", environ={}, log_level="error", default_stock=100, payment_success_rate=0.7, **given
    )
    app.start()
    app.system.container.broker().publish([Outgoing("order.created", None, b"{broken")] * LETTERS)
    app.stock.set("espresso-cup", 1000)
    until = time.monotonic() + 20
    while len(app.dead_letters.page(limit=LETTERS)) < LETTERS:
        assert time.monotonic() < until
        time.sleep(0.05)
    return app


class Anew:
    """An application that is a new shop for each scenario: what hypothesis has seen once, it sees again."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._shop, self._calls = Shop(default_stock=STOCK), 0
        for _ in range(LETTERS // 5):
            self._shop.publish("order.created", b"{broken")
        self._shop.app.stock.set("espresso-cup", 1000)
        self._shop.run()
        self._asgi = oms.asgi(self._shop.app)

    def go_on(self) -> None:
        """After every second call the system works: many an order can still be cancelled, many another is confirmed."""
        self._calls += 1
        if self._calls % 2 == 0:
            self._shop.run()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        answered = asyncio.ensure_future(self._asgi(scope, receive, send))
        while scope["type"] == "http" and not answered.done():
            for assembly in self._shop.app.system.assemblies.values():
                assembly.advance_commands()  # no thread of the shop does
            await asyncio.sleep(0.001)
        await answered


def machine_of(schema: Any, app: Anew, followed: Counter[str], first: Sequence[tuple[str, str]]) -> type[Any]:
    """Scenarios of calls, each from an earlier answer by a link. `first` are called at the beginning of each."""

    class Machine(schema.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            app.begin()

        def before_call(self, case: Any) -> None:
            before_each(case)

        def step(self, input: Any) -> Any:  # noqa: A002 - schemathesis' name
            if input.transition is not None and input.is_applied:
                followed[input.transition.id] += 1
            answer = super().step(input)
            app.go_on()
            return answer

        def begin(self, case: Any) -> Any:
            begun = StepInput.initial(case)
            self.recorder.record_case(case=case)
            self.control.record_step(begun, self.recorder)
            return self.step(begun)

    for number, (path, method) in enumerate(first):
        case = schema[path][method].as_strategy(generation_mode=GenerationMode.POSITIVE)
        begin = initialize(target=Bundle("catch_all"), case=case)(lambda self, case: self.begin(case))
        setattr(Machine, f"begin_{number}", begin)
    return Machine


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("tag", "first"),
    [
        # By itself schemathesis never begins with an order: it sees no route that makes the order's user.
        ("order", [("/orders", "POST"), ("/orders", "GET")]),
        ("inventory", [("/stock/{sku}", "PUT")]),
        ("dead letters", []),
    ],
)
def test_scenarios_along_the_links_of_the_document(tag: str, first: Sequence[tuple[str, str]]) -> None:
    app = Anew()
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=OWN_LINKS).include(tag=tag)
    followed: Counter[str] = Counter()
    machine, links = machine_of(schema, app, followed, first), set(links_of(schema.raw_schema, tag))
    while not followed.keys() >= links or followed.total() < CALLS:
        assert followed.total() < MOST_CALLS, links - followed.keys()
        machine.run(settings=CHOSEN)


def links_of(document: dict[str, Any], tag: str) -> Iterator[str]:
    """As schemathesis calls them."""
    operations = {
        operation["operationId"]: (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    for label, operation in operations.values():
        for status, answer in operation["responses"].items():
            for link in answer.get("links", {}) if operation["tags"] == [tag] else ():
                yield f"{label} -> [{status}] {link} -> {operations[link][0]}"


@pytest.mark.timeout(240)
def test_every_operation(tmp_path: Path) -> None:
    key, entry = new_key("ops", oms.Role.OPERATOR)
    (tmp_path / "keys.json").write_text(json.dumps([entry]))
    app = app_of(api_keys_file=tmp_path / "keys.json")
    listener = bound("127.0.0.1", 0)
    server = Server(app)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{address(listener)}/openapi.json"),
                *("--checks", "all", "--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES)),
                *("--generation-database", "none", "--no-color", "--wait-for-schema", "20"),
                *("--header", f"Authorization: Bearer {key}"),
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "SCHEMATHESIS_HOOKS": "tests.entrypoints.http.schemathesis_hooks",
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        server.should_exit = True
        thread.join(10)
        app.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Tested: {len(ROUTES) - 1}\n" in done.stdout, "all but the document itself"
