"""Keeps librdkafka's clients from being destroyed in a forked process.

A forked process inherits the objects, and not the threads that librdkafka waits for when it destroys a client: it would
abort or crash at its end. So there the holders of clients are never destroyed; the system ends them with the process.
"""

from __future__ import annotations

import ctypes
import os
from weakref import WeakSet

_holders: WeakSet[object] = WeakSet()


def keep_in_forks(holder: object) -> None:
    """Never destroy this object, and the clients that it refers to, in a process that is forked from now on."""
    _holders.add(holder)


def _keep() -> None:
    for holder in list(_holders):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(holder))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep)
