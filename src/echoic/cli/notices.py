"""How a server's warnings and errors are told to the person at the command line."""

from collections.abc import Mapping
from types import MappingProxyType

from echoic.client import ConnectionState, Received
from echoic.wire.frames import Error, Warning  # noqa: A004  # the protocol's word

#: What is said of a stream's connection.
OF_CONNECTION: Mapping[ConnectionState, str] = MappingProxyType(
    {
        "lost": "The server is away. What it has not heard is kept, and sent when it is back.",
        "back": "The server is back.",
    }
)


class Notices:
    """Finds the sentence for a frame: each is said once.

    Args:
        config: What the stream was asked for. A fallback from a model that nobody named is told in a few
            words, and that words bear no times not at all: subtitles get along without.
    """

    def __init__(self, config: dict[str, object]) -> None:
        self._model_named = "model" in config
        self._said: set[str] = set()

    def sentence(self, frame: Received) -> str | None:
        """Return what is to be said about a frame, or None."""
        match frame:
            case Error(message=message):
                return message
            case Warning(code="word_timestamps_unavailable"):
                return None
            case Warning(code="model_fallback", active_model=str(name)) if not self._model_named:
                return self._once(f"{name} transcribes (others: echoic models).")
            case Warning(message=message):
                return self._once(message)
        return None

    def _once(self, sentence: str) -> str | None:
        if sentence in self._said:
            return None
        self._said.add(sentence)
        return sentence
