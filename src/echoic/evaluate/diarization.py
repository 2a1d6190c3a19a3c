"""Diarization error rates of transcripts against RTTM references.

Source of the format: NIST, "The 2009 (RT-09) Rich Transcription Meeting Recognition Evaluation Plan",
appendix A.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import UNSET

from echoic.evaluate.counts import Summable, percentage
from echoic.protocol.frames import DiarizationSummary, Final, SegmentSpeaker

if TYPE_CHECKING:
    from pyannote.core import Annotation

#: Fields of an RTTM line, from 0.
_FILE_FIELD, _START_FIELD, _SECONDS_FIELD, _SPEAKER_FIELD = 1, 3, 4, 7
#: Longest pause between two words of one speaker within a turn.
#: Source: the 0.5 s of pauses in NIST's evaluation plans for rich transcription.
MAX_PAUSE_SECONDS = 0.5


class InvalidReferenceFile(ValueError):
    """A reference file or manifest is unusable; the message names the file and the line."""


@dataclass(frozen=True, slots=True)
class LabeledTurn:
    """One speaker talking from ``start`` to ``end``, in seconds; turns may overlap."""

    start: float
    end: float
    speaker: str


def read_rttm(path: Path) -> tuple[LabeledTurn, ...]:
    """Return the speaker turns of a recording, sorted by start.

    If the file describes several recordings, the lines named like the file itself count.

    Raises:
        InvalidReferenceFile: The file cannot be read, has an invalid line, or no turn of this recording.
    """
    turns: dict[str, list[LabeledTurn]] = {}
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        if fields and fields[0] == "SPEAKER":
            turns.setdefault(fields[_FILE_FIELD] if len(fields) > 1 else "", []).append(
                _parse_turn(path, number, fields)
            )
    found = turns.get(path.stem) or (next(iter(turns.values())) if len(turns) == 1 else None)
    if found is None:
        raise InvalidReferenceFile(f"{path} has no SPEAKER lines for {path.stem}.")
    return tuple(sorted(found, key=lambda turn: (turn.start, turn.end)))


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 file.

    Raises:
        InvalidReferenceFile: The file cannot be read or is not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidReferenceFile(
            f"{path} cannot be read: {(error.strerror or 'no reason given').lower()}."
        ) from None
    try:
        return data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidReferenceFile(f"{path}, line {line}: not UTF-8.") from None


def _parse_turn(path: Path, number: int, fields: list[str]) -> LabeledTurn:
    try:
        start, seconds, speaker = (
            float(fields[_START_FIELD]),
            float(fields[_SECONDS_FIELD]),
            fields[_SPEAKER_FIELD],
        )
    except (IndexError, ValueError):
        raise InvalidReferenceFile(f"{path}, line {number}: not an RTTM line.") from None
    if not (math.isfinite(start) and math.isfinite(seconds)) or start < 0 or seconds < 0:
        raise InvalidReferenceFile(f"{path}, line {number}: start and duration must be seconds from 0.")
    return LabeledTurn(start, start + seconds, speaker)


@dataclass(frozen=True, slots=True)
class DiarizationErrors(Summable):
    """Seconds of missed speech, false alarms and confused speakers, of ``total`` seconds of speech."""

    missed: float = 0.0
    false_alarm: float = 0.0
    confusion: float = 0.0
    total: float = 0.0

    @property
    def rate(self) -> float:
        """The diarization error rate (DER) in percent; 0 without speech."""
        return percentage(self.missed + self.false_alarm + self.confusion, self.total)


def can_measure_diarization() -> bool:
    """Return whether pyannote.metrics is installed."""
    return find_spec("pyannote") is not None and find_spec("pyannote.metrics") is not None


def measure_diarization(
    reference: Iterable[LabeledTurn],
    hypothesis: Iterable[LabeledTurn],
    seconds: float,
    *,
    collar: float = 0.0,
    count_overlap: bool = True,
) -> DiarizationErrors:
    """Return the diarization errors of a hypothesis; speakers are matched optimally, whatever their names.

    Args:
        reference: The true turns.
        hypothesis: The recognized turns.
        seconds: Length of the recording; later turns do not count.
        collar: Seconds around each reference boundary that do not count, half before and half after.
        count_overlap: Whether overlapping speech counts.
    """
    from pyannote.core import Segment, Timeline  # noqa: PLC0415  # optional package
    from pyannote.metrics.diarization import DiarizationErrorRate  # noqa: PLC0415  # optional package

    metric = DiarizationErrorRate(collar=collar, skip_overlap=not count_overlap)
    whole = Timeline([Segment(0.0, seconds)])
    parts = metric(_to_annotation(reference), _to_annotation(hypothesis), uem=whole, detailed=True)
    return DiarizationErrors(
        float(parts["missed detection"]),
        float(parts["false alarm"]),
        float(parts["confusion"]),
        float(parts["total"]),
    )


def _to_annotation(turns: Iterable[LabeledTurn]) -> "Annotation":
    from pyannote.core import Annotation, Segment  # noqa: PLC0415  # optional package

    found = Annotation()
    for number, turn in enumerate(turns):
        if turn.end > turn.start:
            found[Segment(turn.start, turn.end), number] = turn.speaker
    return found


def clip_turns(turns: Iterable[LabeledTurn], start: float, seconds: float) -> tuple[LabeledTurn, ...]:
    """Cut turns to the part of a recording from ``start`` on; times count from the start of the part."""
    moved = (replace(turn, start=turn.start - start, end=turn.end - start) for turn in turns)
    inside = (replace(turn, start=max(turn.start, 0.0), end=min(turn.end, seconds)) for turn in moved)
    return tuple(turn for turn in inside if turn.end > turn.start)


def turns_from_finals(
    finals: Iterable[Final], speech: Sequence[tuple[float, float]]
) -> tuple[LabeledTurn, ...]:
    """Return the speaker turns of finals, from word times or, without those, from segment times.

    Args:
        finals: Finals with speakers, in order.
        speech: Spans of speech in seconds; a final without word times counts only inside them.
    """
    turns: list[LabeledTurn] = []
    for turn in (turn for final in finals for turn in _iterate_final_turns(final, speech)):
        last = turns[-1] if turns else None
        if last and last.speaker == turn.speaker and turn.start - last.end <= MAX_PAUSE_SECONDS:
            turns[-1] = replace(last, end=max(last.end, turn.end))
        else:
            turns.append(turn)
    return tuple(turns)


def _iterate_final_turns(final: Final, speech: Sequence[tuple[float, float]]) -> Iterator[LabeledTurn]:
    if final.words is not UNSET and final.words:
        for word in final.words:
            speaker = final.speaker_id if word.speaker_id is UNSET else word.speaker_id
            if speaker is not UNSET:
                yield LabeledTurn(word.start, word.end, str(speaker))
    elif final.speaker_id is not UNSET:
        for begin, stop in speech:
            start, end = max(begin, final.segment_start), min(stop, final.segment_end)
            if end > start:
                yield LabeledTurn(start, end, str(final.speaker_id))


def apply_corrections(finals: Iterable[Final], summary: DiarizationSummary) -> list[Final]:
    """Return the finals with the speakers that the summary corrects.

    The summary names one speaker per final. Words of the final's earlier speaker move to the corrected one;
    words of other speakers stay.
    """
    corrections = {one.segment_id: one for one in summary.speaker_map}
    return [_correct_speaker(final, corrections.get(final.segment_id)) for final in finals]


def _correct_speaker(final: Final, correction: SegmentSpeaker | None) -> Final:
    if correction is None or correction.speaker_id == final.speaker_id:
        return final
    words = final.words
    if words is not UNSET:
        words = tuple(
            replace(word, speaker_id=correction.speaker_id) if word.speaker_id == final.speaker_id else word
            for word in words
        )
    return replace(
        final, speaker_id=correction.speaker_id, speaker_label=correction.speaker_label, words=words
    )
