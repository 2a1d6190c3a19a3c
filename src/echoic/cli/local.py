"""Runs a server in this process for a command without --url."""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import FastAPI

from echoic.client.address import resolve_stream_url
from echoic.engines.registry import Registry
from echoic.server.app import build_app
from echoic.server.build import build_registry
from echoic.server.process import EchoicServer
from echoic.server.settings.groups import ENV_PREFIX, SETTINGS, AuthSettings, Settings
from echoic.server.settings.load import load_settings

#: One user: no rate or length limits.
_NO_LIMITS = {"max_audio_rate": 0.0, "max_messages_per_second": 0.0, "max_stream_seconds": 0.0}
#: Environment variables that the server of a command ignores.
_IGNORED_VARIABLES = frozenset({"ECHOIC_HOST", "ECHOIC_PORT", "ECHOIC_LOG_LEVEL"}) | {
    ENV_PREFIX + name.upper() for name, setting in SETTINGS.items() if setting.group == "auth"
}
#: Seconds between two checks whether the server's thread still runs.
_POLL_SECONDS = 0.1


class _LocalServer(EchoicServer):
    """A server in a thread that sets an event when it is ready, and prints no greeting."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(app, settings)
        self.is_up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super(EchoicServer, self).startup(sockets)
        self.is_up.set()


def load_local_settings(config: Path | None = None) -> Settings:
    """Load the settings of a server for one command: no authentication, and models stay loaded.

    Raises:
        SettingsError: The settings of the file or of the environment are invalid.
    """
    env = {name: value for name, value in os.environ.items() if name not in _IGNORED_VARIABLES}
    overrides: dict[str, object] = {
        "host": "127.0.0.1",
        "port": 0,
        "preload_model": "",
        "model_idle_seconds": 0,
    }
    settings = load_settings(config, env, **overrides)
    server = settings.server.model_copy(update=_NO_LIMITS)
    return settings.model_copy(update={"server": server, "auth": AuthSettings()})


@contextmanager
def run_local_server(
    config: Path | None = None, registry_factory: Callable[[Settings], Registry] = build_registry
) -> Iterator[str]:
    """Run a server on a free loopback port inside the block.

    Args:
        config: A settings file, or None.
        registry_factory: Builds the registry of models.

    Yields:
        The URL of its stream endpoint.

    Raises:
        SettingsError: The settings of the file or of the environment are invalid.
        RuntimeError: The server did not start; its log has the reason.
    """
    settings = load_local_settings(config)
    listener = socket.create_server((settings.server.host, 0))
    server = _LocalServer(build_app(settings, registry_factory(settings)), settings)
    thread = threading.Thread(target=server.run, args=([listener],), name="echoic server", daemon=True)
    thread.start()
    logger, null_handler = logging.getLogger("echoic"), logging.NullHandler()
    is_joined = True
    try:
        while not server.is_up.wait(_POLL_SECONDS):
            if not thread.is_alive():
                raise RuntimeError("The server for this command did not start.")
        logger.addHandler(null_handler)  # else logging prints the names of warnings to stderr
        yield resolve_stream_url(f"{settings.server.host}:{listener.getsockname()[1]}")
    except KeyboardInterrupt:
        is_joined = False  # the process exits without waiting for the server
        raise
    finally:
        logger.removeHandler(null_handler)
        server.should_exit = True
        while is_joined and thread.is_alive():
            thread.join(
                _POLL_SECONDS
            )  # with a timeout: on Windows, Ctrl-C does not interrupt a join without one
        listener.close()
