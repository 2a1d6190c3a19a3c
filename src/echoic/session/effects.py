"""What a session asks its driver to do."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from echoic.interfaces.diarizer import DiarizationChunk
from echoic.interfaces.engine import ModelRequest, Window
from echoic.protocol.frames import ServerFrame


@dataclass(frozen=True, slots=True)
class Send:
    """Send a frame to the client, in the order of the effects."""

    frame: ServerFrame


@dataclass(frozen=True, slots=True)
class OpenModel:
    """Find the model; answer by ``Session.opened`` with a ``ModelAnswer`` or a ``ModelUnavailable``."""

    request: ModelRequest


@dataclass(frozen=True, slots=True)
class Decode:
    """Decode a window; answer by ``Session.finished(key, …)`` with a ``Hypothesis`` or a ``DecodeFailed``.

    Attributes:
        key: Unique within the session.
        window: What to decode.
        model: The name of the model, as in ``ModelAnswer.name``.
        is_final: A final waits for it; False: a partial, after all finals.
    """

    key: int
    window: Window
    model: str
    is_final: bool


@dataclass(frozen=True, slots=True)
class CancelDecodes:
    """These decodes are overtaken: whichever has not begun need not; answers to them are ignored."""

    keys: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Diarize:
    """Find out who speaks; answer by ``Session.listened(key, …)`` with ``Voices``, or None: it failed.

    Attributes:
        key: Unique within the session, among those of ``Diarize`` and ``FinalizeDiarization``.
        chunk: What to listen to.
    """

    key: int
    chunk: DiarizationChunk


@dataclass(frozen=True, slots=True)
class FinalizeDiarization:
    """Find out who spoke in the whole session; answer by ``Session.reviewed(key, …)`` with turns, or None.

    Attributes:
        key: Unique within the session, among those of ``Diarize`` and ``FinalizeDiarization``.
        state: The ``state`` of the last ``Voices``.
    """

    key: int
    state: object


@dataclass(frozen=True, slots=True)
class RecordAudio:
    """Keep more of the session's audio for the client.

    Attributes:
        audio: float32, shape ``(n,)``, mono, 16 kHz, -1..1; read-only.
    """

    audio: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True, slots=True)
class DiscardRecording:
    """Throw away what was stored."""


@dataclass(frozen=True, slots=True)
class Continue:
    """There is audio left to work through: call ``Session.proceed`` once others had their turn."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection once everything before this effect is sent. Nothing follows it."""

    code: int
    reason: str = ""


Effect = (
    Send
    | OpenModel
    | Decode
    | CancelDecodes
    | Diarize
    | FinalizeDiarization
    | RecordAudio
    | DiscardRecording
    | Continue
    | Close
)
