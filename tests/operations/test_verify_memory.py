"""`oms verify` needs no more memory for more orders."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oms
from oms.adapters.sql.core import connection
from oms.adapters.sqlite_log import records
from oms.adapters.system import disk_sorter
from oms.adapters.system.disk_sorter import DiskSorter
from oms.bootstrap.operators import reconcile
from oms.operations.merging import Grouped, MemorySorter, keys_of, without
from oms.operations.promises import Report
from oms.testing.many_orders import many_orders

FEW, MANY = 100, 1000


def peak_of(settings: oms.Settings) -> tuple[int, Report]:
    tracemalloc.start()
    try:
        report = oms.verify(settings)
        return tracemalloc.get_traced_memory()[1], report
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("shipped", "state", "messages"), [(False, "CONFIRMED", 4), (True, "COMPLETED", 8)])
def test_ten_times_the_orders_need_less_than_twice_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shipped: bool, state: str, messages: int
) -> None:
    for module, name in ((disk_sorter, "CHUNK"), (connection, "STREAMED"), (records, "CHUNK")):
        monkeypatch.setattr(module, name, 20)  # as few rows at a time for so few orders as there are for many
    oms.verify(many_orders(tmp_path / "first", 1, shipped=shipped))  # what is made once is there by now
    peaks = []
    for count in (FEW, MANY):
        peak, report = peak_of(many_orders(tmp_path / str(count), count, shipped=shipped))
        assert (report.violations, report.quiet, report.notes) == ((), True, ())
        assert dict(report.orders) == {state: count}
        assert report.messages == messages * count
        peaks.append(peak)
    assert peaks[1] < 2 * peaks[0], peaks
    assert reconcile(oms.Settings(profile="embedded", data=tmp_path / str(MANY))) == []


ROWS = st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.integers(-(2**63), 2**63 - 1)))


@given(ROWS)
def test_a_sorter_on_disk_sorts_as_memory_does(rows: list[tuple[str, int]]) -> None:
    sorters = MemorySorter(), DiskSorter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk_sorter, "CHUNK", 3)
        for sorter in sorters:
            for row in rows:
                sorter.add(row)
            assert list(sorter.rows()) == sorted(rows) == list(sorter.rows())


def test_a_temporary_directory_that_cant_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_sorter.sqlite3, "connect", lambda *_names, **_more: Full())
    monkeypatch.setattr(disk_sorter, "CHUNK", 1)
    with pytest.raises(oms.Permanent, match="TMPDIR"):
        DiskSorter().add(("a",))


class Full:
    """A database on a full disk."""

    def execute(self, _statement: str) -> None:
        raise disk_sorter.sqlite3.OperationalError("database or disk is full")


PAIRS = st.lists(st.tuples(st.text("abc", max_size=2), st.integers())).map(sorted)


@given(PAIRS, PAIRS)
def test_streams_are_merged_by_key(first: list[tuple[str, int]], second: list[tuple[str, int]]) -> None:
    streams = Grouped(first), Grouped(second)
    merged = [(key, streams[0].take(key), streams[1].take(key)) for key in keys_of(streams)]
    keys = sorted({key for key, _ in first + second})
    assert [key for key, _, _ in merged] == keys
    assert [[item for name, item in first if name == key] for key in keys] == [items for _, items, _ in merged]
    assert [[item for name, item in second if name == key] for key in keys] == [items for _, _, items in merged]


@given(PAIRS, st.lists(st.text("abc", max_size=2)).map(sorted))
def test_rows_without_those_that_are_known(rows: list[tuple[str, int]], known: list[str]) -> None:
    assert list(without(rows, iter(known))) == [row for row in rows if row[0] not in known]


def test_a_stream_that_isnt_sorted_is_refused() -> None:
    stream = Grouped([("b", 1), ("a", 2)])
    with pytest.raises(oms.Permanent, match="has to be sorted has 'a' after 'b'"):
        stream.take("b")
