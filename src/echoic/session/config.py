"""What a client may set, its defaults, and the reading of a ``config`` frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from echoic.errors import ErrorCode, ProtocolError, Unavailable
from echoic.interfaces.diarizer import SpeakerOptions
from echoic.session.insight_options import InsightOptions, list_unknown_keys, parse_insights
from echoic.text.vocabulary import Vocabulary, VocabularyEntries, VocabularyError, parse_vocabulary

Variant = Literal["standard", "onnx", "mlx"]
AudioFormat = Literal["f32le", "s16le"]

_VARIANTS: tuple[Variant, ...] = ("standard", "onnx", "mlx")
_AUDIO_FORMATS: tuple[AudioFormat, ...] = ("f32le", "s16le")
_MAX_NAME_LENGTH = 128
#: The overlap nobody asked for, as a share of the chunk, where the default would not fit into it.
_DEFAULT_OVERLAP_RATIO = 0.25
#: The most speakers that a client may speak of.
_MAX_SPEAKERS = 64


@dataclass(frozen=True, slots=True)
class DiarizationOptions:
    """What a client wants to know of the speakers.

    Attributes:
        speakers: What it says of them.
        store_audio: Whether the session's audio is to be kept on the server.
    """

    speakers: SpeakerOptions = field(default_factory=SpeakerOptions)
    store_audio: bool = False


#: Why there is nothing of it where nobody says otherwise.
DIARIZATION_UNAVAILABLE = Unavailable("Nothing here tells speakers apart.")
STORAGE_UNAVAILABLE = Unavailable("This server stores no audio.")


def _refuse_insights(_: InsightOptions) -> Unavailable:
    return Unavailable("This server gives no insights.")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a server has beside recognisers: for each thing None, or why it is not to be had.

    Attributes:
        diarization: Telling speakers apart.
        storage: Keeping a session's audio.
        insights: Summaries while a stream runs, as a client wishes them.
    """

    diarization: Unavailable | None = DIARIZATION_UNAVAILABLE
    storage: Unavailable | None = STORAGE_UNAVAILABLE
    insights: Callable[[InsightOptions], Unavailable | None] = _refuse_insights


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
    diarization: DiarizationOptions | None = None
    insights: InsightOptions | None = None
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


def build_config_error(name: str, requirement: str, value: object) -> ProtocolError:
    """Return the error for a ``config`` key whose value is not what it must be."""
    shown = value if isinstance(value, int | float | bool | None) else str(value)[:40]
    if isinstance(shown, float) and not math.isfinite(shown):
        shown = str(shown)
    return ProtocolError(ErrorCode.INVALID_CONFIG, f"{name} must be {requirement}.", field=name, value=shown)


def parse_config(values: Mapping[str, object], current: StreamConfig) -> tuple[StreamConfig, tuple[str, ...]]:
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
    if isinstance(wish := changes.get("vocabulary"), VocabularyEntries):
        changes["vocabulary"] = current.vocabulary.with_session_entries(wish)
    if "model" in changes and "model_variant" not in changes:
        changes["model_variant"] = None
    config = replace(current, **changes)  # type: ignore[arg-type]  # each reader returns its field's type
    unknown = (key for key in values if key not in _READERS)
    ignored = tuple(sorted((*unknown, *list_unknown_keys(values.get("insights")))))
    return _fit_overlap(config, asked="overlap_duration" in changes), ignored


def _fit_overlap(config: StreamConfig, *, asked: bool) -> StreamConfig:
    if config.overlap_duration < config.chunk_duration:
        return config
    if asked:
        raise build_config_error("overlap_duration", "less than chunk_duration", config.overlap_duration)
    return replace(config, overlap_duration=config.chunk_duration * _DEFAULT_OVERLAP_RATIO)


def _number_reader(low: float, high: float) -> Callable[[str, object], float]:
    def read(name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise build_config_error(name, f"a number from {low:g} to {high:g}", value)
        return float(value)

    return read


def _integer_reader(low: int, high: int) -> Callable[[str, object], int]:
    def read(name: str, value: object) -> int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole or not low <= value <= high:  # type: ignore[operator]
            raise build_config_error(name, f"a whole number from {low} to {high}", value)
        return int(value)  # type: ignore[call-overload,no-any-return]

    return read


def _read_boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise build_config_error(name, "true or false", value)
    return value


def _read_name(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_NAME_LENGTH:
        raise build_config_error(name, f"a name of 1 to {_MAX_NAME_LENGTH} characters", value)
    return value.strip()


def _choice_reader(choices: tuple[str, ...]) -> Callable[[str, object], str]:
    def read(name: str, value: object) -> str:
        if not isinstance(value, str) or value.strip().lower() not in choices:
            raise build_config_error(name, f"one of {', '.join(choices)}", value)
        return value.strip().lower()

    return read


def _read_insights(_: str, value: object) -> InsightOptions | None:
    return parse_insights(value)


def _read_add_on(name: str, value: object) -> bool:
    if isinstance(value, dict):
        return _read_boolean(f"{name}.enabled", value.get("enabled", True))
    return _read_boolean(name, value)


def _read_diarization(name: str, value: object) -> DiarizationOptions | None:
    if not _read_add_on(name, value):
        return None
    given = {key: one for key, one in value.items() if one is not None} if isinstance(value, dict) else {}
    of = {key: f"{name}.{key}" for key in ("num_speakers", "max_speakers", "store_audio")}
    some = _integer_reader(1, _MAX_SPEAKERS)
    count = some(of["num_speakers"], given["num_speakers"]) if "num_speakers" in given else None
    most = some(of["max_speakers"], given["max_speakers"]) if "max_speakers" in given else None
    if count is not None and most is not None and count > most:
        raise build_config_error(of["num_speakers"], "at most max_speakers", count)
    return DiarizationOptions(
        SpeakerOptions(count, most), _read_boolean(of["store_audio"], given.get("store_audio", False))
    )


def _read_vocabulary(name: str, value: object) -> VocabularyEntries:
    try:
        return parse_vocabulary(value)
    except VocabularyError as problem:
        place = f"{name}.{problem.location}" if problem.location else name
        raise build_config_error(place, problem.requirement, None) from None


_READERS: Mapping[str, tuple[str, Callable[[str, object], object]]] = {
    "model": ("model", _read_name),
    "model_variant": ("model_variant", _choice_reader(_VARIANTS)),
    "variant": ("model_variant", _choice_reader(_VARIANTS)),
    "sample_rate": ("sample_rate", _integer_reader(8_000, 192_000)),
    "chunk_duration": ("chunk_duration", _number_reader(0.2, 60.0)),
    "overlap_duration": ("overlap_duration", _number_reader(0.0, 60.0)),
    "language": ("language", _read_name),
    "enable_partial": ("enable_partial", _read_boolean),
    "partial_interval": ("partial_interval", _number_reader(0.1, 60.0)),
    "min_partial_duration": ("min_partial_duration", _number_reader(0.0, 60.0)),
    "word_timestamps": ("word_timestamps", _read_boolean),
    "audio_format": ("audio_format", _choice_reader(_AUDIO_FORMATS)),
    "channels": ("channels", _integer_reader(1, 8)),
    "diarization": ("diarization", _read_diarization),
    "diarize": ("diarization", _read_diarization),
    "insights": ("insights", _read_insights),
    "vocabulary": ("vocabulary", _read_vocabulary),
    "resumable": ("resumable", _read_boolean),
}
