"""Builds the frames of a session: finals, partials, status, warnings and errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import zip_longest

from msgspec import UNSET, UnsetType

from echoic.errors import EchoicError, ErrorCode
from echoic.interfaces.engine import OpenedModel
from echoic.protocol import frames
from echoic.protocol.constants import to_speaker_label
from echoic.protocol.frames import Configured, Error, Final, Partial, Word
from echoic.session.config import Capabilities, StreamConfig
from echoic.session.decoding.strategy import TimedWord
from echoic.session.pipeline import PendingSegment
from echoic.session.speaker_tracking import find_main_speaker
from echoic.text.vocabulary import Vocabulary
from echoic.units import TIME_DECIMALS

_CONFIDENCE_DECIMALS = 4
#: Fields of ``Configured`` that repeat the setting of the same name.
_ECHOED_SETTINGS = {field.name for field in fields(Configured)} & {
    field.name for field in fields(StreamConfig)
}


def join_words(words: Sequence[TimedWord]) -> str:
    """Join the texts of words by single spaces."""
    return " ".join(word.text for word in words)


def build_final(
    segment: PendingSegment,
    segment_id: int,
    words: Sequence[TimedWord],
    speakers: Sequence[int | None] = (),
) -> Final:
    """Build the final of a segment.

    Args:
        segment: The segment.
        segment_id: Its id on the wire.
        words: Its words.
        speakers: The speaker of each word; empty without diarization.
    """
    span, clock = segment.span, segment.clock
    speaker = find_main_speaker(speakers, words) if speakers else None
    timed = _build_words(words, speakers) if segment.has_word_times else UNSET
    needs_bounds = segment.has_word_times and timed is UNSET
    spoken_start, spoken_end = _find_rough_bounds(words) if needs_bounds else (UNSET, UNSET)
    return Final(
        text=join_words(words),
        segment_id=segment_id,
        segment_start=clock.to_seconds(span.start),
        segment_end=clock.to_seconds(span.end),
        chunk_duration=clock.to_duration(span.end - span.context),
        overlap=clock.to_duration(span.start - span.context),
        chunk_start=clock.to_seconds(span.context),
        chunk_end=clock.to_seconds(span.end),
        new_audio_duration=clock.to_duration(span.end - span.start),
        cumulative_audio=clock.to_seconds(span.end),
        words=timed,
        spoken_start=spoken_start,
        spoken_end=spoken_end,
        speaker_id=UNSET if speaker is None else speaker,
        speaker_label=UNSET if speaker is None else to_speaker_label(speaker),
    )


def _build_words(words: Sequence[TimedWord], speakers: Sequence[int | None]) -> tuple[Word, ...] | UnsetType:
    """Build the ``words`` of a final; unset if a word has no times."""
    if any(word.start is None or word.end is None for word in words):
        return UNSET
    return tuple(
        Word(
            word=word.text,
            start=round(word.start or 0.0, TIME_DECIMALS),
            end=round(word.end or 0.0, TIME_DECIMALS),
            confidence=UNSET if word.confidence is None else round(word.confidence, _CONFIDENCE_DECIMALS),
            speaker_id=UNSET if speaker is None else speaker,
        )
        for word, speaker in zip_longest(words, speakers)
    )


def _find_rough_bounds(words: Sequence[TimedWord]) -> tuple[float, float] | tuple[UnsetType, UnsetType]:
    """Return the estimated start of the first word and end of the last one."""
    first, last = words[0].span, words[-1].span
    if first is None or last is None:
        return UNSET, UNSET
    return round(first[0], TIME_DECIMALS), round(max(first[0], last[1]), TIME_DECIMALS)


def build_partial(segment: PendingSegment, segment_id: int, words: Sequence[TimedWord]) -> Partial:
    """Build the partial of an open segment; ``segment_id`` is the id of the next final."""
    span, clock = segment.span, segment.clock
    return Partial(
        text=join_words(words),
        segment_id=segment_id,
        segment_start=clock.to_seconds(span.start),
        segment_end=clock.to_seconds(span.end),
        buffer_duration=segment.decoded_seconds,
        cumulative_audio=clock.to_seconds(span.start),
    )


def build_error(error: EchoicError) -> Error:
    """Build the ``error`` frame of an exception."""
    return Error(code=error.code, message=error.message, detail=error.detail)


def build_decode_error(segment: PendingSegment) -> Error:
    """Build the error for a segment of which a window could not be decoded."""
    start, end = segment.find_lost_audio()
    return Error(
        code=ErrorCode.DECODE_FAILED,
        message=f"The audio from {start:g} to {end:g} s could not be decoded; its words may be missing.",
        detail={"start": start, "end": end, "model": segment.model_name},
    )


def build_configured(
    config: StreamConfig, model: OpenedModel, capabilities: Capabilities, ignored: tuple[str, ...]
) -> Configured:
    """Build the reply to a ``config`` frame: the values now in force.

    Args:
        config: The settings in force.
        model: The active model.
        capabilities: Optional features of the server.
        ignored: Unknown keys of the ``config`` frame.
    """
    values = {name: getattr(config, name) for name in _ECHOED_SETTINGS}
    values |= {
        "model_variant": config.variant,
        "active_model": model.name,
        "word_timestamps": config.word_timestamps and model.requirements.has_word_times,
        "diarization": config.diarization is not None and capabilities.diarization is None,
        "insights": config.insights is not None and capabilities.insights(config.insights) is None,
        "ignored": ignored,
        "resumable": config.resumable or UNSET,
    }
    return Configured(**values)


def build_warnings(
    config: StreamConfig, model: OpenedModel, capabilities: Capabilities, *, is_new_model: bool
) -> Iterator[frames.Warning]:
    """Yield a warning for each requested feature that is unavailable.

    Args:
        config: The requested settings.
        model: The active model.
        capabilities: Optional features of the server.
        is_new_model: Whether the client does not know yet which model is active.
    """
    if is_new_model and model.fallback_reason:
        yield frames.Warning(
            code="model_fallback",
            message=model.fallback_reason,
            fallback=True,
            original_model=config.model,
            active_model=model.name,
        )
    if config.language and not _knows_language(model, config.language):
        yield frames.Warning(
            code="language_unsupported",
            message=f"{model.name} does not know the language {config.language!r}.",
        )
    if config.diarization and capabilities.diarization:
        yield frames.Warning(code="diarization_unavailable", message=capabilities.diarization.message)
    if config.diarization and config.diarization.store_audio and capabilities.storage:
        yield frames.Warning(code="audio_persistence_unavailable", message=capabilities.storage.message)
    if config.insights and (unavailable := capabilities.insights(config.insights)):
        yield frames.Warning(code="insights_unavailable", message=unavailable.message)
    if problems := " ".join(_find_vocabulary_problems(config.vocabulary, model)):
        yield frames.Warning(code="vocabulary_unavailable", message=problems)
    if config.word_timestamps and not model.requirements.has_word_times:
        yield frames.Warning(
            code="word_timestamps_unavailable", message=f"{model.name} gives no times of words."
        )


def _find_vocabulary_problems(vocabulary: Vocabulary, model: OpenedModel) -> Iterator[str]:
    """Yield a sentence for each part of the session's own vocabulary that has no effect."""
    support = model.requirements.hotword_support
    uses_terms = support == "boost" or (support == "prompt" and vocabulary.prompt)
    if vocabulary.session.terms and not uses_terms:
        yield f"{model.name} does not support hotwords; replacements work with every model."
    if vocabulary.session.replacements and not vocabulary.replacements:
        yield "Replacements are switched off on this server."


def _knows_language(model: OpenedModel, language: str) -> bool:
    code = language.lower().replace("_", "-").partition("-")[0]
    return not model.languages or code in model.languages


def build_diarization_warning() -> frames.Warning:
    """Build the warning that diarization pauses after repeated failures."""
    message = (
        "Speaker diarization failed or was too slow several times in a row. It pauses; finals have no "
        "speakers until it resumes."
    )
    return frames.Warning(code="diarization_unavailable", message=message)


def build_storage_warning() -> frames.Warning:
    """Build the warning that recording stopped."""
    message = "The audio could not be stored. The recording ends here."
    return frames.Warning(code="audio_persistence_unavailable", message=message)
