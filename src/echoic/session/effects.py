"""Effects: actions that a session requests from its driver."""

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
    """Resolve a model; then call ``on_model_opened`` with an ``OpenedModel`` or ``ModelUnavailable``."""

    request: ModelRequest


@dataclass(frozen=True, slots=True)
class Decode:
    """Decode a window; then call ``on_decoded(key, …)`` with a ``Hypothesis`` or ``DecodeFailed``."""

    key: int
    """Unique within the session."""
    window: Window
    """Audio to decode."""
    model: str
    """``OpenedModel.name`` of the model to use."""
    is_final: bool
    """Whether a final waits for the result. Decodes for partials come after all those for finals."""


@dataclass(frozen=True, slots=True)
class CancelDecodes:
    """Drop these decodes if they have not started; results of them are ignored."""

    keys: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Diarize:
    """Diarize a chunk; then call ``on_diarized(key, …)`` with the result, or None if it failed."""

    key: int
    """Unique within the session, together with the keys of ``FinalizeDiarization``."""
    chunk: DiarizationChunk
    """Audio to diarize."""


@dataclass(frozen=True, slots=True)
class FinalizeDiarization:
    """Finalize a session's turns; then call ``on_diarization_finalized(key, …)``, with None if it failed."""

    key: int
    """Unique within the session, together with the keys of ``Diarize``."""
    state: object
    """``DiarizationResult.state`` of the last chunk."""


@dataclass(frozen=True, slots=True)
class RecordAudio:
    """Append audio to the session's recording."""

    audio: NDArray[np.float32] = field(repr=False)
    """float32, shape ``(n,)``, mono, 16 kHz, -1..1; read-only."""


@dataclass(frozen=True, slots=True)
class DiscardRecording:
    """Delete the session's recording."""


@dataclass(frozen=True, slots=True)
class Continue:
    """More audio is buffered: yield to the event loop, then call ``continue_audio``."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection after all earlier effects. No effect follows."""

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
