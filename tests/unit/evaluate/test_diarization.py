from pathlib import Path

import pytest
from msgspec import UNSET

from echoic.evaluate.diarization import (
    DiarizationErrors,
    InvalidReferenceFile,
    LabeledTurn,
    apply_corrections,
    clip_turns,
    read_rttm,
    turns_from_finals,
)
from echoic.protocol.frames import DiarizationSummary, Final, SegmentSpeaker, Speaker, Word

LINE = "SPEAKER talk 1 {} {} <NA> <NA> {} <NA> <NA>\n"


def build_final(
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


def test_word_times_become_turns_with_short_pauses() -> None:
    finals = [
        build_final(1, 0, 2, 0, (0.1, 0.5, 0), (0.9, 1.2, 0), (1.3, 1.8, 1)),
        build_final(2, 2, 4, 1, (2.0, 2.4, 1)),
    ]
    assert turns_from_finals(finals, ()) == (LabeledTurn(0.1, 1.2, "0"), LabeledTurn(1.3, 2.4, "1"))


def test_finals_without_word_times_count_where_there_is_speech() -> None:
    finals = [build_final(1, 0, 2, 0), build_final(2, 2, 4, 1), build_final(3, 4, 6, None)]
    speech = [(0.5, 1.5), (1.8, 3.0), (4.0, 6.0)]
    turns = turns_from_finals(finals, speech)
    assert turns == (LabeledTurn(0.5, 2, "0"), LabeledTurn(2, 3.0, "1"))


def test_a_summary_corrects_a_final_and_its_words() -> None:
    finals = [build_final(1, 0, 2, 0, (0.1, 0.5, 0), (1.3, 1.8, 2)), build_final(2, 2, 4, 1)]
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


def test_clipped_turns_count_from_the_start_of_the_part() -> None:
    turns = [LabeledTurn(0, 3, "A"), LabeledTurn(4, 9, "B"), LabeledTurn(20, 21, "C")]
    assert clip_turns(turns, 2.0, 5.0) == (LabeledTurn(0, 1, "A"), LabeledTurn(2, 5, "B"))


def test_diarization_errors_add_up_by_seconds() -> None:
    total = DiarizationErrors(1, 1, 0, 10) + DiarizationErrors(0, 0, 2, 10)
    assert total.rate == 20.0
    assert DiarizationErrors().rate == 0.0


def test_turns_are_sorted_and_may_overlap(tmp_path: Path) -> None:
    file = tmp_path / "a.rttm"
    file.write_text(
        ";; a comment\n" + LINE.format(4.0, 2.5, "Ánna") + LINE.format(0.5, 4.5, "Bob") + "\nLEXEME x\n"
    )
    assert read_rttm(file) == (LabeledTurn(0.5, 5.0, "Bob"), LabeledTurn(4.0, 6.5, "Ánna"))


def test_the_recording_named_like_the_file_counts(tmp_path: Path) -> None:
    file = tmp_path / "talk.rttm"
    file.write_text(LINE.format(0, 1, "A") + LINE.replace("talk", "other").format(2, 1, "B"))
    assert read_rttm(file) == (LabeledTurn(0, 1, "A"),)
    moved = file.rename(tmp_path / "third.rttm")
    with pytest.raises(InvalidReferenceFile, match="no SPEAKER lines"):
        read_rttm(moved)


@pytest.mark.parametrize(
    "line",
    [
        "SPEAKER\n",
        "SPEAKER talk 1 0.0\n",
        LINE.format("x", 1, "A"),
        LINE.format("nan", 1, "A"),
        LINE.format(0, -1, "A"),
    ],
)
def test_an_invalid_line_is_reported_with_its_number(tmp_path: Path, line: str) -> None:
    file = tmp_path / "a.rttm"
    file.write_text(LINE.format(0, 1, "A") + line)
    with pytest.raises(InvalidReferenceFile, match="line 2"):
        read_rttm(file)


def test_empty_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.rttm").write_text("")
    for name in ("a.rttm", "b.rttm"):
        with pytest.raises(InvalidReferenceFile):
            read_rttm(tmp_path / name)
