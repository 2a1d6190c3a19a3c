"""Frames of the protocol, from client and server, as frozen dataclasses.

Times are seconds of the client's audio since the start of the session or its last reset.
``msgspec.UNSET`` marks a key that is omitted from the JSON. See docs/protocol.md for all keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from msgspec import UNSET, UnsetType

from echoic.errors import Detail

# ---- sent by the client


@dataclass(frozen=True, slots=True)
class Config:
    """``config``: settings as the client sent them, not validated."""

    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Audio:
    """``audio``, or a binary message: samples in the session's audio format, little-endian."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """``commit``: finalize pending audio and request the transcript."""


@dataclass(frozen=True, slots=True)
class Reset:
    """``reset``: discard audio and transcript; the clock returns to zero."""


@dataclass(frozen=True, slots=True)
class Stop:
    """``stop``: finalize pending audio and close."""


@dataclass(frozen=True, slots=True)
class Ping:
    """``ping``: answered at once with ``pong``."""


@dataclass(frozen=True, slots=True)
class Auth:
    """``auth``: an API key or token, as the first message."""

    token: str = field(repr=False)


ClientFrame = Config | Audio | Commit | Reset | Stop | Ping | Auth

# ---- sent by the server


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a final: times in seconds on the session's clock, confidence 0..1."""

    word: str
    start: float
    end: float
    confidence: float | UnsetType = UNSET
    speaker_id: int | UnsetType = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """``partial``: text after the last final; may change."""

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
    """``final``: text and position of a segment; never changes.

    ``spoken_start`` and ``spoken_end`` estimate when the text was spoken. They are sent if word times are
    requested and the engine provides none.
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
    """``full_transcript``: texts of the finals since the last commit, joined."""

    type: Literal["full_transcript"] = "full_transcript"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """``status`` ``configured``: the settings in force, and the unknown keys of the config."""

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
    """``status`` ``reset`` or ``authenticated``."""

    type: Literal["status"] = "status"
    state: Literal["reset", "authenticated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """``status`` ``resumed``: the session continues; counts what the server received of it."""

    type: Literal["status"] = "status"
    state: Literal["resumed"] = "resumed"
    session: str
    received_messages: int
    received_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Warning:  # noqa: A001  # the protocol's word
    """``warning``: a requested feature is unavailable or degraded; the session continues."""

    type: Literal["warning"] = "warning"
    code: str
    message: str
    fallback: bool | UnsetType = UNSET
    original_model: str | UnsetType = UNSET
    active_model: str | UnsetType = UNSET
    lag: float | UnsetType = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """``error``: an error code of ``echoic.errors``; the keys of ``detail`` become keys of the frame."""

    code: str
    message: str
    detail: Mapping[str, Detail] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    """``pong``: answers ``ping``."""

    type: Literal["pong"] = "pong"


@dataclass(frozen=True, slots=True)
class SegmentSpeaker:
    """The speaker of a final."""

    segment_id: int
    speaker_id: int
    speaker_label: str


@dataclass(frozen=True, slots=True)
class Speaker:
    """A speaker of the session."""

    speaker_id: int
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiarizationSummary:
    """``diarization_summary``: speakers of the finals since the last commit, possibly corrected."""

    type: Literal["diarization_summary"] = "diarization_summary"
    speaker_map: tuple[SegmentSpeaker, ...]
    audio_path: str | None
    speakers: tuple[Speaker, ...]


@dataclass(frozen=True, slots=True)
class ActionItem:
    """A task, and its owner if one was named."""

    description: str
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class InsightSource:
    """The finals that an insight covers: ids of the first and the last, and their times in seconds."""

    segment_range: tuple[int, int]
    start: float
    end: float
    total_segments: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Insight:
    """``insight``: a summary of the conversation; ``final`` after a commit or at the end."""

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
    """``insight_error``: an insight failed; the session continues."""

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
