"""Makes a system from its settings and the extensions of a shop."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, Unpack

from oms.bootstrap.app import App
from oms.bootstrap.container import Extensions, container_of
from oms.bootstrap.extension_loading import imported
from oms.bootstrap.system import SERVICES
from oms.domain.errors import OmsError
from oms.ports.errors import SettingsError
from oms.ports.extension_arguments import ExtensionArguments
from oms.settings import Settings, changed, load_settings
from oms.settings.arguments import SettingArguments


class CreateArguments(ExtensionArguments, SettingArguments, total=False):
    """The keyword arguments of `create` and `oms.testing.Shop`: extensions and settings, each of them optional."""


def create(
    settings: Settings | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    services: Collection[str] | None = None,
    **given: Unpack[CreateArguments],
) -> App:
    """Return a system made from its settings and the shop's extensions. Nothing is opened before the first use.

    `settings` default to the `OMS_...` variables of `environ`, which defaults to the process's environment. `services`
    are the names of the services (and the groups of own steps) that run in this process; default: all. All other
    keyword arguments are extensions (`gateway=MyGateway()`, see `oms.ports.extension_arguments`) or single settings
    (`profile="memory"`, see docs/settings.md), which take precedence over `settings`.

    Raises `SettingsError` with one line that names the wrong setting or argument.
    """
    extensions, overrides = _split_arguments(given)
    if settings is None:
        settings = load_settings(environ, **overrides)
    elif overrides:
        settings = changed(settings, **overrides)
    app = App(container_of(settings, Extensions(**extensions)), services)
    for path in settings.steps:
        _subscribe(path, app)
    unknown = sorted(set(services or ()) - {*SERVICES, *app.own_steps})
    if unknown:
        raise SettingsError(f"there is no service {unknown[0]!r}; there are {', '.join((*SERVICES, *app.own_steps))}")
    return app


def _split_arguments(given: Mapping[str, object]) -> tuple[dict[str, Any], dict[str, object]]:
    """Split keyword arguments into extensions and settings. If a name is both, a text is the setting."""
    extensions, settings = ExtensionArguments.__annotations__, SettingArguments.__annotations__
    for name in given:
        if name not in extensions and name not in settings:
            near = get_close_matches(name, [*extensions, *settings], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{name} is neither a setting nor an extension{hint}")
    objects = {name: value for name, value in given.items() if name in extensions and not isinstance(value, str)}
    return objects, {name: value for name, value in given.items() if name not in objects}


def _subscribe(path: str, app: App) -> None:
    """Call a function of `OMS_STEPS`; an exception of its code becomes the cause of a `SettingsError`."""
    subscribe = imported(path, "OMS_STEPS")
    try:
        subscribe(app)
    except OmsError:
        raise
    except Exception as error:
        raise SettingsError(f"OMS_STEPS: {path!r} can't subscribe: {type(error).__name__}: {error}") from error
