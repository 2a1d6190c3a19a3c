"""A diarizer that tells speakers by what ``engines.scripted.draw`` drew: for tests and for load.

The vocabulary is shared out among the speakers: the first ``words_each`` words are said by one voice, the
next by another. Like a real one it says too late who it was if it is told to, and its review corrects that.
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

#: Seconds without speech that end a turn.
TURN_PAUSE_SECONDS = 0.3
#: Turns that a review remembers.
MAX_FINAL_TURNS = 1000


class ScriptedDiarizer:
    """Says whose words were drawn.

    Args:
        words_per_speaker: How many words of the vocabulary are one voice's.
        new_speaker_delay: Seconds of its words that a voice must have said before ``diarize`` takes it for a new speaker
            rather than the one before; ``finalize`` knows better.
        hooks: Called by the voice's number (0: that of the first words) when it is heard; may raise or block.
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
        """Return whose words were drawn into each piece.

        Raises:
            Exception: Whatever a hook raises.
        """
        return [self._diarize_chunk(sound) for sound in chunks]

    def finalize(self, state: object) -> tuple[SpeakerTurn, ...]:
        """Return who spoke, as if each voice had been known from its first word."""
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
        heard = [*self._find_word_turns(chunk)]
        for turn in heard:
            self._hooks.get(turn.speaker, _do_nothing)()
            seconds[turn.speaker] = seconds.get(turn.speaker, 0.0) + turn.end - turn.start
            if turn.speaker not in known and (seconds[turn.speaker] >= self._new_speaker_delay or not known):
                known.append(turn.speaker)
            new = known.index(turn.speaker) if turn.speaker in known else before.last_speaker
            before = replace(before, last_speaker=new)
            turns.append(replace(turn, speaker=_limit_speaker(new, chunk.options)))
        after = _ScriptedDiarizerState(
            tuple(known),
            MappingProxyType(seconds),
            before.last_speaker,
            (*before.voice_turns, *heard)[-MAX_FINAL_TURNS:],
            chunk.options,
        )
        return DiarizationResult(_merge_turns(turns), after)

    def _find_word_turns(self, chunk: DiarizationChunk) -> Iterable[SpeakerTurn]:
        """Yield the words' places, each with the number of its voice as the speaker."""
        levels = np.rint(np.abs(chunk.audio) * AMPLITUDE_STEPS).astype(np.intp)
        for begin, end in chunk.speech_spans:
            for first, last in _find_level_runs(levels[begin:end]):
                if levels[begin + first] and last - first >= MIN_RUN_SECONDS * DIARIZATION_SAMPLE_RATE:
                    start = chunk.start + (begin + first) / DIARIZATION_SAMPLE_RATE
                    voice = (int(levels[begin + first]) - 1) // self._words_per_speaker
                    yield SpeakerTurn(start, chunk.start + (begin + last) / DIARIZATION_SAMPLE_RATE, voice)


@dataclass(frozen=True, slots=True)
class _ScriptedDiarizerState:
    """The voices by their ids, seconds heard of each, the last id said, what was heard by voices."""

    known_voices: tuple[int, ...] = ()
    voice_seconds: Mapping[int, float] = field(default_factory=dict)
    last_speaker: int = 0
    voice_turns: tuple[SpeakerTurn, ...] = ()
    options: SpeakerOptions | None = None


def _limit_speaker(speaker: int, options: SpeakerOptions | None) -> int:
    """Return the id, or the last that the client allows."""
    most = (options.count or options.max_count) if options else None
    return speaker if most is None else min(speaker, most - 1)


def _merge_turns(turns: Iterable[SpeakerTurn]) -> tuple[SpeakerTurn, ...]:
    """Return the turns, those of one speaker without a pause between them as one."""
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
