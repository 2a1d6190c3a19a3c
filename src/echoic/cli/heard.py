"""What came of a stream, and how it is written down."""

from dataclasses import dataclass, field
from functools import reduce

from echoic.cli.options import OutputFormat
from echoic.client import (
    DiarizationSummary,
    Error,
    Final,
    FullTranscript,
    Insight,
    ReceivedFrame,
)
from echoic.evaluate.speakers import apply_corrections
from echoic.subtitles import render, render_insight, render_json


@dataclass(slots=True)
class StreamTranscript:
    """What a server told; a problem is a sentence for a stretch that could not be decoded.

    Attributes:
        finals: In their order.
        summaries: Who spoke in them.
        insights: What it comes down to.
        problems: What went wrong on the way.
        full_text: The full transcript, once it is told.
    """

    finals: list[Final] = field(default_factory=list)
    summaries: list[DiarizationSummary] = field(default_factory=list)
    insights: list[Insight] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    full_text: str = ""

    def add_frame(self, frame: ReceivedFrame) -> None:
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
                self.full_text = text

    def render_as(self, output_format: OutputFormat) -> str:
        """Return it in a format; the speakers are those of the summary at the end."""
        finals = reduce(apply_corrections, self.summaries, self.finals)
        if output_format == "json":
            return render_json(finals, self.insights)
        notes = self.insights[-1:] if output_format is OutputFormat.TXT else []
        return "\n".join([render(finals, output_format.value), *filter(None, map(render_insight, notes))])
