from __future__ import annotations

from msgspec import UNSET

from echoic.evaluate.diarization import (
    DiarizationErrors,
    LabeledTurn,
    apply_corrections,
    clip_turns,
    turns_from_finals,
)
from echoic.protocol.frames import DiarizationSummary, Final, SegmentSpeaker, Speaker, Word


def final(
    number: int, start: float, end: float, speaker: int | None, *words: tuple[float, float, int]
) -> Final:
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
        words=tuple(Word("…", begin, stop, speaker_id=who) for begin, stop, who in words) or UNSET,
        speaker_id=UNSET if speaker is None else speaker,
        speaker_label=UNSET if speaker is None else f"SPEAKER_{speaker:02}",
    )


def test_words_say_who_speaks_and_short_pauses_are_speech() -> None:
    finals = [
        final(1, 0, 2, 0, (0.1, 0.5, 0), (0.9, 1.2, 0), (1.3, 1.8, 1)),
        final(2, 2, 4, 1, (2.0, 2.4, 1)),
    ]
    assert turns_from_finals(finals, ()) == (LabeledTurn(0.1, 1.2, "0"), LabeledTurn(1.3, 2.4, "1"))


def test_without_times_of_words_a_final_counts_where_there_is_speech() -> None:
    finals = [final(1, 0, 2, 0), final(2, 2, 4, 1), final(3, 4, 6, None)]
    speech = [(0.5, 1.5), (1.8, 3.0), (4.0, 6.0)]
    turns = turns_from_finals(finals, speech)
    assert turns == (LabeledTurn(0.5, 2, "0"), LabeledTurn(2, 3.0, "1"))


def test_a_summary_corrects_a_final_and_its_words() -> None:
    finals = [final(1, 0, 2, 0, (0.1, 0.5, 0), (1.3, 1.8, 2)), final(2, 2, 4, 1)]
    summary = DiarizationSummary(
        speaker_map=(SegmentSpeaker(1, 1, "SPEAKER_01"), SegmentSpeaker(2, 1, "SPEAKER_01")),
        audio_path=None,
        speakers=(Speaker(1, "SPEAKER_01"), Speaker(2, "SPEAKER_02")),
    )
    first, second = apply_corrections(finals, summary)
    assert (first.speaker_id, first.speaker_label) == (1, "SPEAKER_01")
    assert first.words is not UNSET
    assert [word.speaker_id for word in first.words] == [1, 2]
    assert second is finals[1]


def test_a_part_of_a_recording_has_its_own_clock() -> None:
    turns = [LabeledTurn(0, 3, "A"), LabeledTurn(4, 9, "B"), LabeledTurn(20, 21, "C")]
    assert clip_turns(turns, 2.0, 5.0) == (LabeledTurn(0, 1, "A"), LabeledTurn(2, 5, "B"))


def test_rates_add_up_by_seconds() -> None:
    total = DiarizationErrors(1, 1, 0, 10) + DiarizationErrors(0, 0, 2, 10)
    assert total.rate == 20.0
    assert DiarizationErrors().rate == 0.0
