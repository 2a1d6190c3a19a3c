"""Evaluates models: streams recordings to a server and decodes them offline for comparison."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoic.client import ReceivedFrame, ServerError, Stream, connect
from echoic.client.pacing import pace_audio
from echoic.engines.registry import Registry
from echoic.errors import ModelUnavailable
from echoic.evaluate.diarization import (
    DiarizationErrors,
    InvalidReferenceFile,
    apply_corrections,
    can_measure_diarization,
    clip_turns,
    measure_diarization,
    read_rttm,
    turns_from_finals,
)
from echoic.evaluate.manifest import InvalidRow, ManifestEntry
from echoic.evaluate.metrics import (
    EvaluationScore,
    collect_delivered_words,
    measure_latencies,
    score_recording,
)
from echoic.evaluate.normalize import TextNormalizer
from echoic.evaluate.offline import SAMPLE_RATE, OfflineTranscript, find_utterances, transcribe_offline
from echoic.interfaces.engine import DecodeOptions, Engine
from echoic.interfaces.vad import VoiceActivityDetector
from echoic.media import UnreadableAudio, read_audio
from echoic.protocol.frames import DiarizationSummary, Error, Final
from echoic.protocol.frames import Warning as WarningFrame
from echoic.scheduling.threads import Failure, attempt_call
from echoic.session.config import StreamConfig, parse_config

#: Seconds of audio in a message: at the pace of speech as from a microphone, otherwise a quick size.
_REAL_TIME_PIECE_SECONDS, _FAST_PIECE_SECONDS = 0.1, 0.5
#: Utterances in the last seconds of a recording have no latency: the end of the stream delivers them at once.
_TAIL_SECONDS = 2.0
_NOT_DONE_MESSAGE = "Skipped: the model or the server is unavailable."
#: Error codes after which the remaining recordings are skipped as well.
_FATAL_CODES = frozenset({"model_unavailable", "unreachable", "untrusted", "unauthorized", "forbidden"})


@dataclass(frozen=True, slots=True)
class EvalTarget:
    """A server to stream to, and the local parts for decoding offline."""

    #: URL of the stream endpoint.
    address: str
    #: Creates the voice activity detector that finds utterances.
    build_detector: Callable[[], VoiceActivityDetector]
    #: Models for decoding offline. If None, nothing is decoded offline.
    registry: Registry | None

    def find_engine(self, name: str) -> Engine | None:
        """Return the local engine of a model, or None if it is unavailable or not wanted."""
        if self.registry is None:
            return None
        try:
            return self.registry.load_engine(name)
        except (ModelUnavailable, KeyError):
            return None


@dataclass(frozen=True, slots=True)
class EvalConfig:
    """Options of the evaluation of one model."""

    #: Keys of the ``config`` frame, the same for all recordings.
    stream_config: Mapping[str, object]
    normalizer: TextNormalizer
    api_key: str | None = field(default=None, repr=False)
    #: Stream at the pace of speech.
    real_time: bool = False
    #: Add each recording's rare words to its vocabulary.
    bias_rare_words: bool = False


@dataclass(slots=True)
class RecordingResult:
    """The outcome of one row of the manifest."""

    source: ManifestEntry | InvalidRow
    #: Id of the model that transcribed; empty if none did.
    model: str = ""
    #: Sentences about failures; empty if there was none.
    error: str = ""
    audio_seconds: float = 0.0
    #: Score of the stream; None if it failed.
    streamed_score: EvaluationScore | None = None
    #: Score of decoding offline; None if that failed or was not wanted.
    offline_score: EvaluationScore | None = None
    streamed_text: str = ""
    offline_text: str | None = None


@dataclass(slots=True)
class StreamResult:
    """The frames of one stream."""

    model: str = ""
    elapsed_seconds: float = 0.0
    finals: list[Final] = field(default_factory=list)
    #: For each final, the time of its arrival in seconds of audio.
    arrival_times: list[float] = field(default_factory=list)
    summaries: list[DiarizationSummary] = field(default_factory=list)
    #: Messages of error frames.
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ModelResult:
    """The outcome of one model."""

    #: The requested model. None means the server's default.
    requested_model: str | None
    #: One result per row of the manifest, in order; fewer after an interruption.
    recordings: list[RecordingResult] = field(default_factory=list)
    #: Why the evaluation ended early, as a sentence; empty if it did not.
    problem: str = ""
    #: Whether Ctrl-C ended the evaluation.
    is_interrupted: bool = False

    @property
    def name(self) -> str:
        """The id of the model that transcribed, or else the requested one."""
        return next((row.model for row in self.recordings if row.model), self.requested_model or "")

    @property
    def streamed_score(self) -> EvaluationScore:
        """The total of all streams."""
        return _add_scores(row.streamed_score for row in self.recordings)

    @property
    def offline_score(self) -> EvaluationScore:
        """The total of all recordings decoded offline."""
        return _add_scores(row.offline_score for row in self.recordings)

    @property
    def completed_count(self) -> str:
        """The number of transcribed recordings, as "3 of 4"."""
        return f"{self.streamed_score.recording_count} of {len(self.recordings)}"

    @property
    def has_failed(self) -> bool:
        """Whether any recording failed or the evaluation ended early."""
        return bool(self.problem) or any(row.error for row in self.recordings)


def _add_scores(scores: Iterable[EvaluationScore | None]) -> EvaluationScore:
    return reduce(add, [score for score in scores if score], EvaluationScore())


def evaluate_model(
    eval_config: EvalConfig,
    target: EvalTarget,
    sources: Sequence[ManifestEntry | InvalidRow],
    on_frame: Callable[[ReceivedFrame], None],
    on_done: Callable[[], None],
) -> ModelResult:
    """Evaluate one model on all rows of a manifest.

    If the model or the server is unavailable, the remaining rows are marked as skipped.

    Args:
        eval_config: The model and the options.
        target: Where to stream to and what to decode offline with.
        sources: The rows of the manifest.
        on_frame: Called with each frame that is no final, summary or error, such as warnings.
        on_done: Called after each row.
    """
    requested = eval_config.stream_config.get("model")
    result = ModelResult(requested if isinstance(requested, str) else None)
    try:
        for source in sources:
            result.recordings.append(_evaluate_recording(eval_config, target, source, on_frame))
            on_done()
    except ServerError as error:
        result.problem = str(error)
        result.recordings += [
            RecordingResult(
                remaining, error=remaining.reason if isinstance(remaining, InvalidRow) else _NOT_DONE_MESSAGE
            )
            for remaining in sources[len(result.recordings) :]
        ]
    except KeyboardInterrupt:
        result.is_interrupted = True
    return result


def _evaluate_recording(
    eval_config: EvalConfig,
    target: EvalTarget,
    source: ManifestEntry | InvalidRow,
    on_frame: Callable[[ReceivedFrame], None],
) -> RecordingResult:
    """Return the result of one row; its failures are recorded in the result.

    Raises:
        ServerError: The server or the model is unavailable for all recordings.
    """
    row = RecordingResult(source)
    if isinstance(source, InvalidRow):
        row.error = source.reason
        return row
    try:
        audio = _read_recording(source)
        streamed = asyncio.run(_stream_recording(eval_config, target.address, source, audio, on_frame))
    except (ServerError, UnreadableAudio) as error:
        if isinstance(error, ServerError) and error.code in _FATAL_CODES:
            raise
        row.error = str(error)
        return row
    row.audio_seconds, row.model = len(audio) / SAMPLE_RATE, streamed.model
    row.streamed_text = " ".join(final.text for final in streamed.finals)
    offline = _decode_offline(eval_config, target, source, audio, row)
    row.streamed_score = _score_stream(eval_config, source, row, streamed, offline)
    try:
        live, corrected = score_speakers(target, source, audio, streamed)
        row.streamed_score = replace(row.streamed_score, live_diarization=live, final_diarization=corrected)
    except InvalidReferenceFile as error:
        streamed.problems.append(str(error))
    row.error = " ".join([*streamed.problems, row.error]).strip()
    return row


def _score_stream(
    eval_config: EvalConfig,
    entry: ManifestEntry,
    row: RecordingResult,
    streamed: StreamResult,
    offline: OfflineTranscript | None,
) -> EvaluationScore:
    texts = [final.text for final in streamed.finals]
    score = score_recording(
        entry, texts, eval_config.normalizer, row.audio_seconds, streamed.elapsed_seconds, row.offline_text
    )
    if offline is None:
        return score
    words = collect_delivered_words(zip(texts, streamed.arrival_times, strict=True))
    last = row.audio_seconds - _TAIL_SECONDS
    utterances = [utterance for utterance in offline.utterances if utterance.end <= last]
    return replace(score, latencies=tuple(measure_latencies(utterances, words)))


def _read_recording(entry: ManifestEntry) -> NDArray[np.float32]:
    """Return the samples of a recording, cut to the entry's offset and duration."""
    audio = np.concatenate([*read_audio(entry.path, SAMPLE_RATE), np.zeros(0, np.float32)])
    start = round(entry.offset * SAMPLE_RATE)
    end = len(audio) if entry.duration is None else start + round(entry.duration * SAMPLE_RATE)
    if start and start >= len(audio):
        raise UnreadableAudio(f"{entry.path} is shorter than the offset.")
    return audio[start:end]


async def _stream_recording(
    eval_config: EvalConfig,
    address: str,
    entry: ManifestEntry,
    audio: NDArray[np.float32],
    on_frame: Callable[[ReceivedFrame], None],
) -> StreamResult:
    result = StreamResult()
    config = _build_stream_config(eval_config, entry)
    async with connect(address, key=eval_config.api_key, retry_seconds=0.0, **config) as stream:
        began = time.perf_counter()
        sending = asyncio.create_task(_send_audio(stream, audio, real_time=eval_config.real_time))
        try:
            async for frame in stream:
                elapsed = time.perf_counter() - began if eval_config.real_time else None
                if not _record_frame(frame, result, elapsed):
                    _check_fallback(frame, config)
                    on_frame(frame)
        finally:
            sending.cancel()
            await asyncio.wait([sending])
        if not sending.cancelled():
            sending.result()
    result.model = stream.configured.active_model
    result.elapsed_seconds = time.perf_counter() - began
    return result


async def _send_audio(stream: Stream, audio: NDArray[np.float32], *, real_time: bool) -> None:
    size = round((_REAL_TIME_PIECE_SECONDS if real_time else _FAST_PIECE_SECONDS) * SAMPLE_RATE)
    pieces = (audio[start : start + size] for start in range(0, len(audio), size))
    try:
        with suppress(ServerError):  # reading the stream raises the same error
            async for piece in pace_audio(pieces, SAMPLE_RATE, 1.0 if real_time else None):
                await stream.send(piece)
            await stream.stop()
    finally:
        await stream.close()  # ends the reading if sending failed


def _record_frame(frame: ReceivedFrame, result: StreamResult, elapsed_seconds: float | None) -> bool:
    """Add a final, summary or error to the result; return False for other frames.

    Args:
        frame: The frame.
        result: Collects the frames.
        elapsed_seconds: Time since streaming began. If None, the end of the segment is taken as arrival time.
    """
    match frame:
        case Final():
            result.finals.append(frame)
            result.arrival_times.append(frame.segment_end if elapsed_seconds is None else elapsed_seconds)
        case DiarizationSummary():
            result.summaries.append(frame)
        case Error(message=message):
            result.problems.append(message)
        case _:
            return False
    return True


def _check_fallback(frame: ReceivedFrame, config: Mapping[str, object]) -> None:
    """Refuse to measure another model than the requested one.

    Raises:
        ServerError: The server fell back to another model.
    """
    if isinstance(frame, WarningFrame) and frame.code == "model_fallback" and "model" in config:
        raise ServerError(
            "model_unavailable", f"{frame.message} The evaluation measures only the requested model."
        )


def _build_stream_config(eval_config: EvalConfig, entry: ManifestEntry) -> dict[str, object]:
    config = dict(eval_config.stream_config)
    if entry.language:
        config["language"] = entry.language
    if eval_config.bias_rare_words and entry.rare_words:
        given = config.get("vocabulary")
        vocabulary = dict(given) if isinstance(given, dict) else {}
        config["vocabulary"] = {**vocabulary, "terms": [*vocabulary.get("terms", ()), *entry.rare_words]}
    return config


def _decode_offline(
    eval_config: EvalConfig,
    target: EvalTarget,
    entry: ManifestEntry,
    audio: NDArray[np.float32],
    row: RecordingResult,
) -> OfflineTranscript | None:
    """Decode a recording without streaming and add text and score to the row."""
    engine = target.find_engine(row.model)
    if engine is None:
        return None
    config, _ = parse_config(_build_stream_config(eval_config, entry), StreamConfig())
    vocabulary = config.vocabulary
    options = DecodeOptions(config.language, vocabulary.hotwords, vocabulary.prompt)
    began = time.perf_counter()
    decoded = attempt_call(lambda: transcribe_offline(engine, target.build_detector, audio, options))
    elapsed = time.perf_counter() - began
    if isinstance(decoded, Failure):
        if not isinstance(decoded.error, Exception):
            raise decoded.error
        row.error = "Decoding offline failed."
        return None
    transcript = OfflineTranscript(
        tuple(
            replace(utterance, text=vocabulary.replacements.replace_text(utterance.text))
            for utterance in decoded.utterances
        )
    )
    row.offline_text = transcript.text
    row.offline_score = score_recording(
        entry, [transcript.text], eval_config.normalizer, row.audio_seconds, elapsed
    )
    return transcript


def score_speakers(
    target: EvalTarget, entry: ManifestEntry, audio: NDArray[np.float32], result: StreamResult
) -> tuple[DiarizationErrors | None, DiarizationErrors | None]:
    """Return the diarization errors of the live finals and of the finals corrected by the summary.

    Both are None without a reference, without a summary or without pyannote.metrics.
    """
    if entry.rttm_path is None or not result.summaries or not can_measure_diarization():
        return None, None
    seconds = len(audio) / SAMPLE_RATE
    turns = clip_turns(read_rttm(entry.rttm_path), entry.offset, seconds)
    utterances = find_utterances(target.build_detector, audio, seconds)
    speech = [
        (utterance.start / SAMPLE_RATE, (utterance.end or len(audio)) / SAMPLE_RATE)
        for utterance in utterances
    ]
    corrected = result.finals
    for summary in result.summaries:
        corrected = apply_corrections(corrected, summary)
    live_errors, corrected_errors = (
        measure_diarization(turns, turns_from_finals(finals, speech), seconds)
        for finals in (result.finals, corrected)
    )
    return live_errors, corrected_errors


def render_source_name(source: ManifestEntry | InvalidRow, folder: Path) -> str:
    """Return the name of a row in tables: its path relative to the manifest's folder, or its line."""
    if isinstance(source, InvalidRow):
        return f"line {source.line_number}"
    try:
        return str(source.path.relative_to(folder))
    except ValueError:
        return str(source.path)
