"""Where models are evaluated: a server of one's own or another's, and this machine's models beside it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from echoic.audio.speech import VoiceActivity
from echoic.cli.local import local_server, local_settings
from echoic.client import stream_address
from echoic.engines.base import Engine
from echoic.engines.registry import Registry
from echoic.errors import ModelUnavailable
from echoic.server.app import models_of
from echoic.server.settings import Settings
from echoic.server.voice import loudness, silero
from echoic.session.ear import AllSpeech


@dataclass(frozen=True, slots=True)
class Place:
    """A server, and what there is without one.

    Attributes:
        address: The URL of the server's stream endpoint.
        voice: Makes the detector that says where somebody speaks.
        registry: The models for decoding offline; None: that is not wanted.
    """

    address: str
    voice: Callable[[], VoiceActivity]
    registry: Registry | None

    def engine(self, name: str) -> Engine | None:
        """Return the engine of a model's id, or None where it cannot be had or is not wanted."""
        if self.registry is None:
            return None
        try:
            return self.registry.load(name)
        except (ModelUnavailable, KeyError):
            return None


@contextmanager
def place_of(url: str | None, config: Path | None, *, offline: bool) -> Iterator[Place]:
    """Yield the place; a server of one's own and its models are gone after the block.

    Args:
        url: Another's server, or None.
        config: A file with settings, or None.
        offline: Whether models are wanted without a server.

    Raises:
        SettingsError: The file's settings or the environment's cannot be used.
        ValueError: The URL is none.
        RuntimeError: The server for this command did not start.
    """
    settings = local_settings(config)
    registry = models_of(settings).once()
    beside = registry if offline else None
    if url is not None:
        yield Place(stream_address(url), _voice(settings), beside)
        return
    with local_server(config, lambda _: registry) as address:
        yield Place(address, _voice(settings), beside)


def _voice(settings: Settings) -> Callable[[], VoiceActivity]:
    """Return the detector that the server has."""
    return loudness() if settings.scripted_engine else silero() or AllSpeech
