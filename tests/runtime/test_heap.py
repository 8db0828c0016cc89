"""What large batches took of the C library's heap goes back to the system."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from oms.runtime import heap

MAPPED_AFTER_A_LARGE_ONE = """
import ctypes
from oms.runtime.heap import give_back_large_blocks

assert give_back_large_blocks() is True
libc = ctypes.CDLL(None)


class Heap(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keep".split()]


libc.mallinfo2.restype = Heap
large = bytearray(8 << 20)
del large  # from here on GNU's C library would take blocks of up to 8 MiB from its heap
before = libc.mallinfo2().hblks
block = bytearray(1 << 20)
assert libc.mallinfo2().hblks == before + 1
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only GNU's C library has this setting")
def test_a_large_block_is_mapped_by_itself_after_a_larger_one_was_freed():
    subprocess.run([sys.executable, "-c", MAPPED_AFTER_A_LARGE_ONE], timeout=20, check=True)


def test_a_c_library_without_such_a_bound_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert heap.give_back_large_blocks() is False
