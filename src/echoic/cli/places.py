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
        # Whom it would listen to does not matter to its models.
        return _settings(os.environ, allow_open_network=True)
    except SettingsError as error:
        give_up(str(error), 2)


def usable_settings_here(**overrides: object) -> "tuple[Settings, tuple[str, ...]]":
    """Return what of a server's settings can be used, and a sentence for each thing that cannot.

    Args:
        **overrides: Settings by name; None counts as not given.
    """
    from echoic.server.settings import SettingsError

    try:
        return _settings(os.environ, **overrides), ()
    except SettingsError as error:
        return error.usable, error.problems


def _settings(env: "Mapping[str, str]", **overrides: object) -> "Settings":
    from echoic.server.settings import load_settings

    file = env.get("ECHOIC_CONFIG")
    return load_settings(Path(file) if file else None, env, **overrides)


def registry_here() -> "Registry":
    """Return the models that a server started here would have."""
    from echoic.server.app import models_of

    return models_of(settings_here())


def models_folder(settings: "Settings | None" = None) -> Path:
    """Return the folder that models are fetched to, by these settings or those that there are here."""
    from echoic.engines.weights import user_cache

    return (settings or settings_here()).models_dir or user_cache(os.environ)
