"""One tape of choices: the only source of chance of a simulation.

A choice is drawn under a label out of named options, of which the first is the calm default. A tape holds only what
differs from calm: the n-th choice under a label, by the option's name. So an edited tape finds its place again, and
one that names an option which isn't there any more is calm at that place.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import attrs


@attrs.frozen(order=True)
class Deviation:
    """One choice that isn't the calm one: the `nth` (from 0) choice under `label` was `option`."""

    label: str
    nth: int
    option: str

    def __str__(self) -> str:
        return f"{self.label} #{self.nth}: {self.option}"


Deviations = tuple[Deviation, ...]
Choice = tuple[str, int, Sequence[str]]
"""The label of a draw, its number under that label (from 0), and the options."""


class Tape(Protocol):
    """Where every choice of a run comes from."""

    @abstractmethod
    def draw(self, label: str, options: Sequence[str]) -> int:
        """The index of an option; 0 is calm."""

    @property
    @abstractmethod
    def deviations(self) -> Deviations:
        """What was drawn so far that isn't calm, in the order of the draws."""


class Replay(Tape):
    """Plays deviations; anything else is calm. With `record`, keeps what could be chosen after the last of them."""

    def __init__(self, wanted: Iterable[Deviation] = (), *, record: bool = False) -> None:
        self._wanted = {(one.label, one.nth): one.option for one in wanted}
        self._left = len(self._wanted)
        self._counts: dict[str, int] = {}
        self._record = record
        self._drawn: list[Deviation] = []
        self.open: list[Choice] = []

    def draw(self, label: str, options: Sequence[str]) -> int:
        """What the tape says."""
        nth = self._counts.get(label, 0)
        self._counts[label] = nth + 1
        if self._left:
            wanted = self._wanted.get((label, nth))
            if wanted is not None:
                self._left -= 1
                if wanted in options:
                    self._drawn.append(Deviation(label, nth, wanted))
                    return options.index(wanted)
                return 0
        if self._record and not self._left:
            self.open.append((label, nth, options))
        return 0

    def instead(self, wanted: Iterable[Deviation], *, record: bool) -> Replay:
        """Another tape that is as far as this one is; both say the same up to here."""
        other = Replay(wanted, record=record)
        other._counts = dict(self._counts)
        other._drawn = list(self._drawn)
        other._left = sum(nth >= self._counts.get(label, 0) for label, nth in other._wanted)
        return other

    @property
    def only_calm(self) -> bool:
        """Whether nobody wants to know any more what else could be chosen."""
        return not self._left and not self._record

    @property
    def played_out(self) -> bool:
        """Whether nothing but calm follows."""
        return not self._left

    @property
    def deviations(self) -> Deviations:
        """Those that found their place."""
        return tuple(self._drawn)


class Swarm(Tape):
    """Draws by a seed. How likely a deviation is depends on the label's first word, drawn once for each run.

    So in one run a gateway loses every second answer, and in another one nothing but the order of things is by chance.
    """

    def __init__(self, seed: int, rates: Mapping[str, Sequence[float]]) -> None:
        self._random = random.Random(seed)  # noqa: S311 - it must be the same each time
        self._rates = {kind: self._random.choice(choices) for kind, choices in rates.items()}
        self._counts: dict[str, int] = {}
        self._drawn: list[Deviation] = []

    def draw(self, label: str, options: Sequence[str]) -> int:
        """Calm, or any other option."""
        nth = self._counts.get(label, 0)
        self._counts[label] = nth + 1
        if len(options) < 2 or self._random.random() >= self._rates[label.partition(" ")[0]]:
            return 0
        index = 1 + int(self._random.random() * (len(options) - 1))
        self._drawn.append(Deviation(label, nth, options[index]))
        return index

    @property
    def deviations(self) -> Deviations:
        """All of them."""
        return tuple(self._drawn)
