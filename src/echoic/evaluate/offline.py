"""Decodes whole recordings without streaming, the reference that streams are measured against."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoic.audio.vad import Utterance, UtteranceDetector, VadConfig
from echoic.evaluate.metrics import ReferenceUtterance
from echoic.interfaces.engine import DecodeOptions, Engine, Window
from echoic.interfaces.vad import VoiceActivityDetector
from echoic.session.decoding.strategy import TimedWord, group_words

#: Sample rate of the audio, that of every engine and of the voice activity detector.
SAMPLE_RATE = 16_000
#: Options of a decode by default.
DEFAULT_DECODE_OPTIONS = DecodeOptions()
#: Longest window of a stateful engine in seconds; the cost of its encoder grows with the square.
MAX_GROUP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class OfflineTranscript:
    """The transcript of a whole recording."""

    #: Utterances with their text, in order.
    utterances: tuple[ReferenceUtterance, ...]

    @property
    def text(self) -> str:
        """The text of all utterances."""
        return " ".join(utterance.text for utterance in self.utterances if utterance.text)


def transcribe_offline(
    engine: Engine,
    build_detector: Callable[[], VoiceActivityDetector],
    audio: NDArray[np.float32],
    options: DecodeOptions = DEFAULT_DECODE_OPTIONS,
) -> OfflineTranscript:
    """Decode a recording without streaming.

    The utterances are those that a session would detect. A stateful engine decodes as many in a row as fit
    into a minute; other engines decode each one by itself.

    Args:
        engine: The engine.
        build_detector: Creates the voice activity detector that finds the utterances.
        audio: float32, shape ``(n,)``, mono, 16 kHz, -1..1.
        options: Options of every decode.
    """
    utterances = find_utterances(build_detector, audio, engine.requirements.max_window_seconds)
    max_seconds = MAX_GROUP_SECONDS if engine.requirements.strategy == "stateful" else 0.0
    decoded: list[ReferenceUtterance] = []
    for group in _group_utterances(utterances, round(max_seconds * SAMPLE_RATE)):
        start, end = group[0].start, group[-1].end or len(audio)
        words = decode_audio(engine, audio[start:end], start / SAMPLE_RATE, options)
        decoded += _to_reference_utterances(group, words, len(audio))
    return OfflineTranscript(tuple(decoded))


def find_utterances(
    build_detector: Callable[[], VoiceActivityDetector], audio: NDArray[np.float32], max_seconds: float
) -> tuple[Utterance, ...]:
    """Return the utterances that a session would detect, in samples."""
    detector = UtteranceDetector(build_detector(), VadConfig(max_seconds=max_seconds))
    detector.push(audio)
    detector.close_utterance()
    return detector.utterances


def build_whole_window(
    audio: NDArray[np.float32], start_seconds: float = 0.0, options: DecodeOptions = DEFAULT_DECODE_OPTIONS
) -> Window:
    """Return a window with all of the audio and no context."""
    return Window(
        audio,
        SAMPLE_RATE,
        start_seconds,
        left_context=0,
        new_samples=len(audio),
        right_context=0,
        is_last=True,
        options=options,
    )


def decode_audio(
    engine: Engine,
    audio: NDArray[np.float32],
    start_seconds: float = 0.0,
    options: DecodeOptions = DEFAULT_DECODE_OPTIONS,
) -> list[TimedWord]:
    """Decode audio as one window that begins at ``start_seconds``, and return its words."""
    [hypothesis] = engine.decode([build_whole_window(audio, start_seconds, options)])
    return group_words((*hypothesis.committed, *hypothesis.volatile), start_seconds)


def _group_utterances(utterances: Sequence[Utterance], max_samples: int) -> Iterator[list[Utterance]]:
    group: list[Utterance] = []
    for utterance in utterances:
        if group and (utterance.end or 0) - group[0].start > max_samples:
            yield group
            group = []
        group.append(utterance)
    if group:
        yield group


def _to_reference_utterances(
    group: Sequence[Utterance], words: Sequence[TimedWord], audio_samples: int
) -> Iterator[ReferenceUtterance]:
    """Yield the utterances with the words that begin in them or before the next one."""
    words_by_utterance: list[list[str]] = [[] for _ in group]
    index = 0
    for word in words:
        while (
            word.start is not None
            and index + 1 < len(group)
            and group[index + 1].start / SAMPLE_RATE <= word.start
        ):
            index += 1
        words_by_utterance[index].append(word.text)
    for utterance, texts in zip(group, words_by_utterance, strict=True):
        yield ReferenceUtterance(
            utterance.start / SAMPLE_RATE,
            (audio_samples if utterance.end is None else utterance.end) / SAMPLE_RATE,
            " ".join(texts),
        )
