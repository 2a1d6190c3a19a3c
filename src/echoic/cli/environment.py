"""Settings, models and the models folder of this machine."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from echoic.cli.options import exit_with_error
from echoic.engines.registry import Registry

if TYPE_CHECKING:
    from echoic.server.settings.groups import Settings


def load_settings_or_exit() -> "Settings":
    """Load the settings of a server on this machine; exits with status 2 if they are invalid."""
    from echoic.server.settings.load import SettingsError

    try:
        # Authentication does not matter to the commands that only use models.
        return _load_settings_from(os.environ, allow_open_network=True)
    except SettingsError as error:
        exit_with_error(str(error), 2)


def load_usable_settings(**overrides: object) -> "tuple[Settings, tuple[str, ...]]":
    """Load the settings of a server; return the valid ones, and a sentence for each problem.

    Args:
        **overrides: Settings by name; None: not given.
    """
    from echoic.server.settings.load import SettingsError

    try:
        return _load_settings_from(os.environ, **overrides), ()
    except SettingsError as error:
        return error.usable_settings, error.problems


def _load_settings_from(env: Mapping[str, str], **overrides: object) -> "Settings":
    from echoic.server.settings.load import load_settings

    file = env.get("ECHOIC_CONFIG")
    return load_settings(Path(file) if file else None, env, **overrides)


def build_local_registry() -> Registry:
    """Build the registry of the models of a server on this machine."""
    from echoic.server.build import build_registry

    return build_registry(load_settings_or_exit())


def resolve_models_folder(settings: "Settings | None" = None) -> Path:
    """Return the folder for downloaded models, by the given settings or those of this machine."""
    from echoic.engines.store.cache import resolve_cache_folder

    return (settings or load_settings_or_exit()).stt.models_dir or resolve_cache_folder(os.environ)
