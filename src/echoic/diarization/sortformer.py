"""Diarizes up to four speakers with NVIDIA's streaming Sortformer by NeMo (extra ``nemo``).

Source: https://github.com/NVIDIA/NeMo (``SortformerEncLabelModel``). The weights are NVIDIA's
``diar_streaming_sortformer_4spk-v2``, a ``.nemo`` file that is downloaded by hand.

Each part of the audio is one chunk of the network. The state holds the network's speaker cache; the model
sets its size. Features begin ``_CONTEXT_SECONDS`` before the part, so that its first frames have context.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoic.diarization.analysis_window import (
    AnalysisWindow,
    RecentAudio,
    TimeSpan,
    build_analysis_window,
    split_chunk,
)
from echoic.diarization.state import GroupIntervals, build_empty_intervals, trim_intervals
from echoic.diarization.turns import join_turns
from echoic.errors import ModelUnavailable
from echoic.interfaces.diarizer import DiarizationChunk, DiarizationResult, SpeakerTurn

NAME = "sortformer"
#: Seconds of one output row of the network.
_ROW_SECONDS = 0.08
#: Seconds of audio before a part that the network gets as context, in whole rows.
_CONTEXT_SECONDS = 0.56
#: Longest part in seconds, in whole rows.
_MAX_PART_SECONDS = 2.0
#: Shortest part in seconds that has features.
_MIN_PART_SECONDS = 0.1
#: Shorter silences are part of a turn.
_MAX_PAUSE_SECONDS = 0.8


@dataclass(frozen=True, slots=True)
class _SortformerState:
    """The state of one session."""

    network_state: Any
    recent_audio: RecentAudio
    #: The network's speakers; their index is the speaker id.
    speakers: tuple[int, ...]
    intervals: GroupIntervals


class SortformerDiarizer:
    """Diarizes up to four speakers.

    Args:
        file: The ``.nemo`` file of a streaming Sortformer.

    Raises:
        ModelUnavailable: The file cannot be read or holds another model.
    """

    def __init__(self, file: Path) -> None:
        with warnings.catch_warnings():  # NeMo's, of what its own libraries will no longer do
            warnings.simplefilter("ignore")
            import torch  # noqa: PLC0415  # optional package, slow to import
            from nemo.collections.asr.models import SortformerEncLabelModel  # noqa: PLC0415  # optional package, slow to import

            try:
                model = SortformerEncLabelModel.restore_from(str(file), map_location="cpu")
            except Exception as error:
                raise ModelUnavailable(NAME, f"The file {file.name} holds no Sortformer.") from error
        if not model.streaming_mode:
            raise ModelUnavailable(NAME, f"The Sortformer in {file.name} is not a streaming one.")
        model.async_streaming = False
        model.preprocessor.featurizer.dither = 0.0
        model.preprocessor.featurizer.pad_to = 0
        self._model, self._torch = model.eval(), torch

    @property
    def name(self) -> str:
        """``sortformer``."""
        return NAME

    def diarize(self, chunks: Sequence[DiarizationChunk]) -> list[DiarizationResult]:
        """Return the speaker turns of each chunk; overlapping speech goes to the most probable speaker."""
        with self._torch.inference_mode():
            return [self._diarize_chunk(chunk) for chunk in chunks]

    def finalize(self, state: object) -> tuple[SpeakerTurn, ...]:
        """Return the turns that ``diarize`` returned: the network corrects nothing."""
        if not isinstance(state, _SortformerState):
            return ()
        intervals = state.intervals
        spans = zip(intervals.starts.tolist(), intervals.ends.tolist(), strict=True)
        return join_turns(zip(spans, intervals.groups.tolist(), strict=True), _MAX_PAUSE_SECONDS)

    def close(self) -> None:
        """Do nothing: the weights are freed with the last reference."""

    def _diarize_chunk(self, chunk: DiarizationChunk) -> DiarizationResult:
        state = chunk.state if isinstance(chunk.state, _SortformerState) else None
        found: list[tuple[TimeSpan, int]] = []
        for part in split_chunk(chunk, _MAX_PART_SECONDS):
            spans, state = self._diarize_part(part, state)
            found += spans
        return DiarizationResult(join_turns(found, _MAX_PAUSE_SECONDS), state)

    def _diarize_part(
        self, part: DiarizationChunk, previous: _SortformerState | None
    ) -> tuple[list[tuple[TimeSpan, int]], _SortformerState]:
        window = build_analysis_window(part, previous.recent_audio if previous else None)
        if previous:
            state, known, intervals = copy(previous.network_state), previous.speakers, previous.intervals
        else:
            state = self._model.sortformer_modules.init_streaming_state(1)
            known, intervals = (), build_empty_intervals()
        spans: list[tuple[TimeSpan, int]] = []
        if window.end - window.new_start >= _MIN_PART_SECONDS:
            state, probabilities = self._run_network(window, state)
            speech = _join_spans((start, end) for start, end in window.speech_spans if end > window.new_start)
            limit = part.options.count or part.options.max_count
            rows, known = assign_rows(probabilities, known, limit)
            spans = list(find_row_spans(rows, speech, window))
            intervals = trim_intervals(
                intervals.replace_since(
                    window.new_start, [span for span, _ in spans], [speaker for _, speaker in spans]
                )
            )
        return spans, _SortformerState(state, window.keep_recent(_CONTEXT_SECONDS), known, intervals)

    def _run_network(
        self,
        analysis_window: AnalysisWindow,
        network_state: Any,  # noqa: ANN401  # NeMo's own
    ) -> tuple[Any, NDArray[np.float32]]:
        """Return the network's state after the new audio, and the probability of each speaker per row."""
        model, torch = self._model, self._torch
        audio = torch.from_numpy(np.array(analysis_window.audio))[None]
        features, size = model.process_signal(audio, torch.tensor([audio.shape[1]]))
        features = features[:, :, : int(size[0])]
        left = (
            round((analysis_window.new_start - analysis_window.origin) / _ROW_SECONDS)
            * model.encoder.subsampling_factor
        )
        no_predictions = torch.zeros((1, 0, model.sortformer_modules.n_spk))
        new_state, probabilities = model.forward_streaming_step(
            processed_signal=features.transpose(1, 2),
            processed_signal_length=size,
            streaming_state=network_state,
            total_preds=no_predictions,
            left_offset=left,
        )
        return new_state, probabilities[0].numpy()


def _join_spans(spans: Iterable[TimeSpan]) -> list[TimeSpan]:
    """Join spans without a pause between them."""
    found: list[TimeSpan] = []
    for start, end in spans:
        if found and start - found[-1][1] < _MAX_PAUSE_SECONDS:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def assign_rows(
    probabilities: NDArray[np.float32], known_speakers: tuple[int, ...], max_speakers: int | None
) -> tuple[list[int], tuple[int, ...]]:
    """Return the id of the most probable speaker per row, and the network's speakers in order of ids."""
    ids = list(known_speakers)
    rows = []
    for row in probabilities:
        allowed = row if max_speakers is None or len(ids) < max_speakers else row[ids]
        best = int(allowed.argmax()) if allowed is row else ids[int(allowed.argmax())]
        if best not in ids:
            ids.append(best)
        rows.append(ids.index(best))
    return rows, tuple(ids)


def find_row_spans(
    rows: Sequence[int], speech_spans: Sequence[TimeSpan], analysis_window: AnalysisWindow
) -> Iterator[tuple[TimeSpan, int]]:
    """Yield the spans of speech in each row with its speaker; rows divide the new audio equally."""
    length = (analysis_window.end - analysis_window.new_start) / max(1, len(rows))
    for begin, stop in speech_spans:
        for row, speaker in enumerate(rows):
            start = max(begin, analysis_window.new_start + row * length)
            end = min(stop, analysis_window.new_start + (row + 1) * length)
            if end > start:
                yield (start, end), speaker
