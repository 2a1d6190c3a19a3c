"""A server of one's own, for a command that was given none."""

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

#: Nobody else is to be spared, and a file may be as long as it is.
_NO_LIMITS = {"max_audio_rate": 0.0, "max_messages_per_second": 0.0, "max_stream_seconds": 0.0}
#: Settings of the environment that it takes no notice of.
_IGNORED_VARIABLES = frozenset({"ECHOIC_HOST", "ECHOIC_PORT", "ECHOIC_LOG_LEVEL"}) | {
    ENV_PREFIX + name.upper() for name, setting in SETTINGS.items() if setting.group == "auth"
}


#: Seconds after which whoever waits for the server looks whether it still runs.
_POLL_SECONDS = 0.1


class _LocalServer(EchoicServer):
    """A server in a thread that says when it is up, and greets nobody."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(app, settings)
        self.is_up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super(EchoicServer, self).startup(sockets)
        self.is_up.set()


def load_local_settings(config: Path | None = None) -> Settings:
    """Return the settings of a server for one command; it needs no key and keeps its models loaded.

    Raises:
        SettingsError: The file's settings or the environment's cannot be used.
    """
    env = {name: value for name, value in os.environ.items() if name not in _IGNORED_VARIABLES}
    more: dict[str, object] = {"host": "127.0.0.1", "port": 0, "preload_model": "", "model_idle_seconds": 0}
    settings = load_settings(config, env, **more)
    server = settings.server.model_copy(update=_NO_LIMITS)
    return settings.model_copy(update={"server": server, "auth": AuthSettings()})


@contextmanager
def run_local_server(
    config: Path | None = None, registry_factory: Callable[[Settings], Registry] = build_registry
) -> Iterator[str]:
    """Serve on a free loopback port while the block runs.

    Args:
        config: A file with settings, or None.
        registry_factory: Returns the models there are.

    Yields:
        The URL of its stream endpoint.

    Raises:
        SettingsError: The file's settings or the environment's cannot be used.
        RuntimeError: It did not start; its log says why.
    """
    settings = load_local_settings(config)
    listener = socket.create_server((settings.server.host, 0))
    server = _LocalServer(build_app(settings, registry_factory(settings)), settings)
    thread = threading.Thread(target=server.run, args=([listener],), name="echoic server", daemon=True)
    thread.start()
    events, unheard = logging.getLogger("echoic"), logging.NullHandler()
    is_awaited = True
    try:
        while not server.is_up.wait(_POLL_SECONDS):
            if not thread.is_alive():
                raise RuntimeError("The server for this command did not start.")
        events.addHandler(
            unheard
        )  # else their bare names are printed: whoever gave the command is told in words
        yield resolve_stream_url(f"{settings.server.host}:{listener.getsockname()[1]}")
    except KeyboardInterrupt:
        is_awaited = False  # the process ends, whatever the server is at
        raise
    finally:
        events.removeHandler(unheard)
        server.should_exit = True
        while is_awaited and thread.is_alive():
            thread.join(_POLL_SECONDS)  # Windows notices no Ctrl-C in one that has no end
        listener.close()
