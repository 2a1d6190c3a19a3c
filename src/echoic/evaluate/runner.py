"""Where models are evaluated: a server of one's own or another's, and this machine's models beside it."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from echoic.audio.vad import AlwaysSpeech
from echoic.cli.local import load_local_settings, run_local_server
from echoic.cli.messages import NoticeRenderer
from echoic.cli.options import print_error
from echoic.cli.streaming import StreamRequest, run_stream
from echoic.client import ReceivedFrame, ServerError, resolve_stream_url
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
from echoic.protocol.frames import DiarizationSummary, Error, Final, Warning  # noqa: A004  # the protocol's word
from echoic.scheduling.worker import Failure, attempt_call
from echoic.server.app import build_registry
from echoic.server.build import build_scripted_factory, build_silero_factory
from echoic.server.settings.groups import Settings
from echoic.session.config import StreamConfig, parse_config


@dataclass(frozen=True, slots=True)
class EvalTarget:
    """A server, and what there is without one.

    Attributes:
        address: The URL of the server's stream endpoint.
        build_detector: Makes the detector that says where somebody speaks.
        registry: The models for decoding offline; None: that is not wanted.
    """

    address: str
    build_detector: Callable[[], VoiceActivityDetector]
    registry: Registry | None

    def find_engine(self, name: str) -> Engine | None:
        """Return the engine of a model's id, or None where it cannot be had or is not wanted."""
        if self.registry is None:
            return None
        try:
            return self.registry.load_engine(name)
        except (ModelUnavailable, KeyError):
            return None


@contextmanager
def open_target(url: str | None, config: Path | None, *, offline: bool) -> Iterator[EvalTarget]:
    """Yield the place; a server of one's own and its models are gone after the block.

    Args:
        url: Another's server, or None.
        config: A file with settings, or None.
        offline: Whether models are wanted without a server.

    Raises:
        SettingsError: The file's settings or the environment's cannot be used.
        ValueError: The URL is none.
        RuntimeError: The server for this command did not start.
    """
    settings = load_local_settings(config)
    registry = build_registry(settings).cache_loads()
    beside = registry if offline else None
    if url is not None:
        yield EvalTarget(resolve_stream_url(url), _choose_detector(settings), beside)
        return
    with run_local_server(config, lambda _: registry) as address:
        yield EvalTarget(address, _choose_detector(settings), beside)


def _choose_detector(settings: Settings) -> Callable[[], VoiceActivityDetector]:
    """Return the detector that the server has."""
    return build_scripted_factory() if settings.scripted_engine else build_silero_factory() or AlwaysSpeech


#: Seconds of audio in a message: in real time as from a microphone, else what is quick.
_REAL_TIME_PIECE_SECONDS, _FAST_PIECE_SECONDS = 0.1, 0.5
#: Seconds at a recording's end whose utterances do not count as delayed: its end delivers them at once.
_TAIL_SECONDS = 2.0
_NOT_DONE_MESSAGE = "Not done: the model or the server cannot be had."
#: What keeps every recording from being transcribed, not only this one.
_FATAL_CODES = frozenset({"model_unavailable", "unreachable", "untrusted", "unauthorized", "forbidden"})


@dataclass(frozen=True, slots=True)
class EvalConfig:
    """How one model is evaluated.

    Attributes:
        stream_config: Keys of the ``stream_config`` frame that are the same for all recordings.
        normaliser: What is made of texts before they are compared.
        api_key: The server's key.
        real_time: Whether recordings are streamed at the pace of speech.
        bias_rare_words: Whether each recording's rare words are terms of its vocabulary.
    """

    stream_config: Mapping[str, object]
    normaliser: TextNormalizer
    api_key: str | None = field(default=None, repr=False)
    real_time: bool = False
    bias_rare_words: bool = False


@dataclass(slots=True)
class RecordingResult:
    """What came of one row of the manifest.

    Attributes:
        source: The row.
        model: The id of the model that answered; empty: none did.
        error: Why it failed, in sentences; empty: it did not.
        audio_seconds: Length of the recording.
        streamed_score: Figures of the stream; None: it failed.
        offline_score: Figures without streaming; None: there are none.
        streamed_text: What was said in the stream.
        offline_text: What was said without.
    """

    source: ManifestEntry | InvalidRow
    model: str = ""
    error: str = ""
    audio_seconds: float = 0.0
    streamed_score: EvaluationScore | None = None
    offline_score: EvaluationScore | None = None
    streamed_text: str = ""
    offline_text: str | None = None


@dataclass(slots=True)
class StreamResult:
    """What came of a stream; ``came[i]`` is the second of audio at which ``finals[i]`` was there."""

    model: str = ""
    elapsed_seconds: float = 0.0
    finals: list[Final] = field(default_factory=list)
    arrival_times: list[float] = field(default_factory=list)
    summaries: list[DiarizationSummary] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ModelResult:
    """What came of a model.

    Attributes:
        requested_model: The model that was asked for, or None: whichever the server gives.
        recordings: What came of each row of the manifest, in order; fewer if it was interrupted.
        problem: Why it ended early, in a sentence; empty: it did not.
        is_interrupted: Ctrl-C ended it.
    """

    requested_model: str | None
    recordings: list[RecordingResult] = field(default_factory=list)
    problem: str = ""
    is_interrupted: bool = False

    @property
    def name(self) -> str:
        """The id of the model that answered, else what was asked for."""
        return next((row.model for row in self.recordings if row.model), self.requested_model or "")

    @property
    def streamed_score(self) -> EvaluationScore:
        """The sum of all streams."""
        return reduce(
            add, [row.streamed_score for row in self.recordings if row.streamed_score], EvaluationScore()
        )

    @property
    def offline_score(self) -> EvaluationScore:
        """The sum of what was decoded without streaming."""
        return reduce(
            add, [row.offline_score for row in self.recordings if row.offline_score], EvaluationScore()
        )

    @property
    def completed_count(self) -> str:
        """How many recordings of all were transcribed."""
        return f"{self.streamed_score.recording_count} of {len(self.recordings)}"

    @property
    def has_failed(self) -> bool:
        """Whether anything went wrong."""
        return bool(self.problem) or any(row.error for row in self.recordings)


def evaluate_model(
    eval_config: EvalConfig, target: EvalTarget, sources: Sequence[ManifestEntry | InvalidRow]
) -> ModelResult:
    """Return what came of all rows; a model or server that cannot be had ends it with the rest undone."""
    asked = eval_config.stream_config.get("model")
    found, notices = (
        ModelResult(asked if isinstance(asked, str) else None),
        NoticeRenderer(dict(eval_config.stream_config)),
    )
    try:
        with _show_progress(len(sources), found.name) as advance:
            for source in sources:
                found.recordings.append(_evaluate_recording(eval_config, target, source, notices))
                advance()
    except ServerError as error:
        found.problem = str(error)
        undone = sources[len(found.recordings) :]
        found.recordings += [
            RecordingResult(one, error=one.reason if isinstance(one, InvalidRow) else _NOT_DONE_MESSAGE)
            for one in undone
        ]
    except KeyboardInterrupt:
        found.is_interrupted = True
    return found


@contextmanager
def _show_progress(rows: int, name: str) -> Iterator[Callable[[], None]]:
    """Show a bar on a terminal's stderr; yield what moves it on by a row."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=rows)
        yield lambda: progress.update(task, advance=1)


def _evaluate_recording(
    eval_config: EvalConfig, target: EvalTarget, source: ManifestEntry | InvalidRow, notices: NoticeRenderer
) -> RecordingResult:
    """Return what came of a row; what goes wrong with it is in the row.

    Raises:
        ServerError: The server or the model cannot be had at all.
    """
    row = RecordingResult(source)
    if isinstance(source, InvalidRow):
        row.error = source.reason
        return row
    try:
        audio = _read_recording(source)
        heard = asyncio.run(_stream_recording(eval_config, target.address, source, audio, notices))
    except ServerError as error:
        if error.code in _FATAL_CODES:
            raise
        row.error = str(error)
        return row
    except UnreadableAudio as error:
        row.error = str(error)
        return row
    row.audio_seconds, row.model = len(audio) / SAMPLE_RATE, heard.model
    whole = _decode_offline(eval_config, target, source, audio, row)
    texts = [final.text for final in heard.finals]
    row.streamed_text = " ".join(texts)
    figures = score_recording(
        source, texts, eval_config.normaliser, row.audio_seconds, heard.elapsed_seconds, row.offline_text
    )
    if whole is not None:
        words = collect_delivered_words(zip(texts, heard.arrival_times, strict=True))
        passages = [one for one in whole.utterances if one.end <= row.audio_seconds - _TAIL_SECONDS]
        figures = replace(figures, latencies=tuple(measure_latencies(passages, words)))
    try:
        live, later = score_speakers(target, source, audio, heard)
        figures = replace(figures, live_diarization=live, final_diarization=later)
    except InvalidReferenceFile as error:
        heard.problems.append(str(error))
    row.streamed_score, row.error = figures, " ".join([*heard.problems, row.error]).strip()
    return row


def _read_recording(entry: ManifestEntry) -> NDArray[np.float32]:
    """Return the samples of a recording, or of the part of it that is meant."""
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
    notices: NoticeRenderer,
) -> StreamResult:
    heard, begun = StreamResult(), 0.0
    speed = 1.0 if eval_config.real_time else None
    size = round((_REAL_TIME_PIECE_SECONDS if eval_config.real_time else _FAST_PIECE_SECONDS) * SAMPLE_RATE)

    def pieces() -> Iterator[NDArray[np.float32]]:
        nonlocal begun
        begun = time.perf_counter()
        yield from (audio[at : at + size] for at in range(0, len(audio), size))

    def show(frame: ReceivedFrame) -> None:
        if isinstance(frame, Final):
            heard.finals.append(frame)
            heard.arrival_times.append(
                time.perf_counter() - begun if eval_config.real_time else frame.segment_end
            )
        elif isinstance(frame, DiarizationSummary):
            heard.summaries.append(frame)
        elif (
            isinstance(frame, Warning)
            and frame.code == "model_fallback"
            and "model" in eval_config.stream_config
        ):
            raise ServerError(
                "model_unavailable", f"{frame.message} Its words are not measured for the other's."
            )
        elif isinstance(frame, Error):
            heard.problems.append(frame.message)
        elif (sentence := notices.render_notice(frame)) is not None:
            print_error(sentence)

    paced_pieces = pace_audio(pieces(), SAMPLE_RATE, speed)
    talk = StreamRequest(
        paced_pieces,
        show,
        lambda _: None,
        api_key=eval_config.api_key,
        config=_build_stream_config(eval_config, entry),
    )
    heard.model = await run_stream(address, talk, asyncio.Event())
    heard.elapsed_seconds = time.perf_counter() - begun
    return heard


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
    """Decode a recording without streaming and put its figures into the row."""
    engine = target.find_engine(row.model)
    if engine is None:
        return None
    config, _ = parse_config(_build_stream_config(eval_config, entry), StreamConfig())
    words = config.vocabulary
    options = DecodeOptions(config.language, words.hotwords, words.prompt)
    begun = time.perf_counter()
    found = attempt_call(lambda: transcribe_offline(engine, target.build_detector, audio, options))
    spent = time.perf_counter() - begun
    if isinstance(found, Failure):
        if not isinstance(found.error, Exception):
            raise found.error
        row.error = "Without streaming it could not be decoded."
        return None
    passages = [replace(one, text=words.replacements.replace_text(one.text)) for one in found.utterances]
    found = OfflineTranscript(tuple(passages))
    row.offline_text = found.text
    row.offline_score = score_recording(entry, [found.text], eval_config.normaliser, row.audio_seconds, spent)
    return found


def score_speakers(
    target: EvalTarget, entry: ManifestEntry, audio: NDArray[np.float32], result: StreamResult
) -> tuple[DiarizationErrors | None, DiarizationErrors | None]:
    """Return the errors of the speakers as they came, and as the summary has them; None: nobody can tell."""
    if entry.rttm_path is None or not result.summaries or not can_measure_diarization():
        return None, None
    seconds = len(audio) / SAMPLE_RATE
    turns = clip_turns(read_rttm(entry.rttm_path), entry.offset, seconds)
    found = find_utterances(target.build_detector, audio, seconds)
    speech = [(one.start / SAMPLE_RATE, (one.end or len(audio)) / SAMPLE_RATE) for one in found]
    later = result.finals
    for summary in result.summaries:
        later = apply_corrections(later, summary)
    live, after = (
        measure_diarization(turns, turns_from_finals(finals, speech), seconds)
        for finals in (result.finals, later)
    )
    return live, after


def render_source_name(source: ManifestEntry | InvalidRow, folder: Path) -> str:
    """Return what a row is called in a table: its path as the manifest has it, or its line."""
    if isinstance(source, InvalidRow):
        return f"line {source.line_number}"
    try:
        return str(source.path.relative_to(folder))
    except ValueError:
        return str(source.path)
