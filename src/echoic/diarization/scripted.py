"""A diarizer for tests and load: recognizes the words that ``engines.scripted.draw_words`` draws.

The vocabulary is divided among the speakers: the first ``words_per_speaker`` words belong to one voice, the
next to another. Like a real diarizer it can recognize a new speaker late, which ``finalize`` corrects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from echoic.engines.scripted import AMPLITUDE_STEPS, MIN_RUN_SECONDS
from echoic.interfaces.diarizer import (
    DIARIZATION_SAMPLE_RATE,
    DiarizationChunk,
    DiarizationResult,
    SpeakerOptions,
    SpeakerTurn,
)

#: Seconds of silence that end a turn.
TURN_PAUSE_SECONDS = 0.3
#: Turns kept for ``finalize``.
MAX_FINAL_TURNS = 1000


class ScriptedDiarizer:
    """Recognizes speakers by the words that were drawn.

    Args:
        words_per_speaker: Words of the vocabulary per voice.
        new_speaker_delay: Seconds of a new voice that ``diarize`` still assigns to the previous speaker;
            ``finalize`` corrects them.
        hooks: By the number of a voice, functions called when it speaks; they may raise or block.
    """

    def __init__(
        self,
        words_per_speaker: int = 10,
        *,
        new_speaker_delay: float = 0.0,
        hooks: Mapping[int, Callable[[], object]] = MappingProxyType({}),
    ) -> None:
        self._words_per_speaker, self._new_speaker_delay, self._hooks = (
            words_per_speaker,
            new_speaker_delay,
            hooks,
        )

    @property
    def name(self) -> str:
        """``scripted``."""
        return "scripted"

    def diarize(self, chunks: Sequence[DiarizationChunk]) -> list[DiarizationResult]:
        """Return the speaker turns of each chunk.

        Raises:
            Exception: A hook raised it.
        """
        return [self._diarize_chunk(chunk) for chunk in chunks]

    def finalize(self, state: object) -> tuple[SpeakerTurn, ...]:
        """Return all turns, as if each voice had been recognized from its first word."""
        if not isinstance(state, _ScriptedDiarizerState):
            return ()
        ids = {voice: id_ for id_, voice in enumerate(state.known_voices)}
        return _merge_turns(
            replace(turn, speaker=_limit_speaker(ids.setdefault(turn.speaker, len(ids)), state.options))
            for turn in state.voice_turns
        )

    def close(self) -> None:
        """Do nothing: there are no weights."""

    def _diarize_chunk(self, chunk: DiarizationChunk) -> DiarizationResult:
        before = chunk.state if isinstance(chunk.state, _ScriptedDiarizerState) else _ScriptedDiarizerState()
        known, seconds, turns = list(before.known_voices), dict(before.voice_seconds), []
        word_turns = [*self._find_word_turns(chunk)]
        for turn in word_turns:
            self._hooks.get(turn.speaker, _do_nothing)()
            seconds[turn.speaker] = seconds.get(turn.speaker, 0.0) + turn.end - turn.start
            if turn.speaker not in known and (seconds[turn.speaker] >= self._new_speaker_delay or not known):
                known.append(turn.speaker)
            speaker = known.index(turn.speaker) if turn.speaker in known else before.last_speaker
            before = replace(before, last_speaker=speaker)
            turns.append(replace(turn, speaker=_limit_speaker(speaker, chunk.options)))
        after = _ScriptedDiarizerState(
            tuple(known),
            MappingProxyType(seconds),
            before.last_speaker,
            (*before.voice_turns, *word_turns)[-MAX_FINAL_TURNS:],
            chunk.options,
        )
        return DiarizationResult(_merge_turns(turns), after)

    def _find_word_turns(self, chunk: DiarizationChunk) -> Iterable[SpeakerTurn]:
        """Yield a turn per word, with the number of its voice as the speaker."""
        levels = np.rint(np.abs(chunk.audio) * AMPLITUDE_STEPS).astype(np.intp)
        for begin, end in chunk.speech_spans:
            for first, last in _find_level_runs(levels[begin:end]):
                if levels[begin + first] and last - first >= MIN_RUN_SECONDS * DIARIZATION_SAMPLE_RATE:
                    start = chunk.start + (begin + first) / DIARIZATION_SAMPLE_RATE
                    voice = (int(levels[begin + first]) - 1) // self._words_per_speaker
                    yield SpeakerTurn(start, chunk.start + (begin + last) / DIARIZATION_SAMPLE_RATE, voice)


@dataclass(frozen=True, slots=True)
class _ScriptedDiarizerState:
    #: Recognized voices; their index is the speaker id.
    known_voices: tuple[int, ...] = ()
    #: Seconds of speech of each voice.
    voice_seconds: Mapping[int, float] = field(default_factory=dict)
    last_speaker: int = 0
    #: Turns with voices instead of speakers, for ``finalize``.
    voice_turns: tuple[SpeakerTurn, ...] = ()
    options: SpeakerOptions | None = None


def _limit_speaker(speaker: int, options: SpeakerOptions | None) -> int:
    """Return the id, or the highest one that the client allows."""
    limit = (options.count or options.max_count) if options else None
    return speaker if limit is None else min(speaker, limit - 1)


def _merge_turns(turns: Iterable[SpeakerTurn]) -> tuple[SpeakerTurn, ...]:
    """Join turns of one speaker without a pause between them."""
    joined: list[SpeakerTurn] = []
    for turn in turns:
        if joined and joined[-1].speaker == turn.speaker and turn.start - joined[-1].end < TURN_PAUSE_SECONDS:
            joined[-1] = replace(joined[-1], end=turn.end)
        else:
            joined.append(turn)
    return tuple(joined)


def _find_level_runs(levels: NDArray[np.intp]) -> Iterable[tuple[int, int]]:
    edges = [0, *(np.flatnonzero(np.diff(levels)) + 1).tolist(), levels.size]
    return [(start, end) for start, end in pairwise(edges) if end > start]


def _do_nothing() -> None:
    pass
