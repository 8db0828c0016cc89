"""A system as it stands between two steps, to be put back later: schedules share the way that they have in common.

Nothing is asked of the objects themselves. Every mutable thing that can be reached is found, its contents are kept,
and put back into the same thing, so that all who hold it see it as it was. What was made since is just forgotten. A
thing of an unknown kind is an error, not a gap. What stands still in the middle of a step can't be kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from enum import Enum
from functools import partial
from operator import is_
from threading import Condition, Lock, RLock
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

import attrs
from greenlet import greenlet

Snapshot = Sequence[Any]
"""The contents of each thing that its keeper knew of by then."""


class Keeper:
    """Takes snapshots of all that can be reached from `root`; looks only once at what doesn't change meanwhile.

    Kinds that are `only_added_to`, as a memory of what is always the same, aren't looked into.
    """

    def __init__(self, root: object, only_added_to: Iterable[type] = ()) -> None:
        self._only_added_to = frozenset(only_added_to)
        self._things: list[tuple[Any, Kind]] = []
        self._puts: list[tuple[Any, Callable[[Any, Any], None]]] = []
        self._last: list[Any] = []
        self._met: dict[int, Any] = {}  # holds what it met, lest another thing gets its id
        self._meet([root])

    def snapshot(self) -> Snapshot:
        """Everything as it is now."""
        changed: list[Any] = []
        for index, (thing, kind) in enumerate(self._things):
            if not kind.same(thing, self._last[index]):
                contents = self._last[index] = kind.take(thing)
                changed += kind.reached(contents)
        self._meet(changed)
        return tuple(self._last)

    def put_back(self, snapshot: Snapshot) -> None:
        """Everything as it was."""
        for (thing, put), contents in zip(self._puts, snapshot, strict=False):
            put(thing, contents)

    def _meet(self, waiting: list[Any]) -> None:
        met = self._met
        while waiting:
            thing = waiting.pop()
            kind = _KINDS.get(type(thing)) or _kind_of(type(thing))
            if kind is LEAF or id(thing) in met or type(thing) in self._only_added_to:
                continue
            met[id(thing)] = thing
            contents = kind.take(thing)
            if not kind.fixed:
                self._things.append((thing, kind))
                self._puts.append((thing, kind.put))
                self._last.append(contents)
            waiting += kind.reached(contents)


@attrs.frozen
class Kind:
    """How to keep things of a kind: take their contents, say whether they are the same still, and put them back."""

    take: Callable[[Any], Any]
    same: Callable[[Any, Any], bool] = lambda _thing, _contents: True
    put: Callable[[Any, Any], None] = lambda _thing, _contents: None
    reached: Callable[[Any], Iterable[Any]] = iter
    fixed: bool = False
    """Whether the contents never change; only what they lead to may."""


def _same_items(thing: Any, contents: Any) -> bool:
    return len(thing) == len(contents) and all(map(is_, thing, contents))


# -- containers


def _same_dict(thing: Any, contents: Any) -> bool:
    if not thing and not contents:
        return True
    return _same_items(thing.values(), contents.values()) and list(thing) == list(contents)


def _put_dict(thing: Any, contents: Any) -> None:
    if thing:
        thing.clear()
    if contents:
        thing.update(contents)


def _reached_by_dict(contents: Any) -> Iterable[Any]:
    return [*contents.values(), *(key for key in contents if type(key) not in (str, tuple, bytes))]


def _put_list(thing: Any, contents: Any) -> None:
    thing[:] = contents


def _put_deque(thing: Any, contents: Any) -> None:
    thing.clear()
    thing.extend(contents)


# -- what can be called


def _take_function(thing: Any) -> Any:
    return *(thing.__closure__ or ()), *(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()


def _take_cell(thing: Any) -> Any:
    try:
        return (thing.cell_contents,)
    except ValueError:  # nothing is in it yet
        return ()


def _put_cell(thing: Any, contents: Any) -> None:
    if contents:
        thing.cell_contents = contents[0]
    else:
        del thing.cell_contents


def _same_cell(thing: Any, contents: Any) -> bool:
    return _same_items(_take_cell(thing), contents)


# -- objects


def _put_attributes(thing: Any, contents: Any) -> None:
    named = thing.__dict__
    named.update(contents)
    if len(named) > len(contents):
        for name in named.keys() - contents.keys():
            del named[name]


_MISSING = object()


def _attributes() -> Kind:
    return Kind(
        lambda thing: dict(thing.__dict__),
        lambda thing, contents: _same_dict(thing.__dict__, contents),
        _put_attributes,
        dict.values,
    )


def _slots(fields: Sequence[str], *, more: bool) -> Kind:
    """With `more`, there is a dictionary of attributes as well, which is a thing of its own."""

    def take(thing: Any) -> Any:
        return tuple([getattr(thing, name, _MISSING) for name in fields])

    def put(thing: Any, contents: Any) -> None:
        for name, value in zip(fields, contents, strict=True):
            if value is not _MISSING:
                setattr(thing, name, value)

    if more:
        return Kind(
            lambda thing: (*take(thing), thing.__dict__),
            lambda thing, contents: _same_items(take(thing), contents[:-1]),
            lambda thing, contents: put(thing, contents[:-1]),
        )
    return Kind(take, lambda thing, contents: _same_items(take(thing), contents), put)


LEAF = Kind(lambda _thing: (), fixed=True)
_ITEMS = Kind(tuple, fixed=True)
_KNOWN: tuple[tuple[tuple[type, ...], Kind], ...] = (
    ((str, bytes, int, float, type(None), Enum, date, timedelta), LEAF),
    ((type, ModuleType, BuiltinFunctionType, greenlet), LEAF),
    ((Condition, type(Lock()), type(RLock())), LEAF),  # nobody holds one between two steps
    ((dict,), Kind(dict, _same_dict, _put_dict, _reached_by_dict)),
    ((list,), Kind(list, _same_items, _put_list)),
    ((deque,), Kind(list, _same_items, _put_deque)),
    ((set,), Kind(set, lambda thing, contents: thing == contents, _put_dict)),
    ((tuple, frozenset), _ITEMS),
    ((FunctionType,), Kind(_take_function, fixed=True)),
    ((CellType,), Kind(_take_cell, _same_cell, _put_cell)),
    ((MethodType,), Kind(lambda thing: (thing.__self__,), fixed=True)),
    ((partial,), Kind(lambda thing: (thing.func, *thing.args, *thing.keywords.values()), fixed=True)),
)
_VALUES = ("oms.domain.", "oms.ports.messages.", "oms.ports.extensions.", "oms.ports.stores.")
"""Where records are values through and through: what they hold is never changed."""

_KINDS: dict[type, Kind] = {object: LEAF}


def _kind_of(sort: type) -> Kind:
    """How to keep things of a sort; found once."""
    kind = _KINDS[sort] = _found(sort)
    return kind


def _found(sort: type) -> Kind:
    for known, kind in _KNOWN:
        if issubclass(sort, known):
            return kind
    if attrs.has(sort) and sort.__setattr__ is not object.__setattr__:
        if f"{sort.__module__}.".startswith(_VALUES):
            return LEAF
        names = [field.name for field in attrs.fields(sort)]
        return Kind(lambda thing: tuple([getattr(thing, name) for name in names]), fixed=True)
    fields = [name for base in sort.__mro__ for name in _slots_of(base)]
    has_dict = sort.__dictoffset__ != 0
    if fields:
        return _slots(fields, more=has_dict)
    if has_dict:
        return _attributes()
    raise TypeError(f"nobody knows how to keep a {sort.__module__}.{sort.__qualname__}")


def _slots_of(sort: type) -> Sequence[str]:
    named = sort.__dict__.get("__slots__", ())
    slots = (named,) if isinstance(named, str) else tuple(named)
    return [_mangled(sort, name) for name in slots if name not in ("__weakref__", "__dict__")]


def _mangled(sort: type, name: str) -> str:
    """What Python makes of a name that is private to its class."""
    private = name.startswith("__") and not name.endswith("__")
    return f"_{sort.__name__.lstrip('_')}{name}" if private else name
