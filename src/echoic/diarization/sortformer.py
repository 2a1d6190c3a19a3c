"""Streaming Sortformer by NeMo (the extra ``nemo``): up to four speakers, told apart by one network.

Source: https://github.com/NVIDIA/NeMo (``SortformerEncLabelModel``). The weights are NVIDIA's
``diar_streaming_sortformer_4spk-v2``, a ``.nemo`` file that nobody ships.

Each piece of sound is a chunk of the network; its cache of speakers is the carry, of the size that the model
sets. Features begin ``_CONTEXT`` before the piece, so that its first frames are not those of an edge.
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
#: Seconds of one row of the network's answer.
_ROW_SECONDS = 0.08
#: Seconds before a piece that the network sees as well, in whole rows.
_CONTEXT_SECONDS = 0.56
#: Seconds that the network is given at once, in whole rows.
_MAX_PART_SECONDS = 2.0
#: Seconds of the shortest piece that has features.
_MIN_PART_SECONDS = 0.1
#: Shorter silences belong to the speaker, in seconds.
_MAX_PAUSE_SECONDS = 0.8


@dataclass(frozen=True, slots=True)
class _SortformerState:
    """The network's state, its last seconds of sound, its speakers by their ids, who spoke when."""

    network_state: Any
    recent_audio: RecentAudio
    speakers: tuple[int, ...]
    intervals: GroupIntervals


class SortformerDiarizer:
    """Tells up to four speakers apart.

    Args:
        file: The ``.nemo`` file of a streaming Sortformer.

    Raises:
        ModelUnavailable: It cannot be read, or holds another model.
    """

    def __init__(self, file: Path) -> None:
        with warnings.catch_warnings():  # NeMo's, of what its own libraries will no longer do
            warnings.simplefilter("ignore")
            import torch  # an extra  # noqa: PLC0415  # only where the shapes are built
            from nemo.collections.asr.models import SortformerEncLabelModel  # noqa: PLC0415  # the same

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
        """Return who speaks in each piece of sound; where two speak at once, who is heard best."""
        with self._torch.inference_mode():
            return [self._diarize_chunk(sound) for sound in chunks]

    def finalize(self, state: object) -> tuple[SpeakerTurn, ...]:
        """Return who spoke when, as ``diarize`` said it: the network corrects nothing."""
        if not isinstance(state, _SortformerState):
            return ()
        times = state.intervals
        spans = zip(times.starts.tolist(), times.ends.tolist(), strict=True)
        return join_turns(zip(spans, times.groups.tolist(), strict=True), _MAX_PAUSE_SECONDS)

    def close(self) -> None:
        """Do nothing: the weights go with the last reference."""

    def _diarize_chunk(self, chunk: DiarizationChunk) -> DiarizationResult:
        carry = chunk.state if isinstance(chunk.state, _SortformerState) else None
        found: list[tuple[TimeSpan, int]] = []
        for bit in split_chunk(chunk, _MAX_PART_SECONDS):
            spans, carry = self._diarize_part(bit, carry)
            found += spans
        return DiarizationResult(join_turns(found, _MAX_PAUSE_SECONDS), carry)

    def _diarize_part(
        self, part: DiarizationChunk, before: _SortformerState | None
    ) -> tuple[list[tuple[TimeSpan, int]], _SortformerState]:
        scene = build_analysis_window(part, before.recent_audio if before else None)
        state = (
            copy(before.network_state) if before else self._model.sortformer_modules.init_streaming_state(1)
        )
        known = before.speakers if before else ()
        stretches = before.intervals if before else build_empty_intervals()
        spans: list[tuple[TimeSpan, int]] = []
        if scene.end - scene.new_start >= _MIN_PART_SECONDS:
            state, chances = self._run_network(scene, state)
            spoken = _join_spans((b, e) for b, e in scene.speech_spans if e > scene.new_start)
            rows, known = _assign_rows(chances, known, part.options.count or part.options.max_count)
            spans = list(_iterate_spans(rows, spoken, scene))
            stretches = trim_intervals(
                stretches.replace_since(
                    scene.new_start, [span for span, _ in spans], [who for _, who in spans]
                )
            )
        return spans, _SortformerState(state, scene.keep_recent(_CONTEXT_SECONDS), known, stretches)

    def _run_network(
        self, analysis_window: AnalysisWindow, network_state: Any
    ) -> tuple[Any, NDArray[np.float32]]:  # NeMo's own
        """Return the state after the new piece, and each speaker's chance in each row of it."""
        model, torch = self._model, self._torch
        audio = torch.from_numpy(np.array(analysis_window.audio))[None]
        features, size = model.process_signal(audio, torch.tensor([audio.shape[1]]))
        features = features[:, :, : int(size[0])]
        left = (
            round((analysis_window.new_start - analysis_window.origin) / _ROW_SECONDS)
            * model.encoder.subsampling_factor
        )
        nothing = torch.zeros((1, 0, model.sortformer_modules.n_spk))
        after, chances = model.forward_streaming_step(
            processed_signal=features.transpose(1, 2),
            processed_signal_length=size,
            streaming_state=network_state,
            total_preds=nothing,
            left_offset=left,
        )
        return after, chances[0].numpy()


def _join_spans(spans: Iterable[TimeSpan]) -> list[TimeSpan]:
    """Return the spans, those without a pause between them as one."""
    found: list[TimeSpan] = []
    for start, end in spans:
        if found and start - found[-1][1] < _MAX_PAUSE_SECONDS:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def _assign_rows(
    probabilities: NDArray[np.float32], known_speakers: tuple[int, ...], max_speakers: int | None
) -> tuple[list[int], tuple[int, ...]]:
    """Return the id of each row's likeliest speaker, and the network's speakers in the order of their ids."""
    ids = list(known_speakers)
    rows = []
    for row in probabilities:
        allowed = row if max_speakers is None or len(ids) < max_speakers else row[ids]
        best = int(allowed.argmax()) if allowed is row else ids[int(allowed.argmax())]
        if best not in ids:
            ids.append(best)
        rows.append(ids.index(best))
    return rows, tuple(ids)


def _iterate_spans(
    rows: Sequence[int], speech_spans: Sequence[TimeSpan], analysis_window: AnalysisWindow
) -> Iterator[tuple[TimeSpan, int]]:
    """Yield what of the rows is speech; the rows share the new piece equally."""
    length = (analysis_window.end - analysis_window.new_start) / max(1, len(rows))
    for begin, stop in speech_spans:
        for place, who in enumerate(rows):
            start = max(begin, analysis_window.new_start + place * length)
            end = min(stop, analysis_window.new_start + (place + 1) * length)
            if end > start:
                yield (start, end), who
