"""The errors that adapters raise. Each adapter translates the errors of its driver into these.

PortError
├── Retryable        nothing happened, or repeating all of it is safe: a deadlock, a lost connection
│   └── Closed       the stock gate is being rebuilt: wait, and don't guess its answer
├── Permanent        a repeat fails again: a value that can't be stored, a message that is too large
│   └── WrongAnswer  an extension returned a value that its port doesn't allow
└── OutcomeUnknown   the effect may have happened: never treat it as a failure
"""

from __future__ import annotations

from oms.domain.errors import OmsError


class PortError(OmsError):
    """A technical failure, as opposed to a refusal by a business rule."""


class Retryable(PortError):
    """A repeat of the same call may succeed later. It isn't one of the attempts after which a message is parked."""


class Closed(Retryable):
    """The stock gate is closed while it is rebuilt."""


class Permanent(PortError):
    """A repeat of the same call would fail again."""


class WrongAnswer(Permanent):
    """A shop's own code returned a value that its port doesn't allow, or tried to end the thread that called it."""


class OutcomeUnknown(PortError):
    """The effect may or may not have happened; the caller has to look it up."""


class SettingsError(OmsError):
    """A setting is wrong. The text is one line for the person who starts the program."""
