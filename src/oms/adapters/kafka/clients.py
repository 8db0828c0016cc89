"""Makes librdkafka's clients, and keeps them from being destroyed in a forked process.

A forked process inherits the client objects, but not the threads that librdkafka waits for when it destroys a client:
the process would abort or crash at its end. So a forked process never destroys the objects that hold clients; the
operating system frees them with the process.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakSet

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from oms.adapters.kafka import driver_errors
from oms.adapters.kafka.conf import LOGGER

_holders: WeakSet[object] = WeakSet()


def new_consumer(conf: Mapping[str, Any], **callbacks: Callable[..., None]) -> Consumer:
    """A consumer, for the caller to close; `SettingsError` if librdkafka refuses its keys."""
    try:
        return Consumer({**conf, **callbacks}, logger=LOGGER)
    except KafkaException as error:
        raise driver_errors.refused_settings(error) from None


def outside_consumer(conf: Mapping[str, Any], group: str, **callbacks: Callable[..., None]) -> Consumer:
    """A consumer that reads the offsets of `group` and never joins it, for the caller to close."""
    return new_consumer({**conf, "group.id": group}, **callbacks)


def new_producer(conf: Mapping[str, Any], **callbacks: Callable[..., None]) -> Producer:
    """A producer; `SettingsError` if librdkafka refuses its keys."""
    try:
        return Producer({**conf, **callbacks}, logger=LOGGER)
    except KafkaException as error:
        raise driver_errors.refused_settings(error) from None


def new_admin_client(conf: Mapping[str, Any], **callbacks: Callable[..., None]) -> AdminClient:
    """A client for topics and their settings; `SettingsError` if librdkafka refuses its keys."""
    try:
        return AdminClient({**conf, **callbacks}, logger=LOGGER)
    except KafkaException as error:
        raise driver_errors.refused_settings(error) from None


def keep_in_forks(holder: object) -> None:
    """Never destroy this object, and the clients that it refers to, in a process that is forked from now on."""
    _holders.add(holder)


def _keep() -> None:
    for holder in list(_holders):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(holder))


if hasattr(os, "register_at_fork"):  # absent on Windows
    os.register_at_fork(after_in_child=_keep)
