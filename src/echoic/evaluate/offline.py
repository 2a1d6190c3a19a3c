"""The reference that a stream is measured against: the same model, given what it can hear at once, once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from echoic.audio.speech import SpeechRules, SpeechTracker
from echoic.evaluate.lateness import Passage
from echoic.session.reading import words_of
from echoic.session.window import DecodeOptions, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from echoic.audio.speech import Utterance, VoiceActivity
    from echoic.engines.base import Engine
    from echoic.session.reading import Spoken

#: Samples per second of the audio; what every engine and the voice detector want.
RATE = 16_000
#: What is asked of a decode unless something else is.
NOTHING_ASKED = DecodeOptions()
#: Seconds that an engine with a state of its own is given at once; its encoder's cost grows with the square.
LONGEST = 60.0


@dataclass(frozen=True, slots=True)
class Offline:
    """What a model says of a whole recording.

    Attributes:
        passages: Its utterances, with their words, in order.
    """

    passages: tuple[Passage, ...]

    @property
    def text(self) -> str:
        """Everything."""
        return " ".join(passage.text for passage in self.passages if passage.text)


def offline(
    engine: Engine,
    voice: Callable[[], VoiceActivity],
    audio: NDArray[np.float32],
    options: DecodeOptions = NOTHING_ASKED,
) -> Offline:
    """Decode a recording without streaming it.

    An engine that decodes utterances is given each once, whole, as the session's own tracker makes them out;
    one that carries a state is given as many in a row as fit into a minute.

    Args:
        engine: Decodes.
        voice: Makes the detector that finds the utterances.
        audio: float32, shape ``(n,)``, mono, 16 kHz, -1..1.
        options: What is asked of every decode.
    """
    found = utterances(voice, audio, engine.needs.longest)
    most = LONGEST if engine.needs.reading == "carried" else 0.0
    passages: list[Passage] = []
    for group in _groups(found, round(most * RATE)):
        start, end = group[0].start, group[-1].end or len(audio)
        words = decode(engine, audio[start:end], start / RATE, options)
        passages += _passages(group, words, len(audio))
    return Offline(tuple(passages))


def utterances(
    voice: Callable[[], VoiceActivity], audio: NDArray[np.float32], longest: float
) -> tuple[Utterance, ...]:
    """Return where somebody speaks, as the session hears it, in samples."""
    tracker = SpeechTracker(voice(), SpeechRules(longest=longest))
    tracker.push(audio)
    tracker.close()
    return tracker.utterances


def whole_window(
    audio: NDArray[np.float32], begins: float = 0.0, options: DecodeOptions = NOTHING_ASKED
) -> Window:
    """Return a piece of audio as one window, all that there is."""
    return Window(audio, RATE, begins, left=0, new=len(audio), right=0, last=True, options=options)


def decode(
    engine: Engine, audio: NDArray[np.float32], begins: float = 0.0, options: DecodeOptions = NOTHING_ASKED
) -> list[Spoken]:
    """Return the words of a piece of audio by itself; it begins at the second ``begins``."""
    [hypothesis] = engine.decode([whole_window(audio, begins, options)])
    return words_of((*hypothesis.committed, *hypothesis.volatile), begins)


def _groups(found: Sequence[Utterance], most: int) -> Iterator[list[Utterance]]:
    group: list[Utterance] = []
    for one in found:
        if group and (one.end or 0) - group[0].start > most:
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _passages(group: Sequence[Utterance], words: Sequence[Spoken], heard: int) -> Iterator[Passage]:
    """Yield the utterances with the words that begin in them, or after them and before the next."""
    spoken: list[list[str]] = [[] for _ in group]
    at = 0
    for word in words:
        while word.start is not None and at + 1 < len(group) and group[at + 1].start / RATE <= word.start:
            at += 1
        spoken[at].append(word.word)
    for one, texts in zip(group, spoken, strict=True):
        yield Passage(one.start / RATE, (heard if one.end is None else one.end) / RATE, " ".join(texts))
