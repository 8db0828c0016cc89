"""Imports a shop's own code by path (`package.module:Name`), and checks that it has the methods of its port."""

from __future__ import annotations

import importlib
import traceback
from typing import Any

from oms.application.extensions.shapes import WrongShape, check_port
from oms.ports.errors import SettingsError


def imported(path: str, variable: str) -> Any:
    """Return the object at a path `package.module:Name`; any error of the import becomes a `SettingsError`."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:
        raise SettingsError(f"{variable}: can't import {path!r}: {_described(error)}") from error


def load_extension(path: str, variable: str, port: type[Any]) -> Any:
    """Return the extension at an import path; a class or function is called without arguments.

    Raises `SettingsError` if it can't be made, lacks a method of its port, or has a method with another signature.
    """
    found = imported(path, variable)
    try:
        made = found() if callable(found) else found
    except Exception as error:
        raise SettingsError(f"{variable}: {path!r} can't be called without arguments: {_described(error)}") from error
    return fitting(variable, made, port)


def _described(error: Exception) -> str:
    """Return an error's type, text, file and line, on one line, for the author of the code that raised it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = str(error) if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
    here = frame.filename == __file__ or "importlib" in frame.filename
    return text if here else f"{text} ({frame.filename}, line {frame.lineno})"


def fitting(argument: str, given: Any, port: type[Any]) -> Any:
    """Return `given` if it can be used as the port; else raise `SettingsError`."""
    try:
        check_port(argument, given, port)
    except WrongShape as error:
        raise SettingsError(str(error)) from None
    return given
