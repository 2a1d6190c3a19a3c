"""Stream settings: defaults, allowed values, and parsing of ``config`` frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal

from echoic.errors import ErrorCode, ProtocolError, Unavailable
from echoic.interfaces.diarizer import SpeakerOptions
from echoic.text.vocabulary import Vocabulary, VocabularyEntries, VocabularyError, parse_vocabulary

Variant = Literal["standard", "onnx", "mlx"]
AudioFormat = Literal["f32le", "s16le"]
_Reader = Callable[[str, object], object]

#: Values of ``insights.provider``.
INSIGHT_PROVIDERS: Final = ("rules", "llm")
#: Limits of ``insights.interval_seconds``, in seconds.
MIN_INSIGHT_INTERVAL: Final = 1.0
MAX_INSIGHT_INTERVAL: Final = 3600.0

_VARIANTS: Final[tuple[Variant, ...]] = ("standard", "onnx", "mlx")
_AUDIO_FORMATS: Final[tuple[AudioFormat, ...]] = ("f32le", "s16le")
#: Characters of the longest name of a model or language.
_MAX_NAME_LENGTH: Final = 128
#: Characters of a refused value that the error repeats.
_MAX_SHOWN_CHARACTERS: Final = 40
#: Overlap as a share of the chunk, where an overlap from before no longer fits a shorter chunk.
_DEFAULT_OVERLAP_RATIO: Final = 0.25
_MAX_SPEAKERS: Final = 64
_MAX_INSIGHT_SEGMENTS: Final = 1000

DIARIZATION_UNAVAILABLE: Final = Unavailable("This server does not tell speakers apart.")
STORAGE_UNAVAILABLE: Final = Unavailable("This server stores no audio.")


@dataclass(frozen=True, slots=True)
class DiarizationOptions:
    """The client's options for speaker diarization."""

    speakers: SpeakerOptions = field(default_factory=SpeakerOptions)
    """How many speakers to expect."""
    store_audio: bool = False
    """Whether the server records the session's audio."""


@dataclass(frozen=True, slots=True)
class InsightOptions:
    """The client's options for insights; None stands for the server's default."""

    interval_seconds: float | None = None
    """Minimum seconds between two live insights; the server's own setting is a lower bound."""
    window_segments: int | None = None
    """Minimum number of the latest finals that a live insight covers."""
    provider: str | None = None
    """``rules`` or ``llm``."""
    model: str | None = None
    """Name of the language model."""


def _refuse_insights(_: InsightOptions) -> Unavailable:
    return Unavailable("This server gives no insights.")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Which optional features the server has besides speech recognition."""

    diarization: Unavailable | None = DIARIZATION_UNAVAILABLE
    """Why speaker diarization is unavailable, or None if it is available."""
    storage: Unavailable | None = STORAGE_UNAVAILABLE
    """Why recording is unavailable, or None if it is available."""
    insights: Callable[[InsightOptions], Unavailable | None] = _refuse_insights
    """Returns why insights with these options are unavailable, or None if they are available."""


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """The settings of a session, all valid."""

    model: str = "parakeet"
    """Model name as the client wrote it."""
    model_variant: Variant | None = None
    """Explicit variant. If None, the suffix of the name decides, else ``standard``."""
    sample_rate: int = 16_000
    """Samples per second and channel of the client's audio."""
    chunk_duration: float = 2.0
    """Length of a window in seconds."""
    overlap_duration: float = 0.5
    """Seconds at the start of a window that repeat the window before; less than ``chunk_duration``."""
    language: str | None = None
    """Language hint for the engine."""
    enable_partial: bool = True
    """Whether partials are sent."""
    partial_interval: float = 0.5
    """Seconds of audio between two partials."""
    min_partial_duration: float = 0.5
    """Seconds of new audio before the first partial of a segment."""
    word_timestamps: bool = False
    """Whether finals carry words with times, if the engine provides times."""
    audio_format: AudioFormat = "f32le"
    """Sample format of audio messages."""
    channels: int = 1
    """Number of interleaved channels; they are averaged to mono."""
    diarization: DiarizationOptions | None = None
    """Options for diarization, or None if it was not requested."""
    insights: InsightOptions | None = None
    """Options for insights, or None if they were not requested."""
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    """Hotwords and replacements of the server and of the session."""
    resumable: bool = False
    """Whether the session survives a lost connection."""

    @property
    def bytes_per_sample(self) -> int:
        """Bytes of one sample of all channels in an audio message."""
        return (4 if self.audio_format == "f32le" else 2) * self.channels

    @property
    def variant(self) -> Variant:
        """The variant in force: the explicit one, else the name's suffix, else ``standard``."""
        if self.model_variant is not None:
            return self.model_variant
        suffix = self.model.rpartition("-")[2].lower()
        return next((variant for variant in _VARIANTS if variant == suffix), "standard")


def parse_config(values: Mapping[str, object], current: StreamConfig) -> tuple[StreamConfig, tuple[str, ...]]:
    """Apply a ``config`` frame to the current settings.

    Args:
        values: The frame without its ``type``. A key that is absent or null keeps its current value.
        current: The settings in force.

    Returns:
        The new settings, and the unknown keys in alphabetical order.

    Raises:
        ProtocolError: ``invalid_config`` with the first invalid field.
    """
    changes: dict[str, object] = {}
    for key, value in _without_nulls(values).items():
        if key in _READERS:
            name, read = _READERS[key]
            changes[name] = read(key, value)
    if isinstance(entries := changes.get("vocabulary"), VocabularyEntries):
        changes["vocabulary"] = current.vocabulary.with_session_entries(entries)
    if "model" in changes and "model_variant" not in changes:
        changes["model_variant"] = None
    config = replace(current, **changes)  # type: ignore[arg-type]  # each reader returns its field's type
    unknown = (key for key in values if key not in _READERS)
    ignored = tuple(sorted((*unknown, *_list_unknown_insight_keys(values.get("insights")))))
    return _fit_overlap(config, is_given="overlap_duration" in changes), ignored


def _fit_overlap(config: StreamConfig, *, is_given: bool) -> StreamConfig:
    """Refuse an overlap of this frame that is too long; shorten one from before."""
    if config.overlap_duration < config.chunk_duration:
        return config
    if is_given:
        raise _build_error("overlap_duration", "less than chunk_duration", config.overlap_duration)
    return replace(config, overlap_duration=config.chunk_duration * _DEFAULT_OVERLAP_RATIO)


# ---- readers: each takes the name of a key and its value, returns the parsed value or raises ProtocolError


def _build_error(name: str, requirement: str, value: object) -> ProtocolError:
    shown = value if isinstance(value, int | float | bool | None) else str(value)[:_MAX_SHOWN_CHARACTERS]
    if isinstance(shown, float) and not math.isfinite(shown):
        shown = str(shown)
    return ProtocolError(ErrorCode.INVALID_CONFIG, f"{name} must be {requirement}.", field=name, value=shown)


def _without_nulls(values: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in values.items() if value is not None}


def _number_reader(low: float, high: float, noun: str = "a number") -> Callable[[str, object], float]:
    def read(name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise _build_error(name, f"{noun} from {low:g} to {high:g}", value)
        return float(value)

    return read


def _integer_reader(low: int, high: int) -> Callable[[str, object], int]:
    def read(name: str, value: object) -> int:
        is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not is_whole or not low <= value <= high:  # type: ignore[operator]
            raise _build_error(name, f"a whole number from {low} to {high}", value)
        return int(value)  # type: ignore[call-overload,no-any-return]

    return read


def _choice_reader(choices: tuple[str, ...]) -> Callable[[str, object], str]:
    def read(name: str, value: object) -> str:
        if not isinstance(value, str) or value.strip().lower() not in choices:
            raise _build_error(name, f"one of {', '.join(choices)}", value)
        return value.strip().lower()

    return read


def _read_boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _build_error(name, "true or false", value)
    return value


def _read_name(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_NAME_LENGTH:
        raise _build_error(name, f"a name of 1 to {_MAX_NAME_LENGTH} characters", value)
    return value.strip()


def _read_vocabulary(name: str, value: object) -> VocabularyEntries:
    try:
        return parse_vocabulary(value)
    except VocabularyError as error:
        place = f"{name}.{error.location}" if error.location else name
        raise _build_error(place, error.requirement, None) from None


def _read_add_on(name: str, value: object) -> Mapping[str, object] | None:
    """Return the options of an add-on without nulls, or None if the value switches it off."""
    options = _without_nulls(value) if isinstance(value, Mapping) else {"enabled": value}
    field_name = f"{name}.enabled" if isinstance(value, Mapping) else name
    return options if _read_boolean(field_name, options.get("enabled", True)) else None


def _read_diarization(name: str, value: object) -> DiarizationOptions | None:
    given = _read_add_on(name, value)
    if given is None:
        return None
    parsed = {
        key: read(f"{name}.{key}", given[key]) for key, read in _DIARIZATION_READERS.items() if key in given
    }
    count, max_count = parsed.get("num_speakers"), parsed.get("max_speakers")
    if isinstance(count, int) and isinstance(max_count, int) and count > max_count:
        raise _build_error(f"{name}.num_speakers", "at most max_speakers", count)
    speakers = SpeakerOptions(count, max_count)  # type: ignore[arg-type]  # each reader returns its field's type
    return DiarizationOptions(speakers, parsed.get("store_audio") is True)


def _read_insights(name: str, value: object) -> InsightOptions | None:
    if not isinstance(value, bool | Mapping):
        raise _build_error(name, "true, false or an object", value)
    given = _read_add_on(name, value)
    if given is None:
        return None
    parsed: dict[str, object] = {}
    for key, option in given.items():
        if key in _INSIGHT_READERS:
            field_name, read = _INSIGHT_READERS[key]
            parsed.setdefault(field_name, read(f"{name}.{key}", option))
    return InsightOptions(**parsed)  # type: ignore[arg-type]  # each reader returns its field's type


def _list_unknown_insight_keys(value: object) -> list[str]:
    """Return the unknown keys of the ``insights`` object, as ``insights.key``."""
    if not isinstance(value, Mapping):
        return []
    unknown = value.keys() - _INSIGHT_READERS.keys() - {"enabled"}
    return [f"insights.{str(key)[:_MAX_NAME_LENGTH]}" for key in unknown]


_DIARIZATION_READERS: Final[Mapping[str, _Reader]] = MappingProxyType(
    {
        "num_speakers": _integer_reader(1, _MAX_SPEAKERS),
        "max_speakers": _integer_reader(1, _MAX_SPEAKERS),
        "store_audio": _read_boolean,
    }
)

_read_interval = _number_reader(MIN_INSIGHT_INTERVAL, MAX_INSIGHT_INTERVAL, "a number of seconds")
_read_segment_count = _integer_reader(1, _MAX_INSIGHT_SEGMENTS)
#: Keys of ``insights``: the field of ``InsightOptions`` and its reader. Two keys have a second name, for
#: clients of the system that this protocol comes from.
_INSIGHT_READERS: Final[Mapping[str, tuple[str, _Reader]]] = MappingProxyType(
    {
        "interval_seconds": ("interval_seconds", _read_interval),
        "summary_interval_seconds": ("interval_seconds", _read_interval),
        "window_segments": ("window_segments", _read_segment_count),
        "context_window_segments": ("window_segments", _read_segment_count),
        "provider": ("provider", _choice_reader(INSIGHT_PROVIDERS)),
        "model": ("model", _read_name),
    }
)

#: Keys of a ``config`` frame: the field of ``StreamConfig`` and its reader.
_READERS: Final[Mapping[str, tuple[str, _Reader]]] = MappingProxyType(
    {
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
)
