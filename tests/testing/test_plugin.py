"""What the plugin does for a user's test run: stories of failures, and no test that shows nothing."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

OPTIONS = ("-q", "-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function")


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """In CI pytest's summary repeats the whole text of each failure."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("BUILD_NUMBER", raising=False)


def run(pytester: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(source)
    return pytester.runpytest_inprocess(*OPTIONS, *options)


def test_a_plain_assert_that_fails_tells_the_story(pytester: pytest.Pytester) -> None:
    ran = run(
        pytester,
        """
        def test_it(shop):
            shop.gateway.lose_next_answer()
            order = shop.place({"lamp": 2}, amount="19.90")
            shop.topic("order.created").repeat()
            shop.run()
            assert shop.status(order) == "CONFIRMED"
        """,
    )
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(
        [
            "*AssertionError: assert 'RESERVED' == 'CONFIRMED'",
            "*story of the shop*",
            "the shop at 0.00 s",
            "faults",
            "  !     0.00 s  the gateway makes the charge, and its response is lost",
            "  !     0.00 s  order.created is delivered again",
            "order 0*: RESERVED, 2 lamp for 19.90 USD",
            "  reservation HELD: 2 lamp",
            "  payment UNKNOWN: in the gateway's book: CAPTURE",
            "      0.00 s  order.created (2 times)",
            "      0.00 s    inventory.reserved",
            "stock",
            "  lamp: 100 on hand, 2 held",
            "open tasks",
            "  order: deadline 0*, due at 900.00 s",
            "  payment: charge 0*, due at 0.25 s",
        ]
    )


def test_an_expectation_that_is_not_met_tells_it_once(pytester: pytest.Pytester) -> None:
    ran = run(
        pytester,
        """
        def test_it(shop):
            order = shop.given(stock={"lamp": 1}, order={"lamp": 2})
            shop.run()
            shop.expect(order).rejected().paid_nothing()
            shop.expect(order).confirmed()
        """,
    )
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(
        [
            ">       shop.expect(order).confirmed()",
            "*Unmet: expected of order 0*: CONFIRMED",
            "*found REJECTED (OUT_OF_STOCK)",
            "*order.created",
            "*  inventory.rejected",
            "*    order.rejected",
        ]
    )
    assert ran.stdout.str().count("the shop at") == 1
    assert "expect.py" not in ran.stdout.str()


def test_parked_messages_are_in_it(pytester: pytest.Pytester) -> None:
    ran = run(
        pytester,
        """
        def test_it(shop):
            shop.publish("payment.success", b'{"orderId": "o-1", ', b"o-1")
            shop.run()
            shop.expect().nothing_parked()
        """,
    )
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(["*expected 0 dead letters", "*dead letters", "*order: payment.success, tried 1 times: *"])


def test_a_fault_that_never_happened_fails_the_test(pytester: pytest.Pytester) -> None:
    ran = run(
        pytester,
        """
        def test_it(shop):
            shop.worker("payment").crash_before_commit()
            shop.place({"lamp": 101})
            shop.run()
        """,
    )
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(["armed, but never happened*", "  payment crashes before its commit"])
    assert "plugin.py" not in ran.stdout.str()


def test_a_shop_of_the_users_own_fixture_counts_as_well(pytester: pytest.Pytester) -> None:
    ran = run(
        pytester,
        """
        import pytest
        from oms.testing import Shop

        @pytest.fixture
        def store():
            return Shop(order_deadline_s=60)

        @pytest.fixture
        def shop(shop):
            shop.set_stock("lamp", 1)
            return shop

        def test_own(store):
            store.gateway.decline_next()

        def test_wrapped(shop):
            shop.gate.flush()
            shop.topic("order.created").repeat()

        def test_fine(shop, store):
            assert shop.stock("lamp").available == 1
        """,
    )
    ran.assert_outcomes(failed=2, passed=1)


def test_in_async_tests(pytester: pytest.Pytester) -> None:
    ran = run(
        pytester,
        """
        async def test_passes(shop):
            order = shop.place()
            shop.worker("payment").sleep_past_poll_interval()
            shop.run()
            shop.expect(order).confirmed()

        async def test_fails(shop):
            shop.gateway.decline_next()
        """,
        "-o",
        "asyncio_mode=auto",
    )
    ran.assert_outcomes(passed=1, failed=1)
    ran.stdout.fnmatch_lines(["armed, but never happened*", "*story of the shop*"])


@pytest.mark.slow
def test_the_story_comes_back_from_the_workers_of_xdist(pytester: pytest.Pytester) -> None:
    ran = run(
        pytester,
        """
        import pytest

        @pytest.mark.parametrize("number", range(4))
        def test_it(shop, number):
            order = shop.place()
            shop.run()
            assert shop.status(order) == "REJECTED"
        """,
        "-n",
        "2",
    )
    ran.assert_outcomes(failed=4)
    assert ran.stdout.str().count("the shop at 0.00 s") == 4


def test_a_test_without_a_shop_is_left_alone(pytester: pytest.Pytester) -> None:
    ran = run(
        pytester,
        """
        def test_fails(tmp_path):
            assert not tmp_path.exists()
        """,
    )
    ran.assert_outcomes(failed=1)
    assert "story of the shop" not in ran.stdout.str()


def test_the_plugin_imports_nothing_heavy(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_it():
            assert "oms.testing.plugin" in sys.modules
            heavy = ("oms.testing.shop", "oms.bootstrap.container", "dependency_injector", "greenlet", "msgspec", "sqlalchemy")
            assert [name for name in heavy if name in sys.modules] == []
        """
    )
    ran = pytester.runpytest_subprocess(
        *OPTIONS, "-p", "no:schemathesis", "-p", "no:hypothesispytest", "-p", "no:anyio"
    )
    ran.assert_outcomes(passed=1)
