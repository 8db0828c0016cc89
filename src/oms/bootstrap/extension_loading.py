"""Imports a shop's own code by path (`package.module:Name`), and checks that it fits its port."""

from __future__ import annotations

import importlib
import traceback
from typing import Any

from oms.application.extensions.shapes import WrongShape, check_port
from oms.ports.errors import SettingsError


def imported(path: str, variable: str) -> Any:
    """Import the object that a path `package.module:Name` names; `SettingsError` for any error while importing."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:
        raise SettingsError(f"{variable}: can't import {path!r}: {_described(error)}") from error


def load_extension(path: str, variable: str, port: type[Any]) -> Any:
    """Return an extension by its import path; a class or function is called without arguments.

    Raises `SettingsError` where it can't be made, lacks a method of its port, or has one that can't be called as the
    port's is.
    """
    found = imported(path, variable)
    try:
        made = found() if callable(found) else found
    except Exception as error:
        raise SettingsError(f"{variable}: {path!r} can't be called without arguments: {_described(error)}") from error
    return fitting(variable, made, port)


def _described(error: Exception) -> str:
    """Return an error's type, text and place on one line, for the author of the code that raised it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = str(error) if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
    here = frame.filename == __file__ or "importlib" in frame.filename
    return text if here else f"{text} ({frame.filename}, line {frame.lineno})"


def fitting(argument: str, given: Any, port: type[Any]) -> Any:
    """Return an object that can be used as the port; `SettingsError` otherwise."""
    try:
        check_port(argument, given, port)
    except WrongShape as error:
        raise SettingsError(str(error)) from None
    return given
