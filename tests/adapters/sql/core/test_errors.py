"""No error of a driver gets past the border, and no text of ours shows a value, a statement or an address."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest
from psycopg import errors
from sqlalchemy.exc import DBAPIError, InvalidRequestError

from oms.adapters.sql.core.errors import TRANSLATE_COMMIT_ERRORS, TRANSLATE_ERRORS, translated
from oms.ports.errors import OutcomeUnknown, Permanent, PortError, Retryable

SECRET = "secret-value"
KINDS = [found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, psycopg.Error)]
STATES = sorted({found.sqlstate: found for found in KINDS if found.sqlstate}.items())
TRY_AGAIN = {
    "40P01": "deadlock",
    "40001": "serialization",
    "55P03": "lock not available",
    "57014": "query canceled",
    "57P01": "admin shutdown",
    "57P02": "crash shutdown",
    "57P03": "cannot connect now",
    "08006": "connection failure",
    "53300": "too many connections",
    "53100": "disk full",
    "53200": "out of memory",
    "25006": "read-only: a failover",
    "23505": "another was first",
    "42703": "a column of a newer program",
    "42501": "a right that is missing",
    "XX000": "an error of the server's own",
}
VALUES = {
    "23514": "check",
    "23502": "not null",
    "22021": "NUL in text",
    "22003": "out of range",
    "22001": "too long",
    "54000": "too large for an index",
}


def wrapped(error: Exception, *, lost: bool = False) -> DBAPIError:
    return DBAPIError(f"INSERT {SECRET}", {"value": SECRET}, error, connection_invalidated=lost)


def test_there_are_states_to_test() -> None:
    assert len(STATES) > 200
    assert {*TRY_AGAIN, *VALUES} <= dict(STATES).keys()


@pytest.mark.parametrize("state", TRY_AGAIN)
def test_trouble_is_tried_again(state: str) -> None:
    assert isinstance(translated(wrapped(errors.lookup(state)(SECRET))), Retryable)


@pytest.mark.parametrize("state", VALUES)
def test_a_value_that_cannot_be_stored_never_can(state: str) -> None:
    assert isinstance(translated(wrapped(errors.lookup(state)(SECRET))), Permanent)


@pytest.mark.parametrize(("state", "kind"), STATES)
def test_every_state_is_one_of_ours_and_shows_nothing(state: str, kind: type[psycopg.Error]) -> None:
    lost = state.startswith(("08", "57P"))
    for error in (kind(SECRET), wrapped(kind(SECRET))):
        ours = translated(error)
        assert type(ours) is (
            Permanent if state[:2] in ("21", "22", "23", "44", "54") and state != "23505" else Retryable
        )
        assert SECRET not in str(ours)
        assert lost or state in str(ours)
        assert (type(translated(error, committing=True)) is OutcomeUnknown) is lost


@pytest.mark.parametrize(
    ("error", "before", "at_commit"),
    [
        (psycopg.OperationalError(SECRET), Retryable, OutcomeUnknown),
        (errors.ConnectionTimeout(SECRET), Retryable, OutcomeUnknown),
        (psycopg.InterfaceError(SECRET), Permanent, OutcomeUnknown),
        (psycopg.DataError(SECRET), Permanent, OutcomeUnknown),
        (psycopg.ProgrammingError(SECRET), Permanent, OutcomeUnknown),
        (psycopg.InternalError(SECRET), Permanent, OutcomeUnknown),
        (psycopg.NotSupportedError(SECRET), Permanent, OutcomeUnknown),
        (UnicodeEncodeError("utf-8", SECRET, 0, 1, "surrogates"), Permanent, Permanent),  # nothing was sent
        (OverflowError(SECRET), Permanent, OutcomeUnknown),
        (InvalidRequestError(SECRET), Permanent, OutcomeUnknown),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_errors_that_are_the_drivers_own(error: Exception, before: type[PortError], at_commit: type[PortError]) -> None:
    kinds = [error, wrapped(error)] if isinstance(error, psycopg.Error) else [error]
    for one in kinds:
        for border, ours in ((TRANSLATE_ERRORS, before), (TRANSLATE_COMMIT_ERRORS, at_commit)):
            with pytest.raises(PortError) as raised, border:
                raise one
            assert type(raised.value) is ours
            assert SECRET not in str(raised.value)
            assert raised.value.__cause__ is None
            assert raised.value.__suppress_context__


def test_a_connection_that_sqlalchemy_gave_up_is_lost() -> None:
    lost = wrapped(psycopg.ProgrammingError(SECRET), lost=True)
    assert isinstance(translated(lost), Retryable)
    assert isinstance(translated(lost, committing=True), OutcomeUnknown)


def test_an_error_of_sqlite_is_ours_too() -> None:
    with pytest.raises(Permanent), TRANSLATE_ERRORS:
        raise sqlite3.ProgrammingError("closed")


@pytest.mark.parametrize("error", [KeyError("x"), Retryable("mine"), ZeroDivisionError()])
def test_what_is_no_drivers_error_passes(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, TRANSLATE_ERRORS:
        raise error
    assert raised.value is error
