"""Diarization error rates by pyannote.metrics; ``make test-extras``."""

from __future__ import annotations

import pytest

pytest.importorskip("pyannote.metrics", reason="pyannote.metrics is not installed: make test-extras")

from echoic.evaluate.rttm import SpeakerTurn
from echoic.evaluate.speakers import SpeakerErrors, speaker_errors


def test_other_names_are_no_error() -> None:
    reference = [SpeakerTurn(0, 4, "A"), SpeakerTurn(4, 8, "B")]
    heard = [SpeakerTurn(0, 4, "1"), SpeakerTurn(4, 8, "0")]
    assert speaker_errors(reference, heard, 10.0) == SpeakerErrors(0, 0, 0, 8)


def test_missed_invented_and_confused_seconds() -> None:
    reference = [SpeakerTurn(0, 4, "A"), SpeakerTurn(4, 6, "B")]
    heard = [SpeakerTurn(1, 5, "0"), SpeakerTurn(5, 7, "1")]
    assert speaker_errors(reference, heard, 10.0) == SpeakerErrors(1, 1, 1, 6)


def test_where_two_speak_one_is_missed_unless_overlap_is_left_out() -> None:
    reference = [SpeakerTurn(0, 4, "A"), SpeakerTurn(3, 6, "B"), SpeakerTurn(3, 3, "C")]
    heard = [SpeakerTurn(0, 4, "0"), SpeakerTurn(4, 6, "1")]
    assert speaker_errors(reference, heard, 10.0) == SpeakerErrors(1, 0, 0, 7)
    assert speaker_errors(reference, heard, 10.0, overlap=False).rate == 0.0


def test_nobody_heard_and_nobody_there() -> None:
    assert speaker_errors([SpeakerTurn(0, 4, "A")], [], 10.0).rate == 100.0
    assert speaker_errors([], [SpeakerTurn(0, 4, "A")], 10.0) == SpeakerErrors(0, 4, 0, 0)
    assert speaker_errors([], [], 0.0) == SpeakerErrors()
