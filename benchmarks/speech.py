"""Real speech through the embedded model: accuracy, seams, the letter-for-letter promise, lateness, cost.

The long recordings through Whisper too, where it is installed and has its weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks import report
from benchmarks.decoding import Remembering, Streamed, naive, over_socket, stream
from benchmarks.lateness import from_partial_to_final, said_in
from benchmarks.process import Server
from benchmarks.recordings import named, recordings, speech_folder
from echoic.engines.registry import DEFAULT
from echoic.engines.seats import standard_registry
from echoic.engines.silero import SileroModel
from echoic.errors import ModelUnavailable
from echoic.evaluate.lateness import after_passages
from echoic.evaluate.offline import RATE, offline
from echoic.evaluate.scoring import Errors, Seams, errors, percentile, seams

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from benchmarks.recordings import Recording

#: Seconds of audio in a message; 0 stands for the whole recording in one.
SIZES = (0.02, 0.1, 0.5, 4.0, 0.0)
_REST = ("conversation_dev_2", "librispeech", "ljspeech")
AIMS = {"gap_points": 0.3, "after_passage_p95_s": 2.5, "partial_to_final_p95_s": 2.0}


@dataclass(slots=True)
class Score:
    """Sums over the recordings of a group."""

    seconds: float = 0.0
    offline: Errors = field(default_factory=Errors)
    streamed: Errors = field(default_factory=Errors)
    naive: Errors = field(default_factory=Errors)
    seams: Seams = field(default_factory=Seams)
    naive_seams: Seams = field(default_factory=Seams)
    decoded: float = 0.0

    def add(self, other: Score) -> None:
        """Count another's recordings too."""
        for name in ("seconds", "offline", "streamed", "naive", "seams", "naive_seams", "decoded"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def row(self) -> list[report.Cell]:
        """Seconds, words, error rates and gaps."""
        a, b, c = self.offline.rate, self.streamed.rate, self.naive.rate
        return [round(self.seconds), self.offline.words, a, b, c, f"{b - a:+.2f}", f"{c - a:+.2f}"]


def measure(*, quick: bool) -> None:
    """Measure, print and save."""
    folder = speech_folder()
    if folder is None:
        print("\nspeech: skipped, there are no recordings (ECHOIC_SPEECH or ../shared/speech)")
        return
    found = recordings(folder)
    long = named(found, "long_dev")[: 1 if quick else None]
    bench = _bench(DEFAULT)
    if bench is None:
        return
    facts: dict[str, object] = {"aims": AIMS, "long": bench.accuracy("long recordings", long)}
    facts["lateness"] = bench.lateness(long)
    facts["sizes"] = bench.sizes(long, sockets=(0.1, 4.0) if quick else SIZES)
    if not quick:
        facts["others"] = bench.others(found)
    if whisper := _bench("whisper"):
        facts["whisper"] = whisper.accuracy("long recordings, Whisper", long)
        facts["whisper_lateness"] = whisper.lateness(long)
    report.save("speech", facts)


def _bench(model: str) -> Bench | None:
    try:
        return Bench(Remembering(standard_registry().load(model)), SileroModel())
    except ModelUnavailable as missing:
        print(f"\nspeech: {model} is left out. {missing.message}")
        return None


class Bench:
    """The measurements, which share what was decoded.

    Args:
        engine: Decodes.
        silero: Hears where there is speech.
    """

    def __init__(self, engine: Remembering, silero: SileroModel) -> None:
        self._engine = engine
        self._silero = silero
        self._plain: dict[str, Streamed] = {}

    def accuracy(self, title: str, group: Sequence[Recording]) -> list[dict[str, object]]:
        """Print and return word error rates, gaps and seams of each recording and of all."""
        scores = [(one.name, self._score(one)) for one in group]
        total = Score()
        for _, score in scores:
            total.add(score)
        scores.append(("all", total))
        header = ("recording", "s", "words", "offline", "streamed", "naive", "streamed gap", "naive gap")
        report.table(f"Word error rate in %, {title}", header, [[name, *score.row] for name, score in scores])
        _print_seams(title, total)
        return [_facts(name, score) for name, score in scores]

    def others(self, found: Sequence[Recording]) -> list[list[dict[str, object]]]:
        """Print and return the word error rates of the shorter recordings, a row a group."""
        rows: list[list[report.Cell]] = []
        facts = []
        for beginning in _REST:
            total = Score()
            for one in named(found, beginning):
                total.add(self._score(one))
            rows.append([beginning, *total.row])
            facts.append([_facts(beginning, total)])
        header = ("recordings", "s", "words", "offline", "streamed", "naive", "streamed gap", "naive gap")
        report.table("Word error rate in %, other recordings", header, rows)
        return facts

    def _score(self, one: Recording) -> Score:
        audio = one.audio()
        whole = offline(self._engine, self._silero.voice, audio).text
        played = self._plain[one.name] = stream(self._engine, self._silero, audio, 0.1, partials=False)
        joined = naive(self._engine, audio)
        return Score(
            len(audio) / RATE,
            errors(one.reference, whole),
            errors(one.reference, " ".join(played.texts)),
            errors(one.reference, " ".join(joined)),
            seams(whole, played.texts),
            seams(whole, joined),
            played.decoded,
        )

    def lateness(self, group: Sequence[Recording]) -> dict[str, object]:
        """Print and return how late finals are in seconds of audio, and what is decoded for it."""
        late: list[float] = []
        waits: list[float] = []
        unseen: list[float] = []
        heard, decoded, same = 0.0, 0.0, True
        for one in group:
            audio = one.audio()
            played = stream(self._engine, self._silero, audio, 0.1, partials=True)
            late += after_passages(one.passages, said_in(played.finals))
            more, missing = from_partial_to_final(played.frames)
            waits, unseen = waits + more, [*unseen, missing]
            heard, decoded = heard + len(audio) / RATE, decoded + played.decoded
            same = same and played.finals == self._plain[one.name].finals
        plain = sum(self._plain[one.name].decoded for one in group)
        rows: list[list[report.Cell]] = [
            ["end of a passage to its last final", len(late), *_marks(late), AIMS["after_passage_p95_s"]],
            ["word in a partial to its final", len(waits), *_marks(waits), AIMS["partial_to_final_p95_s"]],
        ]
        report.table(
            "Lateness in seconds of audio", ("from … to …", "number", "p50", "p95", "most", "aim p95"), rows
        )
        never = 100 * sum(unseen) / len(unseen) if unseen else 0.0
        print(f"  Words that no partial had shown: {never:.1f} %")
        print(f"  The finals are the same with and without partials: {report.yes(same)}")
        print(f"  Decoded per second heard: {plain / heard:.2f} s, with partials {decoded / heard:.2f} s")
        return {
            "after_passage": dict(zip(("p50", "p95", "most"), _marks(late), strict=True)),
            "partial_to_final": dict(zip(("p50", "p95", "most"), _marks(waits), strict=True)),
            "words_never_in_a_partial_percent": never,
            "decoded_per_second": plain / heard,
            "decoded_per_second_with_partials": decoded / heard,
            "partials_leave_finals_alone": same,
        }

    def sizes(self, group: Sequence[Recording], sockets: Sequence[float]) -> list[dict[str, object]]:
        """Print and return whether the finals are the same to the letter for every size of message."""
        same = {size: sum(self._is_same(one, size) for one in group) for size in SIZES}
        heard: dict[float, bool] = {}
        with Server("--engine", "embedded") as server:
            for number, size in enumerate(sockets):
                one = group[number % len(group)]
                heard[size] = self._is_same_over_socket(server, one, size)
        rows: list[list[report.Cell]] = [
            [
                _size_name(size),
                f"{count} of {len(group)}",
                {True: "same", False: "DIFFERENT", None: ""}[heard.get(size)],
            ]
            for size, count in same.items()
        ]
        header = ("messages of", "same finals", "over a real socket")
        report.table("The finals, to the letter, against messages of 100 ms", header, rows)
        return [dict(zip(("messages", "same", "socket"), row, strict=True)) for row in rows]

    def _is_same(self, one: Recording, size: float) -> bool:
        audio = one.audio()
        played = stream(self._engine, self._silero, audio, _seconds(size, audio), partials=False)
        return played.finals == self._plain[one.name].finals

    def _is_same_over_socket(self, server: Server, one: Recording, size: float) -> bool:
        audio = one.audio()
        return over_socket(server.url, audio, _seconds(size, audio)) == self._plain[one.name].finals


def _seconds(size: float, audio: NDArray[np.float32]) -> float:
    return size or len(audio) / RATE


def _size_name(size: float) -> str:
    return f"{1000 * size:g} ms" if size else "the whole file"


def _marks(values: Sequence[float]) -> tuple[float, float, float]:
    return percentile(values, 50), percentile(values, 95), max(values, default=float("nan"))


def _print_seams(title: str, total: Score) -> None:
    rows: list[list[report.Cell]] = [
        [name, one.boundaries, one.doubled, one.added, one.lost]
        for name, one in (("streamed", total.seams), ("naive join", total.naive_seams))
    ]
    header = ("seams", "boundaries", "doubled", "otherwise added", "lost")
    report.table(f"Words at the seams against the offline decode, {title}", header, rows)


def _facts(name: str, score: Score) -> dict[str, object]:
    return {
        "name": name,
        "seconds": round(score.seconds, 1),
        "words": score.offline.words,
        "wer_offline": score.offline.rate,
        "wer_streamed": score.streamed.rate,
        "wer_naive": score.naive.rate,
        "seams_streamed": _seam_facts(score.seams),
        "seams_naive": _seam_facts(score.naive_seams),
        "decoded_per_second": score.decoded / score.seconds if score.seconds else None,
    }


def _seam_facts(one: Seams) -> dict[str, int]:
    return {"boundaries": one.boundaries, "doubled": one.doubled, "added": one.added, "lost": one.lost}
