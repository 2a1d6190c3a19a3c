"""Who speaks when, as RTTM files tell it.

Source: NIST, "The 2009 (RT-09) Rich Transcription Meeting Recognition Evaluation Plan", appendix A.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import UNSET

from echoic.protocol.frames import DiarizationSummary, Final

if TYPE_CHECKING:
    from pyannote.core import Annotation

#: The place of a line's fields.
_FILE_FIELD, _START_FIELD, _SECONDS_FIELD, _SPEAKER_FIELD = 1, 3, 4, 7


class InvalidReferenceFile(ValueError):
    """A file of references that cannot be used; the message is a sentence that names file and line."""


@dataclass(frozen=True, slots=True)
class LabeledTurn:
    """One speaker from ``start`` to ``end``, in seconds; turns may overlap."""

    start: float
    end: float
    speaker: str


def read_rttm(path: Path) -> tuple[LabeledTurn, ...]:
    """Return a recording's turns in order of their beginnings.

    A file may tell of several recordings: then the lines that bear this file's own name count.

    Raises:
        BadReference: The file cannot be read, a line is not as it should be, or none is about this recording.
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
        raise InvalidReferenceFile(f"{path} says of nobody when they speak in {path.stem}.")
    return tuple(sorted(found, key=lambda turn: (turn.start, turn.end)))


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file in UTF-8.

    Raises:
        BadReference: It cannot be read, or is in another coding.
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
        raise InvalidReferenceFile(f"{path}, line {number}: not a line of RTTM.") from None
    if not (math.isfinite(start) and math.isfinite(seconds)) or start < 0 or seconds < 0:
        raise InvalidReferenceFile(f"{path}, line {number}: no such time.")
    return LabeledTurn(start, start + seconds, speaker)


#: Seconds between two words of a speaker that still are his: annotators hear no pause in them.
#: Source: the 0.5 s of pauses in NIST's evaluation plans for rich transcription.
MAX_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class DiarizationErrors:
    """Seconds that are missed, taken for speech, and given to the wrong speaker, of ``total`` spoken."""

    missed: float = 0.0
    false_alarm: float = 0.0
    confusion: float = 0.0
    total: float = 0.0

    def __add__(self, other: DiarizationErrors) -> DiarizationErrors:
        return DiarizationErrors(
            self.missed + other.missed,
            self.false_alarm + other.false_alarm,
            self.confusion + other.confusion,
            self.total + other.total,
        )

    @property
    def rate(self) -> float:
        """The diarization error rate in percent; of nothing spoken, 0."""
        wrong = self.missed + self.false_alarm + self.confusion
        return 100.0 * wrong / self.total if self.total else 0.0


def can_measure_diarization() -> bool:
    """Return whether the package that measures is there."""
    return find_spec("pyannote") is not None and find_spec("pyannote.metrics") is not None


def measure_diarization(
    reference: Iterable[LabeledTurn],
    hypothesis: Iterable[LabeledTurn],
    seconds: float,
    *,
    collar: float = 0.0,
    count_overlap: bool = True,
) -> DiarizationErrors:
    """Return the errors of turns; what the hypothesis calls its speakers does not matter.

    Args:
        reference: Who speaks when.
        hypothesis: Who is said to.
        seconds: Length of the recording; what lies beyond does not count.
        collar: Seconds around each border of the reference, half before and half after, that do not count.
        count_overlap: Whether places where two speak at once count.
    """
    from pyannote.core import Segment, Timeline  # noqa: PLC0415  # an optional part is imported where it is used
    from pyannote.metrics.diarization import DiarizationErrorRate  # noqa: PLC0415  # the same

    metric = DiarizationErrorRate(collar=collar, skip_overlap=not count_overlap)
    whole = Timeline([Segment(0.0, seconds)])
    parts = metric(_to_annotation(reference), _to_annotation(hypothesis), uem=whole, detailed=True)
    return DiarizationErrors(
        float(parts["missed detection"]),
        float(parts["false alarm"]),
        float(parts["confusion"]),
        float(parts["total"]),
    )


def _to_annotation(turns: Iterable[LabeledTurn]) -> Annotation:
    from pyannote.core import Annotation, Segment  # noqa: PLC0415  # the same

    found = Annotation()
    for number, turn in enumerate(turns):
        if turn.end > turn.start:
            found[Segment(turn.start, turn.end), number] = turn.speaker
    return found


def clip_turns(turns: Iterable[LabeledTurn], start: float, seconds: float) -> tuple[LabeledTurn, ...]:
    """Return what of the turns lies in a part of the recording, in the part's own seconds."""
    moved = (replace(turn, start=turn.start - start, end=turn.end - start) for turn in turns)
    inside = (replace(turn, start=max(turn.start, 0.0), end=min(turn.end, seconds)) for turn in moved)
    return tuple(turn for turn in inside if turn.end > turn.start)


def turns_from_finals(
    finals: Iterable[Final], speech: Sequence[tuple[float, float]]
) -> tuple[LabeledTurn, ...]:
    """Return who is said to speak when: by the finals' words, or where those bear no times by their places.

    Args:
        finals: With their speakers, in order.
        speech: Where somebody speaks, in seconds; a final without words' times counts there only.
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
    """Return the finals with the speakers that a summary gives them.

    It says who speaks in a final: the words of the one who was thought to are the other's then.
    """
    speakers = {one.segment_id: one for one in summary.speaker_map}
    found: list[Final] = []
    for final in finals:
        now = speakers.get(final.segment_id)
        if now is None or now.speaker_id == final.speaker_id:
            found.append(final)
            continue
        words = final.words
        if words is not UNSET:
            before = final.speaker_id
            words = tuple(
                replace(word, speaker_id=now.speaker_id) if word.speaker_id == before else word
                for word in words
            )
        found.append(replace(final, speaker_id=now.speaker_id, speaker_label=now.speaker_label, words=words))
    return found
