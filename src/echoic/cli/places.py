"""Where this machine's models are, as the settings say."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from echoic.cli.options import give_up

if TYPE_CHECKING:
    from echoic.engines.registry import Registry
    from echoic.server.settings import Settings


def settings_here() -> "Settings":
    """Return the settings that a server started here would have; leaves if they cannot be used."""
    from echoic.server.settings import SettingsError, load_settings

    file = os.environ.get("ECHOIC_CONFIG")
    try:
        # Whom it would listen to does not matter to its models.
        return load_settings(Path(file) if file else None, os.environ, allow_open_network=True)
    except SettingsError as error:
        give_up(str(error), 2)


def registry_here() -> "Registry":
    """Return the models that a server started here would have."""
    from echoic.server.app import models_of

    return models_of(settings_here())


def models_folder() -> Path:
    """Return the folder that models are fetched to."""
    from echoic.engines.weights import user_cache

    return settings_here().models_dir or user_cache(os.environ)
