"""Start, stop and start again; forks; and what is closed where a start is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from starlette.testclient import TestClient

import oms
from oms.bootstrap import app as front
from oms.ports.errors import Retryable
from oms.testing import Shop

PATIENCE_S = 60.0


def _until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def _settles(app: oms.App, order: Any) -> None:
    _until(lambda: app.orders.get(order.id).state.name == "CONFIRMED")


@pytest.fixture(params=["memory", "embedded"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> oms.App:
    return oms.create(profile=request.param, data=tmp_path, payment_success_rate=1.0, default_stock=100)


def test_a_system_that_was_stopped_starts_again_with_its_records(app: oms.App) -> None:
    with app:
        first = app.orders.place(app.draft("ann", 1, {"cup": 1}))
        _settles(app, first)
    for _ in range(2):
        with app:
            assert app.problems() == []
            assert app.orders.get(first.id).state.name == "CONFIRMED"
            _settles(app, app.orders.place(app.draft("ann", 1, {"cup": 1})))
    app.run()
    assert app.stock.get("cup").on_hand == 97
    app.stop()


def test_an_order_that_a_stop_interrupted_settles_after_the_next_start(app: oms.App) -> None:
    app.start()
    orders = [app.orders.place(app.draft("ann", 1, {"cup": 1})) for _ in range(20)]
    app.stop()
    with app:
        for order in orders:
            _settles(app, order)


class Slow(oms.PaymentGateway):
    """Its charges hang until `release`; says which methods were called."""

    def __init__(self, *, hangs: bool) -> None:
        self.release, self.begun, self.calls = threading.Event(), threading.Event(), list[str]()
        if not hangs:
            self.release.set()

    def charge(self, charge: oms.Charge) -> oms.Captured:
        self.calls.append(f"charge {charge.order_id}")
        self.begun.set()
        self.release.wait(PATIENCE_S)
        return oms.Captured("paid")

    def lookup(self, lookup: oms.Lookup) -> oms.Captured:
        self.calls.append(f"lookup {lookup.order_id}")
        return oms.Captured("paid")

    def void(self, void: oms.Void) -> Any: ...
    def refund(self, refund: oms.Refund) -> Any: ...


def test_a_stop_gives_back_the_tasks_of_calls_that_have_not_ended(tmp_path: Path) -> None:
    """Leases of an hour: only what is given back can be done by the next process.

    A call that wasn't begun is made as if nothing had happened. The one under way is looked up after its time limit.
    """
    given = {"profile": "embedded", "data": tmp_path, "default_stock": 100, "payment_calls": 1}
    limits = {"task_lease_s": 3600.0, "payment_timeout_s": 2.0}
    gateway = Slow(hangs=True)
    app = oms.create(gateway=gateway, **given, **limits)
    app.start()
    first = app.orders.place(app.draft("ann", 1, {"cup": 1}))
    assert gateway.begun.wait(PATIENCE_S)
    queued = app.orders.place(app.draft("ann", 1, {"cup": 1}))
    _until(lambda: app.orders.get(queued.id).state.name == "RESERVED")
    app.stop()
    other = Slow(hangs=False)
    with oms.create(gateway=other, **given, **limits) as next_process:
        for order in (first, queued):
            _settles(next_process, order)
    gateway.release.set()
    assert gateway.calls == [f"charge {first.id}"]
    assert sorted(other.calls) == sorted([f"lookup {first.id}", f"charge {queued.id}"])


def test_a_lifespan_may_begin_again(app: oms.App) -> None:
    api = oms.asgi(app, run=True)
    for _ in range(2):
        with TestClient(api, "http://localhost") as client:
            assert client.get("/readyz").status_code == 200
            body = {"userId": "ann", "amount": 1, "items": {"cup": 1}}
            made = client.post("/orders", json=body).json()
            _until(lambda made=made: client.get(f"/orders/{made['id']}").json()["status"] == "CONFIRMED")


def test_a_system_that_runs_does_not_start_again(app: oms.App) -> None:
    with app, pytest.raises(oms.OmsError, match="running already"):
        app.start()


def test_a_system_whose_worker_has_not_ended_does_not_start_again(
    app: oms.App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "STOP_TIMEOUT_S", 0.1)
    reached, go_on = threading.Event(), threading.Event()

    def hang(_event: Any, _step: Any) -> None:
        reached.set()
        go_on.wait(PATIENCE_S)

    app.subscribe("order.confirmed", group="slow", handler=hang)
    app.start()
    app.orders.place(app.draft("ann", 1, {"cup": 1}))
    assert reached.wait(PATIENCE_S)
    app.stop()
    with pytest.raises(oms.OmsError, match="hasn't ended"):
        app.start()
    go_on.set()


def test_a_shop_goes_on_after_it_was_closed() -> None:
    shop = Shop()
    with shop:
        first = shop.place()
        shop.run()
    with shop:
        second = shop.place()
        shop.run()
        assert {shop.order(one).state.name for one in (first, second)} == {"CONFIRMED"}
        assert not shop.report().violations


# -- forks

FORK = """
import os, sys, oms
app = oms.create(profile="embedded", data=sys.argv[1], default_stock=100, payment_success_rate=1.0)
if sys.argv[2] == "started":
    app.start()
else:
    app.stock.set("cup", 5)
child = os.fork()
if child:
    _, status = os.waitpid(child, 0)
    with app if sys.argv[2] != "started" else __import__("contextlib").nullcontext():
        app.orders.place(app.draft("ann", 1, {"cup": 1}))
    app.stop()
    sys.exit(os.waitstatus_to_exitcode(status))
uses = [app.start, app.start_when_reachable, app.run, app.make_extensions, lambda: app.orders.get("x"),
        lambda: app.orders.place(app.draft("ann", 1, {"cup": 1})), lambda: app.stock.set("cup", 1),
        lambda: app.dead_letters]
for use in uses:
    try:
        use()
    except oms.OmsError as error:
        assert "forked" in str(error), error
    else:
        sys.exit(f"{use} raised nothing")
assert "forked" in app.problems()[0]
app.stop()
sys.exit(0)
"""


@pytest.mark.parametrize("before", ["used", "started"])
def test_a_forked_process_is_told_that_it_has_only_a_copy(before: str, tmp_path: Path) -> None:
    """Also the copy's end closes nothing of the other process's, which goes on."""
    ended = subprocess.run(
        [sys.executable, "-c", FORK, str(tmp_path / "data"), before],
        timeout=PATIENCE_S,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr


def test_a_fork_before_the_first_use_works(tmp_path: Path) -> None:
    script = """
import os, sys, oms
app = oms.create(profile="embedded", data=sys.argv[1], default_stock=100)
if (child := os.fork()) != 0:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
with app:
    app.orders.place(app.draft("ann", 1, {"cup": 1}))
"""
    assert (
        subprocess.run([sys.executable, "-c", script, str(tmp_path)], timeout=PATIENCE_S, check=False).returncode == 0
    )


# -- what a refused start leaves

OPEN: list[str] = []


class _Extension:
    def __init__(self, name: str) -> None:
        self.name = name
        OPEN.append(name)

    def close(self) -> None:
        OPEN.remove(self.name)
        raise RuntimeError("an error while it closes keeps nothing else open")


class Gateway(_Extension, oms.PaymentGateway):
    def __init__(self) -> None:
        super().__init__("gateway")

    def charge(self, charge: oms.Charge) -> Any: ...
    def lookup(self, lookup: oms.Lookup) -> Any: ...
    def void(self, void: oms.Void) -> Any: ...
    def refund(self, refund: oms.Refund) -> Any: ...


class Pricing(_Extension, oms.Pricing):
    def __init__(self) -> None:
        super().__init__("pricing")

    def price(self, command: Any) -> Any: ...


class Authenticator(_Extension, oms.Authenticator):
    def __init__(self) -> None:
        super().__init__("authenticator")

    def authenticate(self, headers: Any) -> Any: ...


@pytest.fixture
def extensions(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    OPEN.clear()
    module = ModuleType("own_extensions")
    for made in (Gateway, Pricing, Authenticator):
        setattr(module, made.__name__, made)
    monkeypatch.setitem(sys.modules, "own_extensions", module)
    yield module
    OPEN.clear()


NAMED = {
    "payment_gateway": "own_extensions:Gateway",
    "pricing": "own_extensions:Pricing",
    "authenticator": "own_extensions:Authenticator",
}


@pytest.mark.parametrize("profile", ["memory", "embedded"])
@pytest.mark.usefixtures("extensions")
def test_extensions_are_closed_where_a_later_one_is_refused(profile: str, tmp_path: Path) -> None:
    app = oms.create(profile=profile, data=tmp_path, notifier="own_extensions:Missing", **NAMED)
    for start in (app.make_extensions, app.start, app.start):
        with pytest.raises(oms.SettingsError, match="Missing"):
            start()
        assert OPEN == []


@pytest.mark.parametrize("profile", ["memory", "embedded"])
@pytest.mark.usefixtures("extensions")
def test_every_extension_is_closed_at_a_stop_and_made_anew_at_the_next_start(profile: str, tmp_path: Path) -> None:
    app = oms.create(profile=profile, data=tmp_path, **NAMED)
    for _ in range(2):
        app.make_extensions()
        with app:
            assert sorted(OPEN) == ["authenticator", "gateway", "pricing"]
        assert OPEN == []


def test_a_start_that_fails_late_leaves_the_directory_to_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = oms.create(profile="embedded", data=tmp_path)

    def fails(_system: Any) -> None:
        raise Retryable("the store can't be reached")

    with monkeypatch.context() as patch:
        patch.setattr(front, "pin_settings", fails)
        with pytest.raises(Retryable):
            app.start()
    with oms.create(profile="embedded", data=tmp_path) as other:
        assert other.problems() == []
    with app:
        assert app.problems() == []


def test_a_store_that_is_away_at_the_stop_keeps_nothing_else_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = oms.create(profile="embedded", data=tmp_path)
    app.start()

    def away(_ids: Any) -> None:
        raise Retryable("the server went away")

    monkeypatch.setattr(app.system.order.service.store, "return_outbox", away)
    app.stop()
    assert "the server went away" in caplog.text
    with oms.create(profile="embedded", data=tmp_path) as other:
        assert other.problems() == []
    assert os.path.exists(tmp_path)
