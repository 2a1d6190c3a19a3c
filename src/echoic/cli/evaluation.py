"""One model and the recordings of a manifest: each is streamed, and decoded without streaming beside it."""

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

from echoic.cli.evaluation_place import Place
from echoic.cli.notices import Notices
from echoic.cli.options import complain
from echoic.cli.talk import Talk, converse
from echoic.client import Received, ServerError
from echoic.client.pacing import paced
from echoic.evaluate.lateness import after_passages, said
from echoic.evaluate.manifest import BadRow, Entry
from echoic.evaluate.normal import Normaliser
from echoic.evaluate.offline import RATE, Offline, offline, utterances
from echoic.evaluate.rttm import BadReference, read_rttm
from echoic.evaluate.score import Score, score
from echoic.evaluate.speakers import SpeakerErrors, can_measure, corrected, part_of, speaker_errors, turns_of
from echoic.media import UnreadableAudio, read_audio
from echoic.schedule.worker import Raised, attempt
from echoic.session.config import StreamConfig, read_config
from echoic.session.window import DecodeOptions
from echoic.wire.frames import DiarizationSummary, Error, Final, Warning  # noqa: A004  # the protocol's word

#: Seconds of audio in a message: in real time as from a microphone, else what is quick.
_PIECE, _LARGE_PIECE = 0.1, 0.5
#: Seconds at a recording's end whose utterances do not count as delayed: its end delivers them at once.
_ENDING = 2.0
_UNDONE = "Not done: the model or the server cannot be had."
#: What keeps every recording from being transcribed, not only this one.
_HOPELESS = frozenset({"model_unavailable", "unreachable", "untrusted", "unauthorized", "forbidden"})


@dataclass(frozen=True, slots=True)
class Course:
    """How one model is evaluated.

    Attributes:
        config: Keys of the ``config`` frame that are the same for all recordings.
        normaliser: What is made of texts before they are compared.
        key: The server's key.
        real_time: Whether recordings are streamed at the pace of speech.
        boost: Whether each recording's rare words are terms of its vocabulary.
    """

    config: Mapping[str, object]
    normaliser: Normaliser
    key: str | None = field(default=None, repr=False)
    real_time: bool = False
    boost: bool = False


@dataclass(slots=True)
class Row:
    """What came of one row of the manifest.

    Attributes:
        source: The row.
        model: The id of the model that answered; empty: none did.
        error: Why it failed, in sentences; empty: it did not.
        seconds: Length of the recording.
        streamed: Figures of the stream; None: it failed.
        whole: Figures without streaming; None: there are none.
        streamed_text: What was said in the stream.
        whole_text: What was said without.
    """

    source: Entry | BadRow
    model: str = ""
    error: str = ""
    seconds: float = 0.0
    streamed: Score | None = None
    whole: Score | None = None
    streamed_text: str = ""
    whole_text: str | None = None


@dataclass(slots=True)
class Heard:
    """What came of a stream; ``came[i]`` is the second of audio at which ``finals[i]`` was there."""

    model: str = ""
    spent: float = 0.0
    finals: list[Final] = field(default_factory=list)
    came: list[float] = field(default_factory=list)
    summaries: list[DiarizationSummary] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Study:
    """What came of a model.

    Attributes:
        asked: The model that was asked for, or None: whichever the server gives.
        rows: What came of each row of the manifest, in order; fewer if it was interrupted.
        problem: Why it ended early, in a sentence; empty: it did not.
        interrupted: Ctrl-C ended it.
    """

    asked: str | None
    rows: list[Row] = field(default_factory=list)
    problem: str = ""
    interrupted: bool = False

    @property
    def name(self) -> str:
        """The id of the model that answered, else what was asked for."""
        return next((row.model for row in self.rows if row.model), self.asked or "")

    @property
    def streamed(self) -> Score:
        """The sum of all streams."""
        return reduce(add, [row.streamed for row in self.rows if row.streamed], Score())

    @property
    def whole(self) -> Score:
        """The sum of what was decoded without streaming."""
        return reduce(add, [row.whole for row in self.rows if row.whole], Score())

    @property
    def done(self) -> str:
        """How many recordings of all were transcribed."""
        return f"{self.streamed.recordings} of {len(self.rows)}"

    @property
    def failed(self) -> bool:
        """Whether anything went wrong."""
        return bool(self.problem) or any(row.error for row in self.rows)


def study(course: Course, place: Place, sources: Sequence[Entry | BadRow]) -> Study:
    """Return what came of all rows; a model or server that cannot be had ends it with the rest undone."""
    asked = course.config.get("model")
    found, notices = Study(asked if isinstance(asked, str) else None), Notices(dict(course.config))
    try:
        with _progress(len(sources), found.name) as advance:
            for source in sources:
                found.rows.append(_evaluate(course, place, source, notices))
                advance()
    except ServerError as error:
        found.problem = str(error)
        undone = sources[len(found.rows) :]
        found.rows += [Row(one, error=one.reason if isinstance(one, BadRow) else _UNDONE) for one in undone]
    except KeyboardInterrupt:
        found.interrupted = True
    return found


@contextmanager
def _progress(rows: int, name: str) -> Iterator[Callable[[], None]]:
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


def _evaluate(course: Course, place: Place, source: Entry | BadRow, notices: Notices) -> Row:
    """Return what came of a row; what goes wrong with it is in the row.

    Raises:
        ServerError: The server or the model cannot be had at all.
    """
    row = Row(source)
    if isinstance(source, BadRow):
        row.error = source.reason
        return row
    try:
        audio = _audio(source)
        heard = asyncio.run(_stream(course, place.address, source, audio, notices))
    except ServerError as error:
        if error.code in _HOPELESS:
            raise
        row.error = str(error)
        return row
    except UnreadableAudio as error:
        row.error = str(error)
        return row
    row.seconds, row.model = len(audio) / RATE, heard.model
    whole = _offline(course, place, source, audio, row)
    texts = [final.text for final in heard.finals]
    row.streamed_text = " ".join(texts)
    figures = score(source, texts, course.normaliser, row.seconds, heard.spent, row.whole_text)
    if whole is not None:
        words = said(zip(texts, heard.came, strict=True))
        passages = [one for one in whole.passages if one.end <= row.seconds - _ENDING]
        figures = replace(figures, late=tuple(after_passages(passages, words)))
    try:
        live, later = speakers_of(place, source, audio, heard)
        figures = replace(figures, live=live, corrected=later)
    except BadReference as error:
        heard.problems.append(str(error))
    row.streamed, row.error = figures, " ".join([*heard.problems, row.error]).strip()
    return row


def _audio(entry: Entry) -> NDArray[np.float32]:
    """Return the samples of a recording, or of the part of it that is meant."""
    audio = np.concatenate([*read_audio(entry.path, RATE), np.zeros(0, np.float32)])
    start = round(entry.offset * RATE)
    end = len(audio) if entry.seconds is None else start + round(entry.seconds * RATE)
    if start and start >= len(audio):
        raise UnreadableAudio(f"{entry.path} is shorter than the offset.")
    return audio[start:end]


async def _stream(
    course: Course, address: str, entry: Entry, audio: NDArray[np.float32], notices: Notices
) -> Heard:
    heard, begun = Heard(), 0.0
    speed = 1.0 if course.real_time else None
    size = round((_PIECE if course.real_time else _LARGE_PIECE) * RATE)

    def pieces() -> Iterator[NDArray[np.float32]]:
        nonlocal begun
        begun = time.perf_counter()
        yield from (audio[at : at + size] for at in range(0, len(audio), size))

    def show(frame: Received) -> None:
        if isinstance(frame, Final):
            heard.finals.append(frame)
            heard.came.append(time.perf_counter() - begun if course.real_time else frame.segment_end)
        elif isinstance(frame, DiarizationSummary):
            heard.summaries.append(frame)
        elif isinstance(frame, Warning) and frame.code == "model_fallback" and "model" in course.config:
            raise ServerError(
                "model_unavailable", f"{frame.message} Its words are not measured for the other's."
            )
        elif isinstance(frame, Error):
            heard.problems.append(frame.message)
        elif (sentence := notices.sentence(frame)) is not None:
            complain(sentence)

    paced_pieces = paced(pieces(), RATE, speed)
    talk = Talk(paced_pieces, show, lambda _: None, key=course.key, config=_config(course, entry))
    heard.model = await converse(address, talk, asyncio.Event())
    heard.spent = time.perf_counter() - begun
    return heard


def _config(course: Course, entry: Entry) -> dict[str, object]:
    config = dict(course.config)
    if entry.language:
        config["language"] = entry.language
    if course.boost and entry.rare_words:
        given = config.get("vocabulary")
        vocabulary = dict(given) if isinstance(given, dict) else {}
        config["vocabulary"] = {**vocabulary, "terms": [*vocabulary.get("terms", ()), *entry.rare_words]}
    return config


def _offline(
    course: Course, place: Place, entry: Entry, audio: NDArray[np.float32], row: Row
) -> Offline | None:
    """Decode a recording without streaming and put its figures into the row."""
    engine = place.engine(row.model)
    if engine is None:
        return None
    config, _ = read_config(_config(course, entry), StreamConfig())
    words = config.vocabulary
    options = DecodeOptions(config.language, words.hotwords, words.prompt)
    begun = time.perf_counter()
    found = attempt(lambda: offline(engine, place.voice, audio, options))
    spent = time.perf_counter() - begun
    if isinstance(found, Raised):
        if not isinstance(found.error, Exception):
            raise found.error
        row.error = "Without streaming it could not be decoded."
        return None
    passages = [replace(one, text=words.replacements.replace_text(one.text)) for one in found.passages]
    found = Offline(tuple(passages))
    row.whole_text = found.text
    row.whole = score(entry, [found.text], course.normaliser, row.seconds, spent)
    return found


def speakers_of(
    place: Place, entry: Entry, audio: NDArray[np.float32], heard: Heard
) -> tuple[SpeakerErrors | None, SpeakerErrors | None]:
    """Return the errors of the speakers as they came, and as the summary has them; None: nobody can tell."""
    if entry.rttm is None or not heard.summaries or not can_measure():
        return None, None
    seconds = len(audio) / RATE
    turns = part_of(read_rttm(entry.rttm), entry.offset, seconds)
    found = utterances(place.voice, audio, seconds)
    speech = [(one.start / RATE, (one.end or len(audio)) / RATE) for one in found]
    later = heard.finals
    for summary in heard.summaries:
        later = corrected(later, summary)
    live, after = (
        speaker_errors(turns, turns_of(finals, speech), seconds) for finals in (heard.finals, later)
    )
    return live, after


def name_of(source: Entry | BadRow, folder: Path) -> str:
    """Return what a row is called in a table: its path as the manifest has it, or its line."""
    if isinstance(source, BadRow):
        return f"line {source.line}"
    try:
        return str(source.path.relative_to(folder))
    except ValueError:
        return str(source.path)
