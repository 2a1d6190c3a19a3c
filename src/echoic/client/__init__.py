"""Client of an echoic server: opens streams, sends audio, receives typed frames.

Example:
    >>> async with connect("ws://127.0.0.1:8000") as stream:
    ...     await stream.send(samples)  # mono, 16 kHz
    ...     print(await stream.commit())  # doctest: +SKIP

For programs without an event loop there is ``echoic.client.blocking``.
"""

from echoic.client.address import resolve_stream_url
from echoic.client.connector import connect, transcribe
from echoic.client.errors import ServerError
from echoic.client.messages import ReceivedFrame
from echoic.client.stream import ConnectionState, Stream
from echoic.errors import UnreadableAudio
from echoic.protocol.frames import (
    ActionItem,
    Configured,
    DiarizationSummary,
    Error,
    Final,
    FullTranscript,
    Insight,
    InsightError,
    InsightSource,
    Partial,
    SegmentSpeaker,
    Speaker,
    Warning,  # noqa: A004  # the protocol's word
    Word,
)

__all__ = [
    "ActionItem",
    "Configured",
    "ConnectionState",
    "DiarizationSummary",
    "Error",
    "Final",
    "FullTranscript",
    "Insight",
    "InsightError",
    "InsightSource",
    "Partial",
    "ReceivedFrame",
    "SegmentSpeaker",
    "ServerError",
    "Speaker",
    "Stream",
    "UnreadableAudio",
    "Warning",
    "Word",
    "connect",
    "resolve_stream_url",
    "transcribe",
]
