"""Messages over the size limit, as producers of other systems may write them, in memory and embedded."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import oms
from oms.adapters.sqlite_log.records import pack_headers
from oms.ports.limits import MAX_MESSAGE_BYTES
from oms.ports.messages import Headers
from oms.settings import Settings
from oms.testing import Shop


@pytest.fixture(params=["memory", "embedded"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    return Shop(settings=Settings(profile=request.param, data=tmp_path))


def append_foreign(shop: Shop, topic: str, value: bytes, headers: Headers = ()) -> None:
    """Write to the log without the limits of `publish`."""
    log: Any = shop.app.system.container.broker()
    if shop.app.settings.profile == "memory":
        log.append(topic, value, b"key", headers)
    else:
        assert log._writer.append([(topic, b"key", pack_headers(headers), value)]) is None


@pytest.mark.parametrize(
    ("value", "headers"),
    [(b"x" * (MAX_MESSAGE_BYTES + 1), (("h", b"y"),)), (b"{}", (("h", b"x" * MAX_MESSAGE_BYTES),))],
    ids=["value", "headers"],
)
def test_it_is_parked_by_its_place_size_and_digest_without_its_content(
    shop: Shop, value: bytes, headers: Headers
) -> None:
    append_foreign(shop, "payment.success", value, headers)
    order = shop.place()
    shop.advance(minutes=5)

    assert shop.status(order) == "CONFIRMED"
    letters = {letter.group: letter for letter in shop.parked()}
    assert set(letters) == {"order-group", "notification-group"}
    size = 3 + len(value) + sum(len(name) + len(text) for name, text in headers)
    for letter in letters.values():
        (record,) = (one for one in shop.log.all_records() if one.offset == letter.offset and one.oversized)
        assert (letter.topic, letter.partition, letter.cause) == ("payment.success", record.partition, "TooLarge")
        assert (letter.key, letter.value) == (None, None)
        assert dict(letter.headers) == {
            "oms_message_bytes": str(size).encode(),
            "oms_value_bytes": str(len(value)).encode(),
            "oms_value_sha256": sha256(value).hexdigest().encode(),
        }
        assert str(len(value)) in letter.detail
        with pytest.raises(oms.Conflict) as refused:
            shop.app.dead_letters.redrive(letter.id)
        assert refused.value.code == "content_not_kept"
        assert f"payment.success, partition {letter.partition}, offset {letter.offset}" in refused.value.detail
    report = shop.report()
    assert report.whole, report.violations
    copies = [record for record in shop.log.all_records() if record.topic == "order.dlq"]
    assert [dict(copy.headers)["oms_value_bytes"] for copy in copies] == [str(len(value)).encode()]
    assert shop.app.dead_letters.discard(letters["order-group"].id).state.value == "DISCARDED"


def test_an_error_of_a_users_handler_with_the_same_name_can_be_redriven() -> None:
    class TooLarge(oms.Permanent):
        """As a shop may call it."""

    fails = [True]

    def handle(_event: oms.AnyEvent, _step: oms.StepContext) -> None:
        if fails:
            raise TooLarge("the parcel")

    shop = Shop()
    shop.app.subscribe("order.confirmed", group="own", handler=handle)
    shop.place()
    shop.run()
    (letter,) = shop.parked()
    fails.clear()
    shop.app.dead_letters.redrive(letter.id)
    assert shop.parked() == []


def test_a_list_of_dead_letters_holds_no_content(shop: Shop) -> None:
    shop.publish("order.created", b"\xff" * 100_000)
    shop.run()
    listed = shop.app.dead_letters.page()
    assert len(listed) == 2
    for service, summary in listed:
        assert not hasattr(summary, "value")
        owner, letter = shop.app.dead_letters.get(summary.id)
        assert (owner, letter.value) == (service, b"\xff" * 100_000)
