"""Live diarization: windows of speech are grouped as they come, at the same cost in every minute.

The last seconds are heard anew with each piece of sound: a model of turns says which voices speak where in
them, and each is looked at in short windows in which it speaks alone. Their vectors join a bounded number of
groups, which are clustered anew for every piece; a cluster takes the id of the speaker most of it belonged to
before. So a decision that turns out wrong is put right for what follows, and by ``review`` for what was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from echoic.diarization.analysis_window import AnalysisWindow, TimeSpan, build_analysis_window, split_chunk
from echoic.diarization.assignment import (
    NO_SPEAKER,
    EmbeddedSegment,
    assign_frame_speakers,
    find_window_voices,
    place_groups,
)
from echoic.diarization.fbank import HOP_SAMPLES
from echoic.diarization.identity import SpeakerClusteringConfig, assign_speakers, resolve_final_speakers
from echoic.diarization.state import UNKNOWN, DiarizerState, build_empty_state
from echoic.diarization.turns import join_turns
from echoic.diarization.voice_segments import (
    FRAMES_PER_SECOND,
    VoiceSegment,
    WindowingConfig,
    find_active_voices,
    find_runs,
    find_voice_segments,
)
from echoic.interfaces.diarizer import DiarizationChunk, DiarizationResult, SpeakerTurn

if TYPE_CHECKING:
    from echoic.diarization.embedding import Embedder
    from echoic.diarization.segmentation import Segmenter

#: Seconds that are looked at together at most; more would cost more than in proportion.
_MAX_PART_SECONDS = 2.0
#: Seconds that are heard anew with each piece: at most, at least, and for each second of the piece, so that
#: short pieces cost no more. Shorter ones than a window's hop wait for more.
_MAX_CONTEXT_SECONDS, _MIN_CONTEXT_SECONDS, _CONTEXT_RATIO = 10.0, 2.0, 6.7
#: Seconds of a voice in a scene from which it counts as one.
_MIN_VOICE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class DiarizerConfig:
    """How the diarizer decides."""

    windowing: WindowingConfig = field(default_factory=WindowingConfig)
    clustering: SpeakerClusteringConfig = field(default_factory=SpeakerClusteringConfig)


class OnlineDiarizer:
    """Tells speakers apart as they speak.

    Args:
        embedder: The model of voices.
        segmenter: The model of turns; None: wherever there is speech, one speaks.
        config: How it decides.
        name: What it is called.
    """

    def __init__(
        self,
        embedder: Embedder,
        segmenter: Segmenter | None = None,
        config: DiarizerConfig | None = None,
        name: str = "embedded",
    ) -> None:
        self._embedder = embedder
        self._segmenter = segmenter
        self._config = config or DiarizerConfig()
        self._name = name

    @property
    def name(self) -> str:
        """What it is called; ``embedded`` unless told otherwise."""
        return self._name

    def diarize(self, chunks: Sequence[DiarizationChunk]) -> list[DiarizationResult]:
        """Return who speaks in each piece of sound."""
        return [self._diarize_chunk(sound) for sound in chunks]

    def finalize(self, state: object) -> tuple[SpeakerTurn, ...]:
        """Return who spoke when, after all that was heard; of a long session less finely than ``diarize``."""
        if not isinstance(state, DiarizerState) or not len(state.intervals):
            return ()
        speakers = resolve_final_speakers(state, self._config.clustering)
        return join_turns(_find_speaker_spans(state, speakers, 0.0), self._config.windowing.max_pause)

    def close(self) -> None:
        """Do nothing: the weights go with the last reference to the embedder."""

    def _diarize_chunk(self, chunk: DiarizationChunk) -> DiarizationResult:
        """Return who speaks in a piece of sound, a long one bit by bit."""
        turns: list[SpeakerTurn] = []
        carry = chunk.state
        for bit in split_chunk(chunk, _MAX_PART_SECONDS):
            voices = self._diarize_part(replace(bit, state=carry))
            turns += voices.turns
            carry = voices.state
        turns.sort(key=lambda turn: turn.start)
        spans = (((turn.start, turn.end), turn.speaker) for turn in turns)
        return DiarizationResult(join_turns(spans, self._config.windowing.max_pause), carry)

    def _diarize_part(self, part: DiarizationChunk) -> DiarizationResult:
        before = part.state if isinstance(part.state, DiarizerState) else build_empty_state()
        whole = build_analysis_window(part, before.recent_audio)
        memory = replace(before, options=part.options)
        new = whole.end - whole.new_start
        if whole.has_new_speech and new < self._config.windowing.hop and not part.is_last:
            return DiarizationResult(
                (), replace(memory, recent_audio=whole.keep_recent(_MAX_CONTEXT_SECONDS, is_deferred=True))
            )
        turns: tuple[SpeakerTurn, ...] = ()
        if whole.has_new_speech:
            memory, turns = self._update_state(
                memory,
                whole.crop_to_last(
                    min(_MAX_CONTEXT_SECONDS, max(_MIN_CONTEXT_SECONDS, _CONTEXT_RATIO * new))
                ),
            )
        return DiarizationResult(
            turns, replace(memory.trim(), recent_audio=whole.keep_recent(_MAX_CONTEXT_SECONDS))
        )

    def _update_state(
        self, state: DiarizerState, analysis_window: AnalysisWindow
    ) -> tuple[DiarizerState, tuple[SpeakerTurn, ...]]:
        """Return the memory with what the new piece says, and who speaks in that."""
        rules = self._config.windowing
        active = find_active_voices(analysis_window, self._segmenter, rules.padding)
        start = round((analysis_window.new_start - analysis_window.origin) * FRAMES_PER_SECOND)
        heard = [
            self._embed_segment(analysis_window, passage)
            for passage in find_voice_segments(active, start, rules.max_pause)
        ]
        if not sum(len(one.embeddings) for one in heard) and not len(state.groups):
            return state, ()
        state = self._add_windows(state, analysis_window, heard)
        state = assign_speakers(
            state, self._config.clustering, _find_reliable_voices(state, analysis_window, active)
        )
        state = replace(state, intervals=place_groups(state, analysis_window, active, rules.min_length))
        return state, self._build_turns(state, analysis_window, active, heard)

    def _embed_segment(self, analysis_window: AnalysisWindow, segment: VoiceSegment) -> EmbeddedSegment:
        """Return a passage with the vectors of its windows."""
        windows = [*segment.split_windows(self._config.windowing)]
        if not windows:
            return EmbeddedSegment(segment, (), np.zeros((0, 0), np.float32))
        padded = np.pad(analysis_window.audio, (0, -analysis_window.audio.size % HOP_SAMPLES))
        alone = padded.reshape(-1, HOP_SAMPLES)[segment.solo_frames].reshape(-1)
        vectors = self._embedder.embed_windows(
            alone, [(first * HOP_SAMPLES, last * HOP_SAMPLES) for first, last, _ in windows]
        )
        return EmbeddedSegment(segment, windows, vectors)

    def _add_windows(
        self, state: DiarizerState, analysis_window: AnalysisWindow, segments: Sequence[EmbeddedSegment]
    ) -> DiarizerState:
        """Return the memory with the windows in it: the long ones as groups, the others by the nearest."""
        seen = [(one, window) for one in segments for window in one.windows]
        if not seen:
            return state
        vectors = np.concatenate([one.embeddings for one in segments if one.windows])
        shortest = self._config.windowing.min_length * FRAMES_PER_SECOND
        long = np.array([last - first >= shortest for _, (first, last, _) in seen])
        if not len(state.groups):
            long[:] = True
        new = [one.count_new_seconds(place) for one in segments for place in range(len(one.windows))]
        first = len(state.groups)
        groups = state.groups.with_windows(vectors[long], np.array(new, np.float32)[long])
        means = groups.sums / groups.seconds[:, np.newaxis]
        places = np.where(long, first + np.cumsum(long) - 1, (vectors @ means.T).argmax(axis=1))
        spans = [one.get_window_span(window, analysis_window.origin) for one, window in seen]
        views = state.recent_windows.with_windows(analysis_window.origin, spans, places)
        return replace(state, groups=groups, recent_windows=views)

    def _build_turns(
        self,
        state: DiarizerState,
        analysis_window: AnalysisWindow,
        active: NDArray[np.bool_],
        segments: Sequence[EmbeddedSegment],
    ) -> tuple[SpeakerTurn, ...]:
        """Return who speaks in the new piece."""
        said = _find_speaker_spans(state, state.groups.speakers, analysis_window.origin)
        before = [(span, who) for span, who in said if span[0] < analysis_window.new_start]
        rules = self._config
        who = assign_frame_speakers(
            state.groups,
            segments,
            active,
            _to_frame_history(before, analysis_window, len(active)),
            rules.clustering,
        )
        spans = [((start, min(end, analysis_window.new_start)), one) for (start, end), one in before]
        for speaker in np.unique(who[who != NO_SPEAKER]).tolist():
            for begin, end in find_runs((who == speaker).any(axis=1)):
                start = max(analysis_window.new_start, analysis_window.origin + begin / FRAMES_PER_SECOND)
                if (
                    until := min(analysis_window.end, analysis_window.origin + end / FRAMES_PER_SECOND)
                ) > start:
                    spans.append(((start, until), speaker))
        turns = join_turns(sorted(spans), rules.windowing.max_pause)
        return tuple(
            replace(turn, start=max(turn.start, analysis_window.new_start))
            for turn in turns
            if turn.end > analysis_window.new_start
        )


def _find_reliable_voices(
    state: DiarizerState, analysis_window: AnalysisWindow, active: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return the voice that each view is, where that speaks alone for long enough to be told from others."""
    alone = (active & (active.sum(axis=1, keepdims=True) == 1)).sum(axis=0)
    voices = find_window_voices(state, analysis_window, active)
    return np.where(
        (voices != UNKNOWN) & (alone[voices] >= _MIN_VOICE_SECONDS * FRAMES_PER_SECOND), voices, UNKNOWN
    )


def _find_speaker_spans(
    state: DiarizerState, speakers: NDArray[np.intp], since: float
) -> list[tuple[TimeSpan, int]]:
    """Return when each speaker was heard since then, in order of their starts."""
    times = state.intervals
    late = times.ends > since
    spans = zip(times.starts[late].tolist(), times.ends[late].tolist(), strict=True)
    found = zip(spans, speakers[times.groups[late]].tolist(), strict=True)
    return [(span, speaker) for span, speaker in found if speaker != UNKNOWN]


def _to_frame_history(
    earlier_spans: Sequence[tuple[TimeSpan, int]], analysis_window: AnalysisWindow, frame_count: int
) -> list[tuple[slice, int]]:
    """Return who was heard in which frames of the scene before its new piece."""
    found = []
    for (start, end), speaker in earlier_spans:
        first, last = (
            round((at - analysis_window.origin) * FRAMES_PER_SECOND)
            for at in (start, min(end, analysis_window.new_start))
        )
        found.append((slice(max(0, first), min(max(0, last), frame_count)), speaker))
    return found
