"""Snapshots of a system between two steps, to restore it later, so that schedules share their common prefix.

The objects need no code for this. A snapshot finds every mutable object that can be reached and copies its contents;
restoring puts the contents back into the same objects, so that every reference to them sees the old state. Objects that
were made later are just dropped. An object of an unknown kind raises an error. A worker that is paused in the middle of
a step can't be part of a snapshot.
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
"""The contents of each object that the keeper knew when the snapshot was taken."""


class Keeper:
    """Takes snapshots of all objects that can be reached from `root`; visits immutable objects only once.

    It doesn't visit the contents of kinds that are `only_added_to`, such as caches of constant results.
    """

    def __init__(self, root: object, only_added_to: Iterable[type] = ()) -> None:
        self._only_added_to = frozenset(only_added_to)
        self._things: list[tuple[Any, Kind]] = []
        self._puts: list[tuple[Any, Callable[[Any, Any], None]]] = []
        self._last: list[Any] = []
        self._met: dict[int, Any] = {}  # keeps visited objects alive, so that no other object gets their ids
        self._meet([root])

    def snapshot(self) -> Snapshot:
        """Return the present contents of all objects."""
        changed: list[Any] = []
        for index, (thing, kind) in enumerate(self._things):
            if not kind.same(thing, self._last[index]):
                contents = self._last[index] = kind.take(thing)
                changed += kind.reached(contents)
        self._meet(changed)
        return tuple(self._last)

    def put_back(self, snapshot: Snapshot) -> None:
        """Restore the contents of all objects."""
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
    """How to handle objects of one kind: copy their contents, compare them with a copy, and restore them."""

    take: Callable[[Any], Any]
    same: Callable[[Any, Any], bool] = lambda _thing, _contents: True
    put: Callable[[Any, Any], None] = lambda _thing, _contents: None
    reached: Callable[[Any], Iterable[Any]] = iter
    fixed: bool = False
    """Whether the contents never change, although objects that they refer to may."""


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


# -- callables


def _take_function(thing: Any) -> Any:
    return *(thing.__closure__ or ()), *(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()


def _take_cell(thing: Any) -> Any:
    try:
        return (thing.cell_contents,)
    except ValueError:  # the cell is empty
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
    """Return the kind of objects with these fields; with `more`, they also have an attribute dictionary."""

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
    ((Condition, type(Lock()), type(RLock())), LEAF),  # no thread holds a lock between two steps
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
"""The modules whose records are immutable values, including everything that they contain."""

_KINDS: dict[type, Kind] = {object: LEAF}


def _kind_of(sort: type) -> Kind:
    """Return the kind of a class; computed once for each class."""
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
    raise TypeError(f"a snapshot can't keep a {sort.__module__}.{sort.__qualname__}")


def _slots_of(sort: type) -> Sequence[str]:
    named = sort.__dict__.get("__slots__", ())
    slots = (named,) if isinstance(named, str) else tuple(named)
    return [_mangled(sort, name) for name in slots if name not in ("__weakref__", "__dict__")]


def _mangled(sort: type, name: str) -> str:
    """Return the mangled form of a class-private name."""
    private = name.startswith("__") and not name.endswith("__")
    return f"_{sort.__name__.lstrip('_')}{name}" if private else name
