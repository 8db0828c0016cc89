"""The dead-letter use cases of one system, as `app.dead_letters` offers them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import attrs

from oms.application.use_cases.requests import Drive, result_of
from oms.domain.errors import NotFound
from oms.domain.values import checked_id
from oms.engine.assembly import ServiceAssembly
from oms.engine.command_groups import Command, Reply
from oms.ports.stores.rows import DeadLetter, DeadLetterState, DeadLetterSummary


@attrs.frozen
class DeadLetterUseCases:
    """The dead letters of all services of a system, by service name."""

    _services: Mapping[str, ServiceAssembly[Any]]
    _drive: Drive

    def page(
        self, state: DeadLetterState | None = DeadLetterState.PARKED, *, service: str | None = None, limit: int = 100
    ) -> Sequence[tuple[str, DeadLetterSummary]]:
        """Return (service, summary) pairs, oldest first; `get` returns a dead letter with its content."""
        found = [
            (name, letter)
            for name, assembly in self._services.items()
            if service in (None, name)
            for letter in assembly.service.store.dead_letters(state, limit=limit)
        ]
        return sorted(found, key=lambda pair: pair[1].parked_at)[:limit]

    def get(self, letter_id: str) -> tuple[str, DeadLetter]:
        """Return (service, dead letter): the service parked it. May block; `NotFound` for an unknown id."""
        checked_id(letter_id, name="id")
        for name, assembly in self._services.items():
            letter = assembly.service.store.dead_letter(letter_id)
            if letter is not None:
                return name, letter
        raise NotFound("dead_letter_not_found", f"there is no dead letter {letter_id}")

    def redrive(self, letter_id: str) -> DeadLetter:
        """Handle a parked message again now; raises `Conflict` if it fails, and the dead letter then has the new cause.

        A parked task runs again soon afterwards; if it fails, the same dead letter becomes PARKED again.
        """
        return self._result(self.submit_redrive, letter_id)

    def discard(self, letter_id: str) -> DeadLetter:
        """Mark a dead letter as DISCARDED: it won't be handled."""
        return self._result(self.submit_discard, letter_id)

    def submit_redrive(self, service: str, letter_id: str, reply: Reply) -> None:
        """Like `redrive`, with the next group of commands of the service that `get` names. Never blocks."""
        assembly = self._services[service]
        command: Command[Any, DeadLetter] = Command(
            lambda unit: assembly.dead_letter_actions.redrive(unit, letter_id),
            prepare=lambda: assembly.dead_letter_actions.prepare(letter_id),
            failed=lambda unit, error: assembly.dead_letter_actions.failed(unit, letter_id, error),
        )
        assembly.commands.submit(command, reply)

    def submit_discard(self, service: str, letter_id: str, reply: Reply) -> None:
        """Like `discard`, with the next group of commands of the service that `get` names. Never blocks."""
        assembly = self._services[service]
        command: Command[Any, DeadLetter] = Command(lambda unit: assembly.dead_letter_actions.discard(unit, letter_id))
        assembly.commands.submit(command, reply)

    def _result(self, submit: Callable[[str, str, Reply], None], letter_id: str) -> DeadLetter:
        service, _ = self.get(letter_id)
        letter: DeadLetter = result_of(partial(submit, service, letter_id), self._services[service], self._drive)
        return letter
