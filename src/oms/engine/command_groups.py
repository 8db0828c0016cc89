"""Runs commands in groups: one transaction with one commit serves all waiting callers.

Each command gets one response, after the commit. A refusal concerns only its own command, and is stored under the
command's key like any other response. A group that the store refuses permanently is bisected.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Generic, TypeVar, cast

import attrs

from oms.domain.errors import Conflict, DomainError, InvalidValue, KeyReused, NotFound, OmsError, Refused
from oms.engine.dependencies import ServiceDependencies
from oms.engine.health import Condition, ServiceHealth
from oms.engine.retries import Failed, Succeeded, bisect, next_try
from oms.engine.service import OpenWork, Runnable, W
from oms.engine.unit_of_work import UnitOfWork, UnitOfWorkFactory
from oms.ports.errors import OutcomeUnknown, Retryable
from oms.ports.messages import Cause
from oms.ports.stores.rows import StoredResponse
from oms.ports.stores.store import KeyedTransaction

R = TypeVar("R")

COMMANDS = "commands"
MAX_WAITING = 10_000
GIVE_UP_AFTER = timedelta(seconds=5)
"""How long a command waits for a store that can't be reached before its caller gets `Retryable`."""


@attrs.frozen
class Key:
    """A caller's idempotency key: requests with equal key and fingerprint get equal responses."""

    scope: str
    key: str
    fingerprint: str


@attrs.frozen
class Command(Generic[W, R]):
    """A function to run in a unit of work, and how its response is stored under an idempotency key.

    `names` are locked for the whole group at once. `prepare` runs before the transaction; a command that has one
    gets a transaction of its own. `recover` looks the effect up after a commit of unknown outcome; None means that
    there is none. `failed` runs in a transaction of its own after the store has refused the command's permanently, and
    returns the error for the caller. `dump` and `restore` turn the response into JSON and back.
    """

    apply: Callable[[UnitOfWork[W]], R]
    names: Collection[str] = ()
    key: Key | None = None
    dump: Callable[[R], str] = json.dumps
    restore: Callable[[str], R] = json.loads
    recover: Callable[[], R | None] = lambda: None
    failed: Callable[[UnitOfWork[W], Exception], Exception] | None = None
    prepare: Callable[[], OpenWork[W] | None] | None = None
    trace: str | None = None
    """The W3C trace of the request; the events get it as well."""


Reply = Callable[[object, Exception | None], None]
"""Called once, with the response or the error."""

_KnownResponses = dict[tuple[str, str], StoredResponse]
"""The stored responses to a group's keys, by scope and key."""


@attrs.frozen(eq=False)
class _Waiting(Generic[W]):
    command: Command[W, Any]
    reply: Reply
    since: datetime


@attrs.define
class _Response:
    """The response to one command: an error, a value, or stored text to restore after the commit."""

    value: object = None
    error: Exception | None = None
    stored: str | None = None


class CommandGroup(Runnable, Generic[W]):
    """The commands that wait for one service. `submit` may be called from any thread; one thread runs them."""

    def __init__(
        self,
        units: UnitOfWorkFactory[W],
        lock: Callable[[W, Collection[str]], None],
        shared: ServiceDependencies,
        health: ServiceHealth,
        woken: Callable[[], None] = lambda: None,
    ) -> None:
        self._units, self._clock, self._lock = units, shared.clock, lock
        self._batch, self._woken, self._health = shared.batch, woken, health
        self._waiting: deque[_Waiting[W]] = deque()
        self._retry_at: datetime | None = None
        self._failures = 0
        self._refusal: Exception | None = None

    def submit(self, command: Command[W, R], reply: Reply) -> None:
        """Run a command with the next group. Raises `Retryable` if too many wait already, or the process stops."""
        if self._refusal is not None:
            raise self._refusal
        if len(self._waiting) >= MAX_WAITING:
            raise Retryable("too many commands are waiting")
        self._waiting.append(_Waiting(command, reply, self._clock.steady()))
        self._woken()

    def run_once(self) -> int:
        """Run one group; returns the number of commands that got a response."""
        now = self._clock.steady()
        if self._retry_at is not None and now < self._retry_at:
            return 0
        group = self._take()
        if not group:
            return 0
        answered = 0
        try:
            for outcome in bisect(group, self._responses):
                answered += self._reply_all(outcome)
        except Retryable as error:
            return answered + self._put_back(group[answered:], error)
        self._failures, self._retry_at = 0, None
        self._health.succeeded(Condition.WORK_FAILING, COMMANDS)
        return len(group)

    def next_due(self) -> datetime | None:
        """Return when to retry a group whose store couldn't be reached."""
        return self._retry_at

    def waiting(self) -> int:
        """How many commands wait for the next group."""
        return len(self._waiting)

    def refuse_all(self, error: Exception) -> None:
        """Respond with `error` to all waiting and later commands, because the process stops. Any thread."""
        self._refusal = error
        while (one := self._next()) is not None:
            one.reply(None, error)

    def _take(self) -> list[_Waiting[W]]:
        """Take the next group, longest waiting first; a command with a `prepare` is a group of its own."""
        group: list[_Waiting[W]] = []
        while len(group) < self._batch and (one := self._next()) is not None:
            if one.command.prepare is not None and group:
                self._waiting.appendleft(one)
                break
            group.append(one)
            if one.command.prepare is not None:
                break
        return group

    def _next(self) -> _Waiting[W] | None:
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def _put_back(self, group: Sequence[_Waiting[W]], error: Retryable) -> int:
        now = self._clock.steady()
        patience = timedelta() if self._refusal is not None else GIVE_UP_AFTER
        patient = [one for one in group if now - one.since < patience]
        given_up = [one for one in group if now - one.since >= patience]
        self._waiting.extendleft(reversed(patient))
        for one in given_up:
            one.reply(None, error)
        self._failures += 1
        if self._waiting:
            self._health.failed(Condition.WORK_FAILING, COMMANDS, f"commands: {error}")
        else:  # a process that isn't ready gets no command whose success could end this
            self._health.succeeded(Condition.WORK_FAILING, COMMANDS)
        self._retry_at = next_try(now, self._failures, longest_s=1.0) if patient else None
        return len(given_up)

    def _reply_all(self, outcome: Succeeded[_Waiting[W], Sequence[_Response]] | Failed[_Waiting[W]]) -> int:
        match outcome:
            case Succeeded(items, responses):
                for one, response in zip(items, responses, strict=True):
                    self._reply(one, response)
                return len(items)
            case Failed(item, error):
                self._reply(item, _Response(error=self._failed(item.command, error)))
                return 1

    def _responses(self, group: Sequence[_Waiting[W]]) -> Sequence[_Response]:
        try:
            return self._unit(group)
        except OutcomeUnknown as error:
            return [self._recovered(one.command, error) for one in group]

    def _unit(self, group: Sequence[_Waiting[W]]) -> Sequence[_Response]:
        prepare = group[0].command.prepare
        with self._units.open(prepare() if prepare else None) as unit:
            known = self._known_responses(unit, group)
            names = {name for one in group for name in one.command.names}
            if names:
                self._lock(unit.work, names)
            fresh: list[StoredResponse] = []
            responses = [self._apply(one.command, unit, known, fresh) for one in group]
            if fresh:
                cast("KeyedTransaction", unit.transaction).save_responses(fresh)
        return responses

    def _known_responses(self, unit: UnitOfWork[W], group: Sequence[_Waiting[W]]) -> _KnownResponses:
        keys = {(one.command.key.scope, one.command.key.key) for one in group if one.command.key}
        if not keys:
            return {}
        return dict(cast("KeyedTransaction", unit.transaction).find_responses(keys))

    def _apply(
        self,
        command: Command[W, R],
        unit: UnitOfWork[W],
        known: _KnownResponses,
        fresh: list[StoredResponse],
    ) -> _Response:
        key = command.key
        stored = known.get((key.scope, key.key)) if key else None
        if key and stored:
            if stored.fingerprint != key.fingerprint:
                detail = "this Idempotency-Key was used with another body"
                return _Response(error=KeyReused("idempotency_key_reused", detail))
            return _Response(stored=stored.body)
        unit.work.changes.cause = Cause(traceparent=command.trace)
        try:
            value = command.apply(unit)
        except DomainError as refusal:  # it saved nothing
            response, body = _Response(error=refusal), partial(_dump_refusal, refusal)
        except Exception as error:  # noqa: BLE001 - this command's response, which isn't stored
            return _Response(error=error)
        else:
            response, body = _Response(value), partial(command.dump, value)
        if key:
            known[key.scope, key.key] = kept = StoredResponse(key.scope, key.key, key.fingerprint, body())
            fresh.append(kept)
        return response

    def _failed(self, command: Command[W, Any], error: Exception) -> Exception:
        """Return the error for the caller; if it can't be noted, the error that prevented this."""
        if command.failed is None:
            return error
        try:
            with self._units.open() as unit:
                return command.failed(unit, error)
        except Retryable:
            raise
        except Exception as failure:  # noqa: BLE001 - this command's response
            return failure

    def _recovered(self, command: Command[W, Any], error: OutcomeUnknown) -> _Response:
        try:
            found = command.recover()
        except Retryable:
            found = None
        return _Response(error=error) if found is None else _Response(found)

    def _reply(self, one: _Waiting[W], response: _Response) -> None:
        if response.stored is not None:
            response = _restored(one.command, response.stored)
        one.reply(response.value, response.error)


def _restored(command: Command[W, Any], body: str) -> _Response:
    refusal = _refusal_in(body)
    if refusal is not None:
        return _Response(error=refusal)
    try:
        return _Response(command.restore(body))
    except OmsError as error:
        return _Response(error=error)


_REFUSALS = {kind.__name__: kind for kind in (InvalidValue, NotFound, Conflict, Refused)}


def _dump_refusal(refusal: DomainError) -> str:
    """Return `{"refused": [kind, code, detail]}`; a class that a shop derived is stored as its base class here."""
    kind = next((name for name, kind in _REFUSALS.items() if isinstance(refusal, kind)), InvalidValue.__name__)
    return json.dumps({"refused": [kind, refusal.code, refusal.detail]})


def _refusal_in(body: str) -> DomainError | None:
    stored = json.loads(body)
    if not (isinstance(stored, dict) and "refused" in stored):
        return None
    kind, code, detail = stored["refused"]
    return _REFUSALS[kind](code, detail)
