"""Diarization error rates by pyannote.metrics (``make test-extras``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("pyannote.metrics", reason="pyannote.metrics is not installed: make test-extras")

from echoic.audio.vad import AlwaysSpeech
from echoic.evaluate.diarization import DiarizationErrors, LabeledTurn, measure_diarization
from echoic.evaluate.manifest import ManifestEntry
from echoic.evaluate.runner import EvalTarget, StreamResult, score_speakers
from echoic.protocol.frames import DiarizationSummary, Final, SegmentSpeaker, Word

if TYPE_CHECKING:
    from pathlib import Path


def test_speakers_are_matched_despite_their_names() -> None:
    reference = [LabeledTurn(0, 4, "A"), LabeledTurn(4, 8, "B")]
    hypothesis = [LabeledTurn(0, 4, "1"), LabeledTurn(4, 8, "0")]
    assert measure_diarization(reference, hypothesis, 10.0) == DiarizationErrors(0, 0, 0, 8)


def test_missed_false_and_confused_seconds_are_counted() -> None:
    reference = [LabeledTurn(0, 4, "A"), LabeledTurn(4, 6, "B")]
    hypothesis = [LabeledTurn(1, 5, "0"), LabeledTurn(5, 7, "1")]
    assert measure_diarization(reference, hypothesis, 10.0) == DiarizationErrors(1, 1, 1, 6)


def test_overlap_counts_unless_it_is_excluded() -> None:
    reference = [LabeledTurn(0, 4, "A"), LabeledTurn(3, 6, "B"), LabeledTurn(3, 3, "C")]
    hypothesis = [LabeledTurn(0, 4, "0"), LabeledTurn(4, 6, "1")]
    assert measure_diarization(reference, hypothesis, 10.0) == DiarizationErrors(1, 0, 0, 7)
    assert measure_diarization(reference, hypothesis, 10.0, count_overlap=False).rate == 0.0


def test_empty_references_and_hypotheses_have_errors() -> None:
    assert measure_diarization([LabeledTurn(0, 4, "A")], [], 10.0).rate == 100.0
    assert measure_diarization([], [LabeledTurn(0, 4, "A")], 10.0) == DiarizationErrors(0, 4, 0, 0)
    assert measure_diarization([], [], 0.0) == DiarizationErrors()


def build_final(number: int, speaker: int, *words: tuple[float, float]) -> Final:
    start, end = words[0][0], words[-1][1]
    return Final(
        text="…",
        segment_id=number,
        segment_start=start,
        segment_end=end,
        chunk_duration=end - start,
        overlap=0.0,
        chunk_start=start,
        chunk_end=end,
        new_audio_duration=end - start,
        cumulative_audio=end,
        words=tuple(Word("…", begin, stop, speaker_id=speaker) for begin, stop in words),
        speaker_id=speaker,
        speaker_label=f"SPEAKER_{speaker:02}",
    )


def test_live_and_corrected_speakers_are_scored(tmp_path: Path) -> None:
    rttm = tmp_path / "talk.rttm"
    lines = ("SPEAKER talk 1 1.0 2.0 <NA> <NA> A <NA> <NA>", "SPEAKER talk 1 3.0 2.0 <NA> <NA> B <NA> <NA>")
    rttm.write_text("\n".join(lines))
    summary = DiarizationSummary(
        speaker_map=(SegmentSpeaker(2, 1, "SPEAKER_01"),), audio_path=None, speakers=()
    )
    finals = [build_final(1, 0, (1.0, 3.0)), build_final(2, 0, (3.0, 5.0))]
    hypothesis = StreamResult(finals=finals, summaries=[summary])
    entry = ManifestEntry(2, tmp_path / "talk.wav", rttm_path=rttm)
    live, corrected = score_speakers(
        EvalTarget("", AlwaysSpeech, None), entry, np.zeros(96_000, np.float32), hypothesis
    )
    assert live is not None
    assert corrected is not None
    assert (live.rate, corrected.rate) == (50.0, 0.0)
