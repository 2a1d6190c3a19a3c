"""Where models are evaluated: a server of one's own or another's, and this machine's models beside it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from echoic.audio.speech import VoiceActivity
from echoic.cli.local import load_local_settings, run_local_server
from echoic.client import resolve_stream_url
from echoic.engines.base import Engine
from echoic.engines.registry import Registry
from echoic.errors import ModelUnavailable
from echoic.server.app import build_registry
from echoic.server.settings import Settings
from echoic.server.voice import build_scripted_factory, build_silero_factory
from echoic.session.ear import AllSpeech


@dataclass(frozen=True, slots=True)
class EvalTarget:
    """A server, and what there is without one.

    Attributes:
        address: The URL of the server's stream endpoint.
        build_detector: Makes the detector that says where somebody speaks.
        registry: The models for decoding offline; None: that is not wanted.
    """

    address: str
    build_detector: Callable[[], VoiceActivity]
    registry: Registry | None

    def find_engine(self, name: str) -> Engine | None:
        """Return the engine of a model's id, or None where it cannot be had or is not wanted."""
        if self.registry is None:
            return None
        try:
            return self.registry.load_engine(name)
        except (ModelUnavailable, KeyError):
            return None


@contextmanager
def open_target(url: str | None, config: Path | None, *, offline: bool) -> Iterator[EvalTarget]:
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
    settings = load_local_settings(config)
    registry = build_registry(settings).cache_loads()
    beside = registry if offline else None
    if url is not None:
        yield EvalTarget(resolve_stream_url(url), _choose_detector(settings), beside)
        return
    with run_local_server(config, lambda _: registry) as address:
        yield EvalTarget(address, _choose_detector(settings), beside)


def _choose_detector(settings: Settings) -> Callable[[], VoiceActivity]:
    """Return the detector that the server has."""
    return build_scripted_factory() if settings.scripted_engine else build_silero_factory() or AllSpeech
