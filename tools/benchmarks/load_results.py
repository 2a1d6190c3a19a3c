"""Measurements of concurrent streams, added up over clients and processes."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from echoic.evaluate.metrics import percentile


@dataclass(slots=True)
class LoadResult:
    """Counts and delays of one or more streams; times in seconds."""

    #: From the message that completes a window to its final.
    finals: list[float] = field(default_factory=list)
    #: For each of ``finals``, the end of its window in seconds of audio.
    final_ends: list[float] = field(default_factory=list)
    #: From the last message that a partial covers to the partial.
    partials: list[float] = field(default_factory=list)
    #: Delay of the load generator itself, for each message.
    late: list[float] = field(default_factory=list)
    #: Completed windows.
    due: int = 0
    #: Completed windows without a final.
    missed: int = 0
    #: Streams whose transcript differs from the script.
    wrong: int = 0
    #: Streams that the server closed or answered with an error.
    lost: int = 0
    #: Processor seconds of the load generator per second.
    cpu: float = 0.0

    def __add__(self, other: "LoadResult") -> "LoadResult":
        """Return both together; ``cpu`` is the mean."""
        return LoadResult(
            self.finals + other.finals,
            self.final_ends + other.final_ends,
            self.partials + other.partials,
            self.late + other.late,
            self.due + other.due,
            self.missed + other.missed,
            self.wrong + other.wrong,
            self.lost + other.lost,
            (self.cpu + other.cpu) / 2,
        )

    def add_final(self, end: float, delay: float | None) -> None:
        """Count a completed window.

        Args:
            end: Where the window ends, in seconds of audio.
            delay: Seconds until its final; None: there was no final.
        """
        self.due += 1
        if delay is None:
            self.missed += 1
        else:
            self.finals.append(delay)
            self.final_ends.append(end)

    def finals_after(self, seconds: float) -> list[float]:
        """Return the delays of finals whose windows end after ``seconds`` of audio."""
        return [delay for delay, end in zip(self.finals, self.final_ends, strict=True) if end > seconds]

    def to_json(self) -> str:
        """Return the result as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> "LoadResult":
        """Return the result that ``to_json`` wrote."""
        return cls(**json.loads(line))


def percentiles_ms(delays: Sequence[float], marks: Sequence[int]) -> list[float]:
    """Return percentiles of delays in milliseconds."""
    return [1000 * percentile(delays, mark) for mark in marks]
