"""Checks the names of topics and of the groups of a user's own steps."""

from __future__ import annotations

import re
from collections.abc import Collection

from oms.domain.errors import OmsError
from oms.domain.events import BY_TOPIC
from oms.ports import limits
from oms.ports.messages import copies_topic, is_copies_topic

_TOPIC = re.compile(rf"[A-Za-z0-9._-]{{1,{limits.TOPIC}}}")
_GROUP = re.compile(rf"[A-Za-z0-9][A-Za-z0-9 ._-]{{0,{limits.ID - 1}}}")


class WrongName(OmsError):
    """A name that a broker, a database or a file system can't take; the text states the rule."""


def check_topic(topic: object) -> None:
    """Raise `WrongName` unless Kafka takes the name and the stores hold it: 1 to 128 of `A-Z a-z 0-9 . _ -`."""
    if not (isinstance(topic, str) and _TOPIC.fullmatch(topic)) or topic in (".", ".."):
        raise WrongName(f"topic: expected 1 to {limits.TOPIC} characters of A-Z a-z 0-9 . _ -, got {topic!a:.100}")


def check_own_topic(topic: object) -> None:
    """Raise `WrongName` unless a user's own step may publish to this topic."""
    check_topic(topic)
    if topic in BY_TOPIC or is_copies_topic(str(topic)):
        raise WrongName(f"topic: {topic!r} is the system's own: publish to a topic of your own")


def check_publishes(topics: object) -> None:
    """Raise `WrongName` unless these are topics that a user's own step may publish to."""
    if isinstance(topics, str | bytes) or not isinstance(topics, Collection):
        raise WrongName(f"publishes: expected a list of topics, got {topics!a:.100}")
    for topic in topics:
        check_own_topic(topic)


def check_group(group: object, others: Collection[str], services: Collection[str]) -> None:
    """Raise `WrongName` for a group that can't name a file, or whose derived names equal those of another group.

    A group names a file, a database schema and a topic for copies of dead letters. Names that differ only in case, or
    in characters that topics don't have, would share these.
    """
    if not (isinstance(group, str) and _GROUP.fullmatch(group)):
        raise WrongName(
            f"group: expected 1 to {limits.ID} characters of A-Z a-z 0-9 . _ - or blank, a letter or digit first, "
            f"got {group!a:.100}"
        )
    if group.lower().removesuffix("-group") in services:
        raise WrongName(f"the group {group!r} is the system's own")
    for other in others:
        if other != group and _stored(other) == _stored(group):
            raise WrongName(f"group: {group!r} would share a file or a topic with the group {other!r}")


def did_you_mean(topic: str, known: Collection[str]) -> str | None:
    """Return the known topic that `topic` most likely misspells; None if it is known, or resembles none.

    Two names resemble each other if, separators and case aside, at most one edit makes them equal: a character more,
    less or replaced, or two neighbours swapped.
    """
    if topic in known:
        return None
    return next(
        (one for one in sorted(known) if _plain(one) == _plain(topic) or _one_edit(_plain(one), _plain(topic))), None
    )


def _stored(group: str) -> str:
    return copies_topic(group).lower()


def _plain(topic: str) -> str:
    return re.sub(r"[._-]", ".", topic.lower())


def _one_edit(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    start = next((at for at, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(long) - len(short) == 1:
        return short[start:] == long[start + 1 :]
    if len(short) != len(long):
        return False
    swapped = short[start : start + 2][::-1] == long[start : start + 2] and short[start + 2 :] == long[start + 2 :]
    return short[start + 1 :] == long[start + 1 :] or swapped
