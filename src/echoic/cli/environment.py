"""Where this machine's models are, as the settings say."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from echoic.cli.options import exit_with_error
from echoic.engines.registry import Registry

if TYPE_CHECKING:
    from echoic.server.settings.groups import Settings


def load_settings_or_exit() -> "Settings":
    """Return the settings that a server started here would have; leaves if they cannot be used."""
    from echoic.server.settings.load import SettingsError

    try:
        # Whom it would listen to does not matter to its models.
        return _load_settings_from(os.environ, allow_open_network=True)
    except SettingsError as error:
        exit_with_error(str(error), 2)


def load_usable_settings(**overrides: object) -> "tuple[Settings, tuple[str, ...]]":
    """Return what of a server's settings can be used, and a sentence for each thing that cannot.

    Args:
        **overrides: Settings by name; None counts as not given.
    """
    from echoic.server.settings.load import SettingsError

    try:
        return _load_settings_from(os.environ, **overrides), ()
    except SettingsError as error:
        return error.usable_settings, error.problems


def _load_settings_from(env: "Mapping[str, str]", **overrides: object) -> "Settings":
    from echoic.server.settings.load import load_settings

    file = env.get("ECHOIC_CONFIG")
    return load_settings(Path(file) if file else None, env, **overrides)


def build_local_registry() -> "Registry":
    """Return the models that a server started here would have."""
    from echoic.server.build import build_registry

    return build_registry(load_settings_or_exit())


def resolve_models_folder(settings: "Settings | None" = None) -> Path:
    """Return the folder that models are fetched to, by these settings or those that there are here."""
    from echoic.engines.store.cache import resolve_cache_folder

    return (settings or load_settings_or_exit()).stt.models_dir or resolve_cache_folder(os.environ)
