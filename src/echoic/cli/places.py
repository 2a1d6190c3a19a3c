"""Where this machine's models are, as the settings say."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from echoic.cli.options import give_up

if TYPE_CHECKING:
    from collections.abc import Mapping

    from echoic.engines.registry import Registry
    from echoic.server.settings import Settings


def settings_here() -> "Settings":
    """Return the settings that a server started here would have; leaves if they cannot be used."""
    from echoic.server.settings import SettingsError

    try:
        return _settings(os.environ)
    except SettingsError as error:
        give_up(str(error), 2)


def usable_settings_here() -> "tuple[Settings, tuple[str, ...]]":
    """Return what of the settings can be used, and a sentence for each thing that cannot."""
    from echoic.server.settings import Settings, SettingsError

    try:
        return _settings(os.environ), ()
    except SettingsError as error:
        problems = error.problems
    told = {problem.split(maxsplit=1)[0].rstrip(":") for problem in problems}
    try:
        return _settings({name: value for name, value in os.environ.items() if name not in told}), problems
    except SettingsError:
        return Settings(), problems


def _settings(env: "Mapping[str, str]") -> "Settings":
    from echoic.server.settings import load_settings

    file = env.get("ECHOIC_CONFIG")
    # Whom it would listen to does not matter to its models.
    return load_settings(Path(file) if file else None, env, allow_open_network=True)


def registry_here() -> "Registry":
    """Return the models that a server started here would have."""
    from echoic.server.app import models_of

    return models_of(settings_here())


def models_folder(settings: "Settings | None" = None) -> Path:
    """Return the folder that models are fetched to, by these settings or those that there are here."""
    from echoic.engines.weights import user_cache

    return (settings or settings_here()).models_dir or user_cache(os.environ)
