"""What else helps where a server cannot be had."""

from collections.abc import Mapping
from types import MappingProxyType

from echoic.client import ConnectionState, ReceivedFrame, ServerError
from echoic.protocol.frames import Error, Warning  # noqa: A004  # the protocol's word


def suggest_fix(error: ServerError) -> str:
    """Return it as a sentence after the error's, or nothing."""
    if error.code == "unreachable" and not error.detail:
        return " Start one in another terminal: echoic serve"
    if error.code == "unauthorized":
        return " The key: --key KEY, or ECHOIC_API_KEY."
    pause = error.detail.get("retry_after")
    return f" It advises to wait {pause:g} s." if isinstance(pause, int | float) else ""


#: What is said of a stream's connection.
CONNECTION_MESSAGES: Mapping[ConnectionState, str] = MappingProxyType(
    {
        "lost": "The server is away. What it has not heard is kept, and sent when it is back.",
        "back": "The server is back.",
    }
)


class NoticeRenderer:
    """Finds the sentence for a frame: each is said once.

    Args:
        config: What the stream was asked for. A fallback from a model that nobody named is told in a few
            words, and that words bear no times not at all: subtitles get along without.
    """

    def __init__(self, config: dict[str, object]) -> None:
        self._is_model_named = "model" in config
        self._shown: set[str] = set()

    def render_notice(self, frame: ReceivedFrame) -> str | None:
        """Return what is to be said about a frame, or None."""
        match frame:
            case Error(message=message):
                return message
            case Warning(code="word_timestamps_unavailable"):
                return None
            case Warning(code="model_fallback", active_model=str(name)) if not self._is_model_named:
                return self._render_once(f"{name} transcribes (others: echoic models).")
            case Warning(message=message):
                return self._render_once(message)
        return None

    def _render_once(self, sentence: str) -> str | None:
        if sentence in self._shown:
            return None
        self._shown.add(sentence)
        return sentence
