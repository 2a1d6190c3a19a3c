"""All frames of the protocol, client's and server's, as frozen dataclasses.

Times are seconds of the client's audio since the session's clock was last at zero.
``msgspec.UNSET`` marks a key that is left out of the JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from msgspec import UNSET, UnsetType

from echoic.errors import Detail

# ---- what a client sends


@dataclass(frozen=True, slots=True)
class Config:
    """``config``: settings of the session as the client wrote them, not yet validated."""

    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Audio:
    """``audio``, or a binary message: raw samples in the session's format (little-endian)."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """``commit``: finalise what is pending and return the transcript."""


@dataclass(frozen=True, slots=True)
class Reset:
    """``reset``: forget everything, clock to zero."""


@dataclass(frozen=True, slots=True)
class Stop:
    """``stop``: deliver what is pending and close."""


@dataclass(frozen=True, slots=True)
class Ping:
    """``ping``: answered by ``pong`` at once."""


@dataclass(frozen=True, slots=True)
class Auth:
    """``auth``: a key as the first message."""

    token: str = field(repr=False)


ClientFrame = Config | Audio | Commit | Reset | Stop | Ping | Auth

# ---- what the server sends


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a final: times in seconds on the session's clock, confidence in 0..1."""

    word: str
    start: float
    end: float
    confidence: float | UnsetType = UNSET
    speaker_id: int | UnsetType = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """``partial``: what is heard so far beyond the last final; may change."""

    type: Literal["partial"] = "partial"
    text: str
    is_final: Literal[False] = False
    segment_id: int
    segment_start: float
    segment_end: float
    buffer_duration: float
    cumulative_audio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """``final``: a segment's text and its exact place; never changes.

    Where words' times were asked for and are not known, ``spoken_start`` and ``spoken_end`` say roughly where
    the text was spoken.
    """

    type: Literal["final"] = "final"
    text: str
    is_final: Literal[True] = True
    segment_id: int
    segment_start: float
    segment_end: float
    chunk_duration: float
    overlap: float
    chunk_start: float
    chunk_end: float
    new_audio_duration: float
    cumulative_audio: float
    words: tuple[Word, ...] | UnsetType = UNSET
    spoken_start: float | UnsetType = UNSET
    spoken_end: float | UnsetType = UNSET
    speaker_id: int | UnsetType = UNSET
    speaker_label: str | UnsetType = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class FullTranscript:
    """``full_transcript``: the finals' texts since the last commit, joined."""

    type: Literal["full_transcript"] = "full_transcript"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """``status`` ``configured``: the values now in force, and the keys nobody knew."""

    type: Literal["status"] = "status"
    state: Literal["configured"] = "configured"
    model: str
    model_variant: str
    active_model: str
    sample_rate: int
    channels: int
    audio_format: str
    chunk_duration: float
    overlap_duration: float
    language: str | None
    enable_partial: bool
    partial_interval: float
    min_partial_duration: float
    word_timestamps: bool
    diarization: bool
    insights: bool
    ignored: tuple[str, ...]
    resumable: bool | UnsetType = UNSET
    session: str | UnsetType = UNSET
    resume_token: str | UnsetType = field(default=UNSET, repr=False)
    resume_seconds: float | UnsetType = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """``status``: a state the session has reached (``reset``, ``authenticated``)."""

    type: Literal["status"] = "status"
    state: Literal["reset", "authenticated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """``status`` ``resumed``: a session goes on, and what had arrived of the client's side of it."""

    type: Literal["status"] = "status"
    state: Literal["resumed"] = "resumed"
    session: str
    received_messages: int
    received_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Warning:  # noqa: A001  # the protocol's word
    """``warning``: something is less than was asked for; never ends anything."""

    type: Literal["warning"] = "warning"
    code: str
    message: str
    fallback: bool | UnsetType = UNSET
    original_model: str | UnsetType = UNSET
    active_model: str | UnsetType = UNSET
    lag: float | UnsetType = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """``error``: a row of the table in ``echoic.errors``; ``detail`` is spread into the frame."""

    code: str
    message: str
    detail: Mapping[str, Detail] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    """``pong``."""

    type: Literal["pong"] = "pong"


@dataclass(frozen=True, slots=True)
class SegmentSpeaker:
    """Who speaks in a final."""

    segment_id: int
    speaker_id: int
    speaker_label: str


@dataclass(frozen=True, slots=True)
class Speaker:
    """One of a session's speakers."""

    speaker_id: int
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiarizationSummary:
    """``diarization_summary``: who spoke in the finals since the last commit, as it looks now."""

    type: Literal["diarization_summary"] = "diarization_summary"
    speaker_map: tuple[SegmentSpeaker, ...]
    audio_path: str | None
    speakers: tuple[Speaker, ...]


@dataclass(frozen=True, slots=True)
class ActionItem:
    """Something to be done, and by whom if anybody said."""

    description: str
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class InsightSource:
    """The finals that an insight is drawn from: ids of the first and the last, and their times in seconds."""

    segment_range: tuple[int, int]
    start: float
    end: float
    total_segments: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Insight:
    """``insight``: what the talk comes down to; ``final`` after a commit or at the end."""

    type: Literal["insight"] = "insight"
    insight_id: str
    stage: Literal["live", "final"]
    provider: str
    model: str
    summary: tuple[str, ...]
    action_items: tuple[ActionItem, ...]
    decisions: tuple[str, ...]
    topics: tuple[str, ...]
    source: InsightSource


@dataclass(frozen=True, slots=True, kw_only=True)
class InsightError:
    """``insight_error``: one could not be had; ends nothing."""

    type: Literal["insight_error"] = "insight_error"
    stage: Literal["live", "final"]
    message: str


ServerFrame = (
    Partial
    | Final
    | FullTranscript
    | DiarizationSummary
    | Insight
    | InsightError
    | Configured
    | Resumed
    | Status
    | Warning
    | Error
    | Pong
)
