"""What the session has to say, as frames of the protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def join_words(words: Sequence[TimedWord]) -> str:
    """Return the words joined by single spaces."""
    return " ".join(word.text for word in words)


def build_final(
    plan: PendingSegment, segment_id: int, words: Sequence[TimedWord], speakers: Sequence[int | None] = ()
) -> Final:
    """Return the final of a segment.

    Args:
        plan: The segment.
        segment_id: Its id.
        words: Its words.
        speakers: Who says each of them; empty: nobody listened for that.
    """
    span, at = plan.span, plan.pipeline.clock
    speaker = find_main_speaker(speakers, words) if speakers else None
    timed = _build_words(words, speakers) if plan.has_word_times else UNSET
    since, until = _rough_bounds(words) if plan.has_word_times and timed is UNSET else (UNSET, UNSET)
    return Final(
        text=join_words(words),
        segment_id=segment_id,
        segment_start=at.to_seconds(span.start),
        segment_end=at.to_seconds(span.end),
        chunk_duration=at.to_duration(span.end - span.context),
        overlap=at.to_duration(span.start - span.context),
        chunk_start=at.to_seconds(span.context),
        chunk_end=at.to_seconds(span.end),
        new_audio_duration=at.to_duration(span.end - span.start),
        cumulative_audio=at.to_seconds(span.end),
        words=timed,
        spoken_start=since,
        spoken_end=until,
        speaker_id=UNSET if speaker is None else speaker,
        speaker_label=UNSET if speaker is None else to_speaker_label(speaker),
    )


def _build_words(words: Sequence[TimedWord], speakers: Sequence[int | None]) -> tuple[Word, ...] | UnsetType:
    if any(word.start is None or word.end is None for word in words):
        return UNSET
    return tuple(
        Word(
            word=word.text,
            start=round(word.start or 0.0, TIME_DECIMALS),
            end=round(word.end or 0.0, TIME_DECIMALS),
            confidence=UNSET if word.confidence is None else round(word.confidence, 4),
            speaker_id=UNSET if speaker is None else speaker,
        )
        for word, speaker in zip_longest(words, speakers)
    )


def _rough_bounds(words: Sequence[TimedWord]) -> tuple[float, float] | tuple[UnsetType, UnsetType]:
    """Return where the first word begins and the last one ends, as well as is known."""
    first, last = words[0].span, words[-1].span
    if first is None or last is None:
        return UNSET, UNSET
    return round(first[0], TIME_DECIMALS), round(max(first[0], last[1]), TIME_DECIMALS)


def build_partial(plan: PendingSegment, segment_id: int, words: Sequence[TimedWord]) -> Partial:
    """Return the partial of what is heard since the last window."""
    span, at = plan.span, plan.pipeline.clock
    return Partial(
        text=join_words(words),
        segment_id=segment_id,
        segment_start=at.to_seconds(span.start),
        segment_end=at.to_seconds(span.end),
        buffer_duration=plan.decoded_seconds,
        cumulative_audio=at.to_seconds(span.start),
    )


def build_error(error: EchoicError) -> Error:
    """Return the frame that tells a client of an error."""
    return Error(code=error.code, message=error.message, detail=error.detail)


def build_decode_error(plan: PendingSegment) -> Error:
    """Return the frame that names the gap a failed decode leaves."""
    lost = [plan.pipeline.locate_window(slot.span) for slot in plan.windows if slot.is_lost]
    context = plan.pipeline.clock.to_seconds(plan.span.context)
    start, end = min(context, *(start for start, _ in lost)), max(end for _, end in lost)
    return Error(
        code=ErrorCode.DECODE_FAILED,
        message=f"The audio from {start:g} to {end:g} s could not be decoded; its words may be missing.",
        detail={"start": start, "end": end, "model": plan.pipeline.model.name},
    )


def build_configured(
    config: StreamConfig, model: OpenedModel, offers: Capabilities, ignored: tuple[str, ...]
) -> Configured:
    """Return the reply to a ``config`` frame: the values now in force."""
    return Configured(
        model=config.model,
        model_variant=config.variant,
        active_model=model.name,
        sample_rate=config.sample_rate,
        channels=config.channels,
        audio_format=config.audio_format,
        chunk_duration=config.chunk_duration,
        overlap_duration=config.overlap_duration,
        language=config.language,
        enable_partial=config.enable_partial,
        partial_interval=config.partial_interval,
        min_partial_duration=config.min_partial_duration,
        word_timestamps=config.word_timestamps and model.requirements.has_word_times,
        diarization=config.diarization is not None and offers.diarization is None,
        insights=config.insights is not None and offers.insights(config.insights) is None,
        ignored=ignored,
        resumable=config.resumable or UNSET,
    )


def build_warnings(
    config: StreamConfig, model: OpenedModel, offers: Capabilities, *, announce: bool
) -> Iterator[frames.Warning]:
    """Yield a warning for each thing that was asked for and is not to be had.

    Args:
        config: What was asked for.
        model: What is there.
        offers: What else is there.
        announce: Whether the model is new to the client.
    """
    if announce and model.fallback_reason:
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
    if config.diarization and offers.diarization:
        yield frames.Warning(code="diarization_unavailable", message=offers.diarization.message)
    if config.diarization and config.diarization.store_audio and offers.storage:
        yield frames.Warning(code="audio_persistence_unavailable", message=offers.storage.message)
    if config.insights and (missing := offers.insights(config.insights)):
        yield frames.Warning(code="insights_unavailable", message=missing.message)
    if problems := " ".join(_ignored_vocabulary(config.vocabulary, model)):
        yield frames.Warning(code="vocabulary_unavailable", message=problems)
    if config.word_timestamps and not model.requirements.has_word_times:
        yield frames.Warning(
            code="word_timestamps_unavailable", message=f"{model.name} gives no times of words."
        )


def _ignored_vocabulary(vocabulary: Vocabulary, model: OpenedModel) -> Iterator[str]:
    """Yield what of the session's own vocabulary cannot be heeded, in sentences."""
    able = model.requirements.hotword_support == "boost" or (
        model.requirements.hotword_support == "prompt" and vocabulary.prompt
    )
    if vocabulary.session.terms and not able:
        yield f"{model.name} cannot listen for terms; replacements are made with any model."
    if vocabulary.session.replacements and not vocabulary.replacements:
        yield "Replacements are switched off on this server."


def build_diarization_warning() -> frames.Warning:
    """Return the warning that speakers are not told apart for a while."""
    message = (
        "Who speaks was not known in time several times in a row, so the words go on without speakers; "
        "it is tried again after a while."
    )
    return frames.Warning(code="diarization_unavailable", message=message)


def build_storage_warning() -> frames.Warning:
    """Return the warning that audio is stored no more."""
    message = "The audio could not be stored; what is there of it ends early."
    return frames.Warning(code="audio_persistence_unavailable", message=message)


def _knows_language(model: OpenedModel, language: str) -> bool:
    known = language.lower().replace("_", "-").partition("-")[0] in model.languages
    return known or not model.languages
