"""What an adapter can tell of a failure. Driver errors are translated into these at the border.

PortError
├── Retryable        nothing happened, or it is safe to do the whole of it again: a deadlock, a lost connection
│   └── Closed       the stock gate is being rebuilt: wait, guess nothing
├── Permanent        doing it again fails again: a value that can't be stored, a message that is too large
│   └── WrongAnswer  an extension returned a value that its port doesn't allow
└── OutcomeUnknown   it may have happened: never to be taken for failed
"""

from __future__ import annotations

from oms.domain.errors import OmsError


class PortError(OmsError):
    """A failure outside of the rules of the business."""


class Retryable(PortError):
    """Try the same again later; it counts against nobody."""


class Closed(Retryable):
    """The stock gate is closed while it is rebuilt."""


class Permanent(PortError):
    """The same would fail again."""


class WrongAnswer(Permanent):
    """A shop's own code returned a value that its port doesn't allow, or tried to end the thread that called it."""


class OutcomeUnknown(PortError):
    """The effect may or may not have happened: look it up."""


class SettingsError(OmsError):
    """A setting is wrong; the text is one line for the person who starts the program."""
