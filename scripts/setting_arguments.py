"""The keyword arguments that are single settings, as a `TypedDict`, made of the fields of `oms.settings.Settings`."""

from __future__ import annotations

from textwrap import fill

import attrs

from oms.ports.extension_arguments import ExtensionArguments
from oms.settings.settings import Settings, settings_table

WIDTH = 120

HEAD = '''\
"""One keyword argument for each setting, so that an editor completes it and a type checker finds a misspelt one.

Made from `oms.settings` by `scripts/generate_docs.py`; don't edit. A text is read as the environment variable's text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from typed_settings.types import Secret


class SettingArguments(TypedDict, total=False):
    """The settings that `oms.create` and `oms.testing.Shop` take by name. Each is optional.

    Settings that share their name with an extension (such as `notifier`) are in `oms.ports.extension_arguments`.
    """
'''


def setting_arguments() -> str:
    """The module's text."""
    lines = [HEAD]
    for field, row in zip(attrs.fields(Settings), settings_table(), strict=True):
        if field.name not in ExtensionArguments.__annotations__:
            lines += [f"    {field.name}: {_with_text(str(field.type))}", _docstring(row.meaning)]
    return "\n".join(lines).rstrip() + "\n"


def _with_text(type_: str) -> str:
    kinds = type_.split(" | ")
    return type_ if "str" in kinds else " | ".join([kinds[0], "str", *kinds[1:]])


def _docstring(meaning: str) -> str:
    text = meaning.replace("\\", "\\\\")
    one_line = f'    """{text}"""\n'
    if len(one_line) <= WIDTH:
        return one_line
    filled = fill(
        text, WIDTH, initial_indent='    """', subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return filled + '\n    """\n'
