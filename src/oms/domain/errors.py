"""The error tree.

OmsError
├── DomainError                  the rules refuse the caller's request; has a stable `code`
│   ├── InvalidValue             a value outside its bounds (422)
│   ├── NotFound                 no such thing, or another owner's (404)
│   ├── Conflict                 the state doesn't allow it (409)
│   ├── KeyReused                an idempotency key with another body (422)
│   └── Refused                  the shop's policy said no (403)
├── ImpossibleTransition         a transition that the state table excludes; the message is parked
├── TermsMismatch                a message contradicts its order's customer, amount or items; it is parked
└── PortError                    a failure of an adapter: retryable, permanent or unknown (`oms.ports.errors`)
"""

from __future__ import annotations


class OmsError(Exception):
    """Every error that `oms` raises by itself."""


class DomainError(OmsError):
    """A refusal with a stable, machine-readable `code` and a sentence for people."""

    code: str

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class InvalidValue(DomainError):
    """A value outside its documented bounds."""


class NotFound(DomainError):
    """The thing doesn't exist, or belongs to another caller."""


class Conflict(DomainError):
    """The present state doesn't allow the command."""


class KeyReused(DomainError):
    """An idempotency key was used again with another body."""


class Refused(DomainError):
    """The shop's own policy refused the order."""


class ImpossibleTransition(OmsError):
    """The state table excludes this transition: the message is parked, and an operator is alerted."""

    def __init__(self, machine: str, state: str, trigger: str) -> None:
        super().__init__(f"{machine} in state {state} can't get {trigger}")
        self.machine = machine
        self.state = state
        self.trigger = trigger


class TermsMismatch(OmsError):
    """A message names another customer, amount or items than its order: it is parked, and an operator is alerted."""
