"""Messages about warnings, errors and the connection of a stream."""

from collections.abc import Mapping
from types import MappingProxyType

from echoic.client import ConnectionState, ReceivedFrame, ServerError
from echoic.protocol.frames import Error, Warning  # noqa: A004  # the protocol's word

#: Messages about the connection of a stream.
CONNECTION_MESSAGES: Mapping[ConnectionState, str] = MappingProxyType(
    {
        "lost": "Connection lost. New audio is buffered and will be sent after reconnecting.",
        "back": "Connection restored.",
    }
)


class NoticeRenderer:
    """Renders the warnings and errors of a stream, each warning once.

    If no model was requested, a fallback is a short message. Missing word times are never reported: subtitles
    do without them.

    Args:
        config: The keys of the stream's ``config`` frame.
    """

    def __init__(self, config: dict[str, object]) -> None:
        self._is_model_requested = "model" in config
        self._shown: set[str] = set()

    def render_notice(self, frame: ReceivedFrame) -> str | None:
        """Return the message about a frame, or None."""
        match frame:
            case Error(message=message):
                return message
            case Warning(code="word_timestamps_unavailable"):
                return None
            case Warning(code="model_fallback", active_model=str(name)) if not self._is_model_requested:
                return self._render_once(f"Using the model {name} (to list all: echoic models).")
            case Warning(message=message):
                return self._render_once(message)
        return None

    def _render_once(self, sentence: str) -> str | None:
        if sentence in self._shown:
            return None
        self._shown.add(sentence)
        return sentence


def suggest_fix(error: ServerError) -> str:
    """Return a sentence to append to the error's message, with a leading space, or an empty string."""
    if error.code == "unreachable" and not error.detail:
        return " Start one in another terminal: echoic serve"
    if error.code == "unauthorized":
        return " Pass it with --key KEY or ECHOIC_API_KEY."
    delay = error.detail.get("retry_after")
    return f" Retry after {delay:g} s." if isinstance(delay, int | float) else ""
