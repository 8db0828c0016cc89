"""Translates the driver's errors into those of the ports.

An error of the whole server (full, read-only, loading, login refused) is `Retryable`, even if only an operator can fix
it: no order is to blame, so none must become a dead letter. A call whose reply was lost is `Retryable` too, because
every call of the gate has a key and a repeated call gets the same reply. `Permanent` is only an error that is known to
be about a value. The driver's error isn't chained, because it may contain what was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from redis import exceptions as driver

from oms.ports.errors import Permanent, PortError, Retryable

_CLUSTER = "Redis Cluster isn't supported: the gate needs one server, with replicas where wanted"
_RIGHTS = "Redis doesn't let its user do what the gate does; see ACL_RULES in oms.adapters.redis"

_BY_KIND: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((driver.BusyLoadingError,), "Redis is still loading its data"),
    (
        (driver.AuthenticationError, driver.AuthorizationError, driver.AuthenticationWrongNumberOfArgsError),
        "Redis refuses the login: check OMS_REDIS_USER and OMS_REDIS_PASSWORD",
    ),
    ((driver.NoPermissionError,), _RIGHTS),
    ((driver.ReadOnlyError,), "Redis is a replica, which takes no writes"),
    ((driver.MasterDownError,), "Redis is a replica that has lost its primary"),
    ((driver.OutOfMemoryError,), "Redis is full: maxmemory is reached"),
    ((driver.NoScriptError,), "Redis lost the gate's scripts at once after they were loaded"),
    ((driver.MovedError, driver.AskError, driver.ClusterError, driver.ClusterCrossSlotError), _CLUSTER),
    ((driver.MaxConnectionsError,), "every connection to Redis is in use"),
    ((driver.TimeoutError,), "Redis didn't answer in time"),
)  # fmt: skip

_BY_CODE: Mapping[str, str] = {
    "BUSY": "Redis is busy with a script that doesn't end",
    "MISCONF": "Redis refuses writes, because it can't save to its disk",
    "NOREPLICAS": "Redis refuses writes, because it has too few replicas",
    "NOIDENTITY": "Redis doesn't tell its run id and replication id, so a lost memory would not be seen",
    "WRONGTYPE": "Redis has something else where the gate keeps its own: who writes to its keys?",
}


class _TranslatedErrors:
    """`with translated_errors: ...` raises the port's errors in place of the driver's."""

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, DRIVER_ERRORS):
            raise translated(error) from None


DRIVER_ERRORS = (driver.RedisError, driver.RedisClusterException, driver.ChildDeadlockedError, OSError, UnicodeError)
translated_errors = _TranslatedErrors()


def translated(error: Exception) -> PortError:
    """The port's error for one of the driver; its text is one line without secrets."""
    for kinds, meaning in _BY_KIND:
        if isinstance(error, kinds):
            return Retryable(meaning)
    if isinstance(error, driver.ConnectionError | driver.ChildDeadlockedError | OSError):
        return Retryable(f"the connection to Redis failed: {_one_line(error)}")
    if isinstance(error, driver.DataError | UnicodeError):
        return Permanent(f"Redis can't take this: {type(error).__name__}")
    return Retryable(_BY_CODE.get(_code(error)) or f"Redis refuses: {_one_line(error)}")


def _code(error: Exception) -> str:
    """The error code. Redis's protocol makes it the first word of an error; the driver keeps it nowhere else."""
    return str(error).split(" ", 1)[0]


def _one_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
