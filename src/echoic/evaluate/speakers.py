"""Who is taken for whom: diarization error by pyannote.metrics (the extra ``eval``)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from msgspec import UNSET

from echoic.evaluate.rttm import SpeakerTurn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pyannote.core import Annotation

    from echoic.wire.frames import DiarizationSummary, Final

#: Seconds between two words of a speaker that still are his: annotators hear no pause in them.
#: Source: the 0.5 s of pauses in NIST's evaluation plans for rich transcription.
PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class SpeakerErrors:
    """Seconds that are missed, taken for speech, and given to the wrong speaker, of ``total`` spoken."""

    missed: float = 0.0
    false_alarm: float = 0.0
    confusion: float = 0.0
    total: float = 0.0

    def __add__(self, other: SpeakerErrors) -> SpeakerErrors:
        return SpeakerErrors(
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


def can_measure() -> bool:
    """Return whether the package that measures is there."""
    return find_spec("pyannote") is not None and find_spec("pyannote.metrics") is not None


def speaker_errors(
    reference: Iterable[SpeakerTurn],
    hypothesis: Iterable[SpeakerTurn],
    seconds: float,
    *,
    collar: float = 0.0,
    overlap: bool = True,
) -> SpeakerErrors:
    """Return the errors of turns; what the hypothesis calls its speakers does not matter.

    Args:
        reference: Who speaks when.
        hypothesis: Who is said to.
        seconds: Length of the recording; what lies beyond does not count.
        collar: Seconds around each border of the reference, half before and half after, that do not count.
        overlap: Whether places where two speak at once count.
    """
    from pyannote.core import Segment, Timeline  # noqa: PLC0415  # an optional part is imported where it is used
    from pyannote.metrics.diarization import DiarizationErrorRate  # noqa: PLC0415  # the same

    metric = DiarizationErrorRate(collar=collar, skip_overlap=not overlap)
    whole = Timeline([Segment(0.0, seconds)])
    parts = metric(_annotation(reference), _annotation(hypothesis), uem=whole, detailed=True)
    return SpeakerErrors(
        float(parts["missed detection"]),
        float(parts["false alarm"]),
        float(parts["confusion"]),
        float(parts["total"]),
    )


def _annotation(turns: Iterable[SpeakerTurn]) -> Annotation:
    from pyannote.core import Annotation, Segment  # noqa: PLC0415  # the same

    found = Annotation()
    for number, turn in enumerate(turns):
        if turn.end > turn.start:
            found[Segment(turn.start, turn.end), number] = turn.speaker
    return found


def part_of(turns: Iterable[SpeakerTurn], start: float, seconds: float) -> tuple[SpeakerTurn, ...]:
    """Return what of the turns lies in a part of the recording, in the part's own seconds."""
    moved = (replace(turn, start=turn.start - start, end=turn.end - start) for turn in turns)
    inside = (replace(turn, start=max(turn.start, 0.0), end=min(turn.end, seconds)) for turn in moved)
    return tuple(turn for turn in inside if turn.end > turn.start)


def turns_of(finals: Iterable[Final], speech: Sequence[tuple[float, float]]) -> tuple[SpeakerTurn, ...]:
    """Return who is said to speak when: by the finals' words, or where those bear no times by their places.

    Args:
        finals: With their speakers, in order.
        speech: Where somebody speaks, in seconds; a final without words' times counts there only.
    """
    turns: list[SpeakerTurn] = []
    for turn in (turn for final in finals for turn in _turns(final, speech)):
        last = turns[-1] if turns else None
        if last and last.speaker == turn.speaker and turn.start - last.end <= PAUSE:
            turns[-1] = replace(last, end=max(last.end, turn.end))
        else:
            turns.append(turn)
    return tuple(turns)


def _turns(final: Final, speech: Sequence[tuple[float, float]]) -> Iterator[SpeakerTurn]:
    if final.words is not UNSET and final.words:
        for word in final.words:
            speaker = final.speaker_id if word.speaker_id is UNSET else word.speaker_id
            if speaker is not UNSET:
                yield SpeakerTurn(word.start, word.end, str(speaker))
    elif final.speaker_id is not UNSET:
        for begin, stop in speech:
            start, end = max(begin, final.segment_start), min(stop, final.segment_end)
            if end > start:
                yield SpeakerTurn(start, end, str(final.speaker_id))


def corrected(finals: Iterable[Final], summary: DiarizationSummary) -> list[Final]:
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
