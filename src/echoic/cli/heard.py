"""What came of a stream, and how it is written down."""

from dataclasses import dataclass, field
from functools import reduce

from echoic.cli.options import Form
from echoic.client import (
    DiarizationSummary,
    Error,
    Final,
    FullTranscript,
    Insight,
    Received,
)
from echoic.evaluate.speakers import corrected
from echoic.subtitles import as_json, outline, render


@dataclass(slots=True)
class Heard:
    """What a server told; a problem is a sentence for a stretch that could not be decoded.

    Attributes:
        finals: In their order.
        summaries: Who spoke in them.
        insights: What it comes down to.
        problems: What went wrong on the way.
        transcript: The full transcript, once it is told.
    """

    finals: list[Final] = field(default_factory=list)
    summaries: list[DiarizationSummary] = field(default_factory=list)
    insights: list[Insight] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    transcript: str = ""

    def take(self, frame: Received) -> None:
        """Keep a frame, if it is worth it."""
        match frame:
            case Final():
                self.finals.append(frame)
            case DiarizationSummary():
                self.summaries.append(frame)
            case Insight():
                self.insights.append(frame)
            case Error(message=message):
                self.problems.append(message)
            case FullTranscript(text=text):
                self.transcript = text

    def written(self, form: Form) -> str:
        """Return it in a format; the speakers are those of the summary at the end."""
        finals = reduce(corrected, self.summaries, self.finals)
        if form == "json":
            return as_json(finals, self.insights)
        notes = self.insights[-1:] if form is Form.TXT else []
        return "\n".join([render(finals, form.value), *filter(None, map(outline, notes))])
