"""The reference that a stream is measured against: the same model, given what it can hear at once, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoic.audio.vad import Utterance, UtteranceDetector, VadConfig
from echoic.evaluate.metrics import ReferenceUtterance
from echoic.interfaces.engine import DecodeOptions, Engine, Window
from echoic.interfaces.vad import VoiceActivityDetector
from echoic.session.decoding.strategy import TimedWord, group_words

#: Samples per second of the audio; what every engine and the voice detector want.
SAMPLE_RATE = 16_000
#: What is asked of a decode unless something else is.
DEFAULT_DECODE_OPTIONS = DecodeOptions()
#: Seconds that an engine with a state of its own is given at once; its encoder's cost grows with the square.
MAX_GROUP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class OfflineTranscript:
    """What a model says of a whole recording.

    Attributes:
        utterances: Its utterances, with their words, in order.
    """

    utterances: tuple[ReferenceUtterance, ...]

    @property
    def text(self) -> str:
        """Everything."""
        return " ".join(passage.text for passage in self.utterances if passage.text)


def transcribe_offline(
    engine: Engine,
    build_detector: Callable[[], VoiceActivityDetector],
    audio: NDArray[np.float32],
    options: DecodeOptions = DEFAULT_DECODE_OPTIONS,
) -> OfflineTranscript:
    """Decode a recording without streaming it.

    An engine that decodes utterances is given each once, whole, as the session's own tracker makes them out;
    one that carries a state is given as many in a row as fit into a minute.

    Args:
        engine: Decodes.
        build_detector: Makes the detector that finds the utterances.
        audio: float32, shape ``(n,)``, mono, 16 kHz, -1..1.
        options: What is asked of every decode.
    """
    found = find_utterances(build_detector, audio, engine.requirements.max_window_seconds)
    most = MAX_GROUP_SECONDS if engine.requirements.strategy == "stateful" else 0.0
    passages: list[ReferenceUtterance] = []
    for group in _group_utterances(found, round(most * SAMPLE_RATE)):
        start, end = group[0].start, group[-1].end or len(audio)
        words = decode_audio(engine, audio[start:end], start / SAMPLE_RATE, options)
        passages += _to_reference_utterances(group, words, len(audio))
    return OfflineTranscript(tuple(passages))


def find_utterances(
    build_detector: Callable[[], VoiceActivityDetector], audio: NDArray[np.float32], max_seconds: float
) -> tuple[Utterance, ...]:
    """Return where somebody speaks, as the session hears it, in samples."""
    tracker = UtteranceDetector(build_detector(), VadConfig(max_seconds=max_seconds))
    tracker.push(audio)
    tracker.close_utterance()
    return tracker.utterances


def build_whole_window(
    audio: NDArray[np.float32], start_seconds: float = 0.0, options: DecodeOptions = DEFAULT_DECODE_OPTIONS
) -> Window:
    """Return a piece of audio as one window, all that there is."""
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
    """Return the words of a piece of audio by itself; it begins at the second ``start_seconds``."""
    [hypothesis] = engine.decode([build_whole_window(audio, start_seconds, options)])
    return group_words((*hypothesis.committed, *hypothesis.volatile), start_seconds)


def _group_utterances(utterances: Sequence[Utterance], max_samples: int) -> Iterator[list[Utterance]]:
    group: list[Utterance] = []
    for one in utterances:
        if group and (one.end or 0) - group[0].start > max_samples:
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _to_reference_utterances(
    group: Sequence[Utterance], words: Sequence[TimedWord], audio_samples: int
) -> Iterator[ReferenceUtterance]:
    """Yield the utterances with the words that begin in them, or after them and before the next."""
    spoken: list[list[str]] = [[] for _ in group]
    at = 0
    for word in words:
        while (
            word.start is not None and at + 1 < len(group) and group[at + 1].start / SAMPLE_RATE <= word.start
        ):
            at += 1
        spoken[at].append(word.text)
    for one, texts in zip(group, spoken, strict=True):
        yield ReferenceUtterance(
            one.start / SAMPLE_RATE,
            (audio_samples if one.end is None else one.end) / SAMPLE_RATE,
            " ".join(texts),
        )
