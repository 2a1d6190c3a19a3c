"""What a client may set, its defaults, and the reading of a ``config`` frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from echoic.errors import ErrorCode, Missing, ProtocolError
from echoic.interfaces.diarizer import SpeakerWishes
from echoic.session.insight_options import InsightWishes, read_insights, unknown_insights
from echoic.text.vocabulary import Vocabulary, VocabularyProblem, Wish, read_wish

Variant = Literal["standard", "onnx", "mlx"]
AudioFormat = Literal["f32le", "s16le"]

_VARIANTS: tuple[Variant, ...] = ("standard", "onnx", "mlx")
_FORMATS: tuple[AudioFormat, ...] = ("f32le", "s16le")
_LONGEST_NAME = 128
#: The overlap nobody asked for, as a share of the chunk, where the default would not fit into it.
_OVERLAP_SHARE = 0.25
#: The most speakers that a client may speak of.
_MOST_SPEAKERS = 64


@dataclass(frozen=True, slots=True)
class Diarization:
    """What a client wants to know of the speakers.

    Attributes:
        speakers: What it says of them.
        store_audio: Whether the session's audio is to be kept on the server.
    """

    speakers: SpeakerWishes = field(default_factory=SpeakerWishes)
    store_audio: bool = False


#: Why there is nothing of it where nobody says otherwise.
NO_SPEAKERS = Missing("Nothing here tells speakers apart.")
NO_STORAGE = Missing("This server stores no audio.")


def _no_insights(_: InsightWishes) -> Missing:
    return Missing("This server gives no insights.")


@dataclass(frozen=True, slots=True)
class Offers:
    """What a server has beside recognisers: for each thing None, or why it is not to be had.

    Attributes:
        diarization: Telling speakers apart.
        storage: Keeping a session's audio.
        insights: Summaries while a stream runs, as a client wishes them.
    """

    diarization: Missing | None = NO_SPEAKERS
    storage: Missing | None = NO_STORAGE
    insights: Callable[[InsightWishes], Missing | None] = _no_insights


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """The settings of a session, all valid.

    Attributes:
        model: The model's name as the client wrote it.
        model_variant: An explicit variant, or None: the name's suffix decides, else ``standard``.
        sample_rate: Samples per second of the client's audio.
        chunk_duration: Seconds of a window.
        overlap_duration: Seconds of it that are context from the window before; less than a chunk.
        language: Hint to the engine, or None.
        enable_partial: Whether partials are sent.
        partial_interval: Seconds of audio from one partial to the next.
        min_partial_duration: Seconds of new audio before a segment's first partial.
        word_timestamps: Whether finals carry words with times, where the engine knows them.
        audio_format: Coding of a sample in audio messages.
        channels: Interleaved channels, averaged to mono.
        diarization: What was asked about speakers, or None: nothing.
        insights: What was asked of insights, or None: nothing.
        vocabulary: What to listen for, and what is put in place of what; the server's and the session's own.
        resumable: Whether the session is to outlive a lost connection.
    """

    model: str = "parakeet"
    model_variant: Variant | None = None
    sample_rate: int = 16_000
    chunk_duration: float = 2.0
    overlap_duration: float = 0.5
    language: str | None = None
    enable_partial: bool = True
    partial_interval: float = 0.5
    min_partial_duration: float = 0.5
    word_timestamps: bool = False
    audio_format: AudioFormat = "f32le"
    channels: int = 1
    diarization: Diarization | None = None
    insights: InsightWishes | None = None
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    resumable: bool = False

    @property
    def bytes_per_sample(self) -> int:
        """Bytes that a sample of all channels takes in audio messages."""
        return (4 if self.audio_format == "f32le" else 2) * self.channels

    @property
    def variant(self) -> Variant:
        """The variant in force: the explicit one, else the name's suffix, else ``standard``."""
        if self.model_variant is not None:
            return self.model_variant
        suffix = self.model.rpartition("-")[2].lower()
        return next((variant for variant in _VARIANTS if variant == suffix), "standard")


def invalid(name: str, must: str, value: object) -> ProtocolError:
    """Return the error for a ``config`` key whose value is not what it must be."""
    shown = value if isinstance(value, int | float | bool | None) else str(value)[:40]
    if isinstance(shown, float) and not math.isfinite(shown):
        shown = str(shown)
    return ProtocolError(ErrorCode.INVALID_CONFIG, f"{name} must be {must}.", field=name, value=shown)


def read_config(values: Mapping[str, object], current: StreamConfig) -> tuple[StreamConfig, tuple[str, ...]]:
    """Return the settings after a ``config`` frame, and the keys that mean nothing here.

    A key that is absent or null keeps its current value.

    Args:
        values: The frame without its ``type``.
        current: The settings in force.

    Raises:
        ProtocolError: ``invalid_config`` naming the first field that is wrong.
    """
    given = {key: value for key, value in values.items() if value is not None}
    changes: dict[str, object] = {}
    for key, value in given.items():
        if key in _READERS:
            name, read = _READERS[key]
            changes[name] = read(key, value)
    if isinstance(wish := changes.get("vocabulary"), Wish):
        changes["vocabulary"] = current.vocabulary.of_session(wish)
    if "model" in changes and "model_variant" not in changes:
        changes["model_variant"] = None
    config = replace(current, **changes)  # type: ignore[arg-type]  # each reader returns its field's type
    unknown = (key for key in values if key not in _READERS)
    ignored = tuple(sorted((*unknown, *unknown_insights(values.get("insights")))))
    return _with_fitting_overlap(config, asked="overlap_duration" in changes), ignored


def _with_fitting_overlap(config: StreamConfig, *, asked: bool) -> StreamConfig:
    if config.overlap_duration < config.chunk_duration:
        return config
    if asked:
        raise invalid("overlap_duration", "less than chunk_duration", config.overlap_duration)
    return replace(config, overlap_duration=config.chunk_duration * _OVERLAP_SHARE)


def _number(low: float, high: float) -> Callable[[str, object], float]:
    def read(name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise invalid(name, f"a number from {low:g} to {high:g}", value)
        return float(value)

    return read


def _whole(low: int, high: int) -> Callable[[str, object], int]:
    def read(name: str, value: object) -> int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole or not low <= value <= high:  # type: ignore[operator]
            raise invalid(name, f"a whole number from {low} to {high}", value)
        return int(value)  # type: ignore[call-overload,no-any-return]

    return read


def _switch(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise invalid(name, "true or false", value)
    return value


def _name(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_NAME:
        raise invalid(name, f"a name of 1 to {_LONGEST_NAME} characters", value)
    return value.strip()


def _one_of(choices: tuple[str, ...]) -> Callable[[str, object], str]:
    def read(name: str, value: object) -> str:
        if not isinstance(value, str) or value.strip().lower() not in choices:
            raise invalid(name, f"one of {', '.join(choices)}", value)
        return value.strip().lower()

    return read


def _insights(_: str, value: object) -> InsightWishes | None:
    return read_insights(value)


def _add_on(name: str, value: object) -> bool:
    if isinstance(value, dict):
        return _switch(f"{name}.enabled", value.get("enabled", True))
    return _switch(name, value)


def _diarization(name: str, value: object) -> Diarization | None:
    if not _add_on(name, value):
        return None
    given = {key: one for key, one in value.items() if one is not None} if isinstance(value, dict) else {}
    of = {key: f"{name}.{key}" for key in ("num_speakers", "max_speakers", "store_audio")}
    some = _whole(1, _MOST_SPEAKERS)
    count = some(of["num_speakers"], given["num_speakers"]) if "num_speakers" in given else None
    most = some(of["max_speakers"], given["max_speakers"]) if "max_speakers" in given else None
    if count is not None and most is not None and count > most:
        raise invalid(of["num_speakers"], "at most max_speakers", count)
    return Diarization(
        SpeakerWishes(count, most), _switch(of["store_audio"], given.get("store_audio", False))
    )


def _vocabulary(name: str, value: object) -> Wish:
    try:
        return read_wish(value)
    except VocabularyProblem as problem:
        place = f"{name}.{problem.place}" if problem.place else name
        raise invalid(place, problem.must, None) from None


_READERS: Mapping[str, tuple[str, Callable[[str, object], object]]] = {
    "model": ("model", _name),
    "model_variant": ("model_variant", _one_of(_VARIANTS)),
    "variant": ("model_variant", _one_of(_VARIANTS)),
    "sample_rate": ("sample_rate", _whole(8_000, 192_000)),
    "chunk_duration": ("chunk_duration", _number(0.2, 60.0)),
    "overlap_duration": ("overlap_duration", _number(0.0, 60.0)),
    "language": ("language", _name),
    "enable_partial": ("enable_partial", _switch),
    "partial_interval": ("partial_interval", _number(0.1, 60.0)),
    "min_partial_duration": ("min_partial_duration", _number(0.0, 60.0)),
    "word_timestamps": ("word_timestamps", _switch),
    "audio_format": ("audio_format", _one_of(_FORMATS)),
    "channels": ("channels", _whole(1, 8)),
    "diarization": ("diarization", _diarization),
    "diarize": ("diarization", _diarization),
    "insights": ("insights", _insights),
    "vocabulary": ("vocabulary", _vocabulary),
    "resumable": ("resumable", _switch),
}
