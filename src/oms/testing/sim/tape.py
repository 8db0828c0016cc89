"""A tape of choices: the only source of randomness in a simulation.

A choice has a label and named options; the first option is the calm default. A tape holds only the deviations from
calm: the n-th choice under a label, and the name of the option. An edited tape therefore still applies, and where it
names an option that no longer exists, the choice is calm.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import attrs


@attrs.frozen(order=True)
class Deviation:
    """One choice other than the calm one: the `nth` (from 0) choice under `label` was `option`."""

    label: str
    nth: int
    option: str

    def __str__(self) -> str:
        return f"{self.label} #{self.nth}: {self.option}"


Deviations = tuple[Deviation, ...]
Choice = tuple[str, int, Sequence[str]]
"""The label of a draw, its number under that label (from 0), and the options."""


class Tape(Protocol):
    """The source of every choice of a run."""

    @abstractmethod
    def draw(self, label: str, options: Sequence[str]) -> int:
        """Draw an option and return its index; 0 is calm."""

    @property
    @abstractmethod
    def deviations(self) -> Deviations:
        """Return the deviations that were drawn so far, in the order of the draws."""


class Replay(Tape):
    """Plays deviations; all other choices are calm. With `record`, records the choices after the last deviation."""

    def __init__(self, wanted: Iterable[Deviation] = (), *, record: bool = False) -> None:
        self._wanted = {(one.label, one.nth): one.option for one in wanted}
        self._left = len(self._wanted)
        self._counts: dict[str, int] = {}
        self._record = record
        self._drawn: list[Deviation] = []
        self.open: list[Choice] = []

    def draw(self, label: str, options: Sequence[str]) -> int:
        """Return the option on the tape."""
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
        """Return a tape with other deviations from here on, at the same position; up to here both are equal."""
        other = Replay(wanted, record=record)
        other._counts = dict(self._counts)
        other._drawn = list(self._drawn)
        other._left = sum(nth >= self._counts.get(label, 0) for label, nth in other._wanted)
        return other

    @property
    def only_calm(self) -> bool:
        """Whether all further choices are calm and needn't be recorded."""
        return not self._left and not self._record

    @property
    def played_out(self) -> bool:
        """Whether all deviations have been played."""
        return not self._left

    @property
    def deviations(self) -> Deviations:
        """Return the deviations that were applied."""
        return tuple(self._drawn)


class Swarm(Tape):
    """Draws choices at random, by a seed. Each run draws a probability of deviations for each first word of a label.

    So in one run the gateway loses every second response, and in another run only the order of the steps is random.
    """

    def __init__(self, seed: int, rates: Mapping[str, Sequence[float]]) -> None:
        self._random = random.Random(seed)  # noqa: S311 - it must be the same each time
        self._rates = {kind: self._random.choice(choices) for kind, choices in rates.items()}
        self._counts: dict[str, int] = {}
        self._drawn: list[Deviation] = []

    def draw(self, label: str, options: Sequence[str]) -> int:
        """Draw the calm option or, with the label's probability, another one."""
        nth = self._counts.get(label, 0)
        self._counts[label] = nth + 1
        if len(options) < 2 or self._random.random() >= self._rates[label.partition(" ")[0]]:
            return 0
        index = 1 + int(self._random.random() * (len(options) - 1))
        self._drawn.append(Deviation(label, nth, options[index]))
        return index

    @property
    def deviations(self) -> Deviations:
        """Return all deviations."""
        return tuple(self._drawn)
