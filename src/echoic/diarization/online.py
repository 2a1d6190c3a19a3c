"""Online diarization: clusters embeddings of short windows, at constant cost per second of audio.

Each new chunk is analyzed together with the last seconds. A segmentation model finds the active voices, and
an embedding model describes each voice in short windows in which it speaks alone. The embeddings join a
bounded number of groups, which are clustered again for each chunk. A cluster keeps the id of the speaker that
most of it belonged to before. So later chunks correct wrong decisions, and ``finalize`` corrects past turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from echoic.diarization.analysis_window import AnalysisWindow, TimeSpan, build_analysis_window, split_chunk
from echoic.diarization.assignment import (
    EmbeddedSegment,
    assign_frame_speakers,
    find_window_voices,
    place_groups,
)
from echoic.diarization.embedding import Embedder
from echoic.diarization.fbank import HOP_SAMPLES
from echoic.diarization.segmentation import Segmenter
from echoic.diarization.speaker_ids import SpeakerClusteringConfig, assign_speakers, resolve_final_speakers
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

#: Longest new audio that is analyzed at once; the cost grows faster than the length.
_MAX_PART_SECONDS = 2.0
#: Seconds of context before a chunk: at most, at least, and per second of the chunk, so that short chunks
#: cost no more. Chunks shorter than a window's hop wait for more audio.
_MAX_CONTEXT_SECONDS, _MIN_CONTEXT_SECONDS, _CONTEXT_RATIO = 10.0, 2.0, 6.7
#: Seconds that a voice must speak alone in an analysis window to count as separate.
_MIN_VOICE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class DiarizerConfig:
    """Windowing and clustering of an ``OnlineDiarizer``."""

    windowing: WindowingConfig = field(default_factory=WindowingConfig)
    clustering: SpeakerClusteringConfig = field(default_factory=SpeakerClusteringConfig)


class OnlineDiarizer:
    """Diarizes live audio with an embedding model and a segmentation model.

    Args:
        embedder: The embedding model.
        segmenter: The segmentation model. If None, all speech in a chunk is one voice.
        config: Windowing and clustering.
        name: Name in settings and frames.
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
        """The name; ``embedded`` by default."""
        return self._name

    def diarize(self, chunks: Sequence[DiarizationChunk]) -> list[DiarizationResult]:
        """Return the speaker turns of each chunk."""
        return [self._diarize_chunk(chunk) for chunk in chunks]

    def finalize(self, state: object) -> tuple[SpeakerTurn, ...]:
        """Return the turns of the whole session, corrected; for long sessions coarser than ``diarize``."""
        if not isinstance(state, DiarizerState) or not len(state.intervals):
            return ()
        speakers = resolve_final_speakers(state, self._config.clustering)
        return join_turns(_find_speaker_spans(state, speakers, 0.0), self._config.windowing.max_pause)

    def close(self) -> None:
        """Do nothing: the weights are freed with the last reference to the models."""

    def _diarize_chunk(self, chunk: DiarizationChunk) -> DiarizationResult:
        """Return the turns of a chunk, analyzed in parts."""
        turns: list[SpeakerTurn] = []
        state = chunk.state
        for part in split_chunk(chunk, _MAX_PART_SECONDS):
            result = self._diarize_part(replace(part, state=state))
            turns += result.turns
            state = result.state
        turns.sort(key=lambda turn: turn.start)
        spans = (((turn.start, turn.end), turn.speaker) for turn in turns)
        return DiarizationResult(join_turns(spans, self._config.windowing.max_pause), state)

    def _diarize_part(self, part: DiarizationChunk) -> DiarizationResult:
        previous = part.state if isinstance(part.state, DiarizerState) else build_empty_state()
        window = build_analysis_window(part, previous.recent_audio)
        state = replace(previous, options=part.options)
        new_seconds = window.end - window.new_start
        if window.has_new_speech and new_seconds < self._config.windowing.hop and not part.is_last:
            recent = window.keep_recent(_MAX_CONTEXT_SECONDS, is_deferred=True)
            return DiarizationResult((), replace(state, recent_audio=recent))
        turns: tuple[SpeakerTurn, ...] = ()
        if window.has_new_speech:
            context = min(_MAX_CONTEXT_SECONDS, max(_MIN_CONTEXT_SECONDS, _CONTEXT_RATIO * new_seconds))
            state, turns = self._update_state(state, window.crop_to_last(context))
        recent = window.keep_recent(_MAX_CONTEXT_SECONDS)
        return DiarizationResult(turns, replace(state.trim(), recent_audio=recent))

    def _update_state(
        self, state: DiarizerState, analysis_window: AnalysisWindow
    ) -> tuple[DiarizerState, tuple[SpeakerTurn, ...]]:
        """Return the state after the new audio, and the turns in that audio."""
        windowing = self._config.windowing
        active = find_active_voices(analysis_window, self._segmenter, windowing.padding)
        start = round((analysis_window.new_start - analysis_window.origin) * FRAMES_PER_SECOND)
        segments = [
            self._embed_segment(analysis_window, segment)
            for segment in find_voice_segments(active, start, windowing.max_pause)
        ]
        if not sum(len(embedded.embeddings) for embedded in segments) and not len(state.groups):
            return state, ()
        state = self._add_windows(state, analysis_window, segments)
        state = assign_speakers(
            state, self._config.clustering, _find_reliable_voices(state, analysis_window, active)
        )
        state = replace(state, intervals=place_groups(state, analysis_window, active, windowing.min_length))
        return state, self._build_turns(state, analysis_window, active, segments)

    def _embed_segment(self, analysis_window: AnalysisWindow, segment: VoiceSegment) -> EmbeddedSegment:
        """Return a segment with the embeddings of its windows."""
        windows = [*segment.split_windows(self._config.windowing)]
        if not windows:
            return EmbeddedSegment(segment, (), np.zeros((0, 0), np.float32))
        padded = np.pad(analysis_window.audio, (0, -analysis_window.audio.size % HOP_SAMPLES))
        solo_audio = padded.reshape(-1, HOP_SAMPLES)[segment.solo_frames].reshape(-1)
        embeddings = self._embedder.embed_windows(
            solo_audio, [(first * HOP_SAMPLES, last * HOP_SAMPLES) for first, last, _ in windows]
        )
        return EmbeddedSegment(segment, windows, embeddings)

    def _add_windows(
        self, state: DiarizerState, analysis_window: AnalysisWindow, segments: Sequence[EmbeddedSegment]
    ) -> DiarizerState:
        """Add windows to the state: long ones as groups of their own, short ones to the nearest group."""
        windows = [(embedded, window) for embedded in segments for window in embedded.windows]
        if not windows:
            return state
        embeddings = np.concatenate([embedded.embeddings for embedded in segments if embedded.windows])
        min_frames = self._config.windowing.min_length * FRAMES_PER_SECOND
        is_long = np.array([last - first >= min_frames for _, (first, last, _) in windows])
        if not len(state.groups):
            is_long[:] = True
        seconds = [
            embedded.count_new_seconds(index)
            for embedded in segments
            for index in range(len(embedded.windows))
        ]
        first = len(state.groups)
        groups = state.groups.with_windows(embeddings[is_long], np.array(seconds, np.float32)[is_long])
        means = groups.sums / groups.seconds[:, np.newaxis]
        indices = np.where(is_long, first + np.cumsum(is_long) - 1, (embeddings @ means.T).argmax(axis=1))
        spans = [embedded.get_window_span(window, analysis_window.origin) for embedded, window in windows]
        recent_windows = state.recent_windows.with_windows(analysis_window.origin, spans, indices)
        return replace(state, groups=groups, recent_windows=recent_windows)

    def _build_turns(
        self,
        state: DiarizerState,
        analysis_window: AnalysisWindow,
        active: NDArray[np.bool_],
        segments: Sequence[EmbeddedSegment],
    ) -> tuple[SpeakerTurn, ...]:
        """Return the turns in the new audio."""
        known = _find_speaker_spans(state, state.groups.speakers, analysis_window.origin)
        before = [(span, speaker) for span, speaker in known if span[0] < analysis_window.new_start]
        config = self._config
        speakers = assign_frame_speakers(
            state.groups,
            segments,
            active,
            _to_frame_history(before, analysis_window, len(active)),
            config.clustering,
        )
        spans = [
            ((start, min(end, analysis_window.new_start)), speaker_id) for (start, end), speaker_id in before
        ]
        for speaker in np.unique(speakers[speakers != UNKNOWN]).tolist():
            for begin, end in find_runs((speakers == speaker).any(axis=1)):
                start = max(analysis_window.new_start, analysis_window.origin + begin / FRAMES_PER_SECOND)
                if (
                    until := min(analysis_window.end, analysis_window.origin + end / FRAMES_PER_SECOND)
                ) > start:
                    spans.append(((start, until), speaker))
        turns = join_turns(sorted(spans), config.windowing.max_pause)
        return tuple(
            replace(turn, start=max(turn.start, analysis_window.new_start))
            for turn in turns
            if turn.end > analysis_window.new_start
        )


def _find_reliable_voices(
    state: DiarizerState, analysis_window: AnalysisWindow, active: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return the voice of each recent window, or ``UNKNOWN`` if that voice speaks alone too briefly."""
    solo_frames = (active & (active.sum(axis=1, keepdims=True) == 1)).sum(axis=0)
    voices = find_window_voices(state, analysis_window, active)
    return np.where(
        (voices != UNKNOWN) & (solo_frames[voices] >= _MIN_VOICE_SECONDS * FRAMES_PER_SECOND), voices, UNKNOWN
    )


def _find_speaker_spans(
    state: DiarizerState, speakers: NDArray[np.intp], since: float
) -> list[tuple[TimeSpan, int]]:
    """Return the speakers' spans that end after ``since``, sorted by start."""
    intervals = state.intervals
    kept = intervals.ends > since
    spans = zip(intervals.starts[kept].tolist(), intervals.ends[kept].tolist(), strict=True)
    assigned = zip(spans, speakers[intervals.groups[kept]].tolist(), strict=True)
    return [(span, speaker) for span, speaker in assigned if speaker != UNKNOWN]


def _to_frame_history(
    earlier_spans: Sequence[tuple[TimeSpan, int]], analysis_window: AnalysisWindow, frame_count: int
) -> list[tuple[slice, int]]:
    """Return the speakers in the frames before the new audio."""
    frame_spans = []
    for (start, end), speaker in earlier_spans:
        first, last = (
            round((seconds - analysis_window.origin) * FRAMES_PER_SECOND)
            for seconds in (start, min(end, analysis_window.new_start))
        )
        frame_spans.append((slice(max(0, first), min(max(0, last), frame_count)), speaker))
    return frame_spans
