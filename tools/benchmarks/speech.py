"""Real speech through the embedded model: accuracy, seams, identical finals, delays, cost.

The long recordings also run through Whisper if it is installed and has its weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from echoic.engines.models import build_standard_registry
from echoic.engines.registry import DEFAULT_MODEL
from echoic.engines.silero import SileroModel
from echoic.errors import ModelUnavailable
from echoic.evaluate.metrics import (
    EditCounts,
    SeamErrors,
    count_seam_errors,
    count_word_errors,
    measure_latencies,
    percentile,
)
from echoic.evaluate.offline import SAMPLE_RATE, transcribe_offline
from tools.benchmarks import report
from tools.benchmarks.decoding import (
    CachingEngine,
    StreamedRecording,
    decode_naively,
    stream_over_socket,
    stream_through_session,
)
from tools.benchmarks.process import BenchmarkServer
from tools.benchmarks.recordings import (
    BenchmarkRecording,
    filter_by_name,
    find_speech_folder,
    load_recordings,
)
from tools.benchmarks.word_delays import collect_words, measure_final_delays

#: Seconds of audio in a message; 0: the whole recording in one message.
SIZES = (0.02, 0.1, 0.5, 4.0, 0.0)
_REST = ("conversation_dev_2", "librispeech", "ljspeech")
AIMS = {"gap_points": 0.3, "after_passage_p95_s": 2.5, "partial_to_final_p95_s": 2.0}


@dataclass(slots=True)
class SpeechScore:
    """Totals over the recordings of a group."""

    seconds: float = 0.0
    offline: EditCounts = field(default_factory=EditCounts)
    streamed: EditCounts = field(default_factory=EditCounts)
    naive: EditCounts = field(default_factory=EditCounts)
    seams: SeamErrors = field(default_factory=SeamErrors)
    naive_seams: SeamErrors = field(default_factory=SeamErrors)
    decoded: float = 0.0

    def add(self, other: SpeechScore) -> None:
        """Add the totals of another group."""
        for name in ("seconds", "offline", "streamed", "naive", "seams", "naive_seams", "decoded"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def row(self) -> list[report.Cell]:
        """Cells of the table: seconds, words, error rates and differences."""
        a, b, c = self.offline.rate, self.streamed.rate, self.naive.rate
        return [round(self.seconds), self.offline.reference_length, a, b, c, f"{b - a:+.2f}", f"{c - a:+.2f}"]


def measure(*, quick: bool) -> None:
    """Measure, print and save."""
    folder = find_speech_folder()
    if folder is None:
        print("\nspeech: skipped, there are no recordings (ECHOIC_SPEECH or ../shared/speech)")
        return
    found = load_recordings(folder)
    long = filter_by_name(found, "long_dev")[: 1 if quick else None]
    bench = _load_benchmark(DEFAULT_MODEL)
    if bench is None:
        return
    facts: dict[str, object] = {"aims": AIMS, "long": bench.measure_accuracy("long recordings", long)}
    facts["lateness"] = bench.measure_lateness(long)
    facts["sizes"] = bench.compare_message_sizes(long, sockets=(0.1, 4.0) if quick else SIZES)
    if not quick:
        facts["others"] = bench.measure_other_recordings(found)
    if whisper := _load_benchmark("whisper"):
        facts["whisper"] = whisper.measure_accuracy("long recordings, Whisper", long)
        facts["whisper_lateness"] = whisper.measure_lateness(long)
    report.save_results("speech", facts)


def _load_benchmark(model: str) -> SpeechBenchmark | None:
    try:
        return SpeechBenchmark(CachingEngine(build_standard_registry().load_engine(model)), SileroModel())
    except ModelUnavailable as missing:
        print(f"\nspeech: {model} is left out. {missing.message}")
        return None


class SpeechBenchmark:
    """The measurements, which share decoded windows.

    Args:
        engine: The engine.
        silero: The voice activity model.
    """

    def __init__(self, engine: CachingEngine, silero: SileroModel) -> None:
        self._engine = engine
        self._silero = silero
        self._streamed: dict[str, StreamedRecording] = {}

    def measure_accuracy(self, title: str, group: Sequence[BenchmarkRecording]) -> list[dict[str, object]]:
        """Print and return word error rates and seam errors of each recording and of all."""
        scores = [(one.name, self._score_recording(one)) for one in group]
        total = SpeechScore()
        for _, score in scores:
            total.add(score)
        scores.append(("all", total))
        header = ("recording", "s", "words", "offline", "streamed", "naive", "streamed gap", "naive gap")
        report.print_table(
            f"Word error rate in %, {title}", header, [[name, *score.row] for name, score in scores]
        )
        _print_seams(title, total)
        return [_score_to_json(name, score) for name, score in scores]

    def measure_other_recordings(self, found: Sequence[BenchmarkRecording]) -> list[list[dict[str, object]]]:
        """Print and return the word error rates of the shorter recordings, one row per group."""
        rows: list[list[report.Cell]] = []
        facts = []
        for beginning in _REST:
            total = SpeechScore()
            for one in filter_by_name(found, beginning):
                total.add(self._score_recording(one))
            rows.append([beginning, *total.row])
            facts.append([_score_to_json(beginning, total)])
        header = ("recordings", "s", "words", "offline", "streamed", "naive", "streamed gap", "naive gap")
        report.print_table("Word error rate in %, other recordings", header, rows)
        return facts

    def _score_recording(self, one: BenchmarkRecording) -> SpeechScore:
        audio = one.load_audio()
        whole = transcribe_offline(self._engine, self._silero.build_detector, audio).text
        played = self._streamed[one.name] = stream_through_session(
            self._engine, self._silero, audio, 0.1, partials=False
        )
        joined = decode_naively(self._engine, audio)
        return SpeechScore(
            len(audio) / SAMPLE_RATE,
            count_word_errors(one.reference, whole),
            count_word_errors(one.reference, " ".join(played.texts)),
            count_word_errors(one.reference, " ".join(joined)),
            count_seam_errors(whole, played.texts),
            count_seam_errors(whole, joined),
            played.decoded_seconds,
        )

    def measure_lateness(self, group: Sequence[BenchmarkRecording]) -> dict[str, object]:
        """Print and return delays of finals in seconds of audio, and the audio decoded per second."""
        late: list[float] = []
        waits: list[float] = []
        unseen: list[float] = []
        heard, decoded, same = 0.0, 0.0, True
        for one in group:
            audio = one.load_audio()
            played = stream_through_session(self._engine, self._silero, audio, 0.1, partials=True)
            late += measure_latencies(one.passages, collect_words(played.finals))
            more, missing = measure_final_delays(played.frames)
            waits, unseen = waits + more, [*unseen, missing]
            heard, decoded = heard + len(audio) / SAMPLE_RATE, decoded + played.decoded_seconds
            same = same and played.finals == self._streamed[one.name].finals
        plain = sum(self._streamed[one.name].decoded_seconds for one in group)
        rows: list[list[report.Cell]] = [
            [
                "end of a passage to its last final",
                len(late),
                *_compute_percentiles(late),
                AIMS["after_passage_p95_s"],
            ],
            [
                "word in a partial to its final",
                len(waits),
                *_compute_percentiles(waits),
                AIMS["partial_to_final_p95_s"],
            ],
        ]
        report.print_table(
            "Lateness in seconds of audio", ("from … to …", "number", "p50", "p95", "most", "aim p95"), rows
        )
        never = 100 * sum(unseen) / len(unseen) if unseen else 0.0
        print(f"  Words that no partial had shown: {never:.1f} %")
        print(f"  The finals are the same with and without partials: {report.render_verdict(same)}")
        print(f"  Decoded per second heard: {plain / heard:.2f} s, with partials {decoded / heard:.2f} s")
        return {
            "after_passage": dict(zip(("p50", "p95", "most"), _compute_percentiles(late), strict=True)),
            "partial_to_final": dict(zip(("p50", "p95", "most"), _compute_percentiles(waits), strict=True)),
            "words_never_in_a_partial_percent": never,
            "decoded_per_second": plain / heard,
            "decoded_per_second_with_partials": decoded / heard,
            "partials_leave_finals_alone": same,
        }

    def compare_message_sizes(
        self, group: Sequence[BenchmarkRecording], sockets: Sequence[float]
    ) -> list[dict[str, object]]:
        """Print and return whether finals are identical for all sizes of messages."""
        same = {size: sum(self._is_same(one, size) for one in group) for size in SIZES}
        heard: dict[float, bool] = {}
        with BenchmarkServer("--engine", "embedded") as server:
            for number, size in enumerate(sockets):
                one = group[number % len(group)]
                heard[size] = self._is_same_over_socket(server, one, size)
        rows: list[list[report.Cell]] = [
            [
                _describe_size(size),
                f"{count} of {len(group)}",
                {True: "same", False: "DIFFERENT", None: ""}[heard.get(size)],
            ]
            for size, count in same.items()
        ]
        header = ("messages of", "same finals", "over a real socket")
        report.print_table("The finals, to the letter, against messages of 100 ms", header, rows)
        return [dict(zip(("messages", "same", "socket"), row, strict=True)) for row in rows]

    def _is_same(self, one: BenchmarkRecording, size: float) -> bool:
        audio = one.load_audio()
        played = stream_through_session(
            self._engine, self._silero, audio, _resolve_message_seconds(size, audio), partials=False
        )
        return played.finals == self._streamed[one.name].finals

    def _is_same_over_socket(self, server: BenchmarkServer, one: BenchmarkRecording, size: float) -> bool:
        audio = one.load_audio()
        return (
            stream_over_socket(server.url, audio, _resolve_message_seconds(size, audio))
            == self._streamed[one.name].finals
        )


def _resolve_message_seconds(size: float, audio: NDArray[np.float32]) -> float:
    return size or len(audio) / SAMPLE_RATE


def _describe_size(size: float) -> str:
    return f"{1000 * size:g} ms" if size else "the whole file"


def _compute_percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    return percentile(values, 50), percentile(values, 95), max(values, default=float("nan"))


def _print_seams(title: str, total: SpeechScore) -> None:
    rows: list[list[report.Cell]] = [
        [name, one.boundaries, one.doubled, one.added, one.lost]
        for name, one in (("streamed", total.seams), ("naive join", total.naive_seams))
    ]
    header = ("seams", "boundaries", "doubled", "otherwise added", "lost")
    report.print_table(f"Words at the seams against the offline decode, {title}", header, rows)


def _score_to_json(name: str, score: SpeechScore) -> dict[str, object]:
    return {
        "name": name,
        "seconds": round(score.seconds, 1),
        "words": score.offline.reference_length,
        "wer_offline": score.offline.rate,
        "wer_streamed": score.streamed.rate,
        "wer_naive": score.naive.rate,
        "seams_streamed": _seams_to_json(score.seams),
        "seams_naive": _seams_to_json(score.naive_seams),
        "decoded_per_second": score.decoded / score.seconds if score.seconds else None,
    }


def _seams_to_json(one: SeamErrors) -> dict[str, int]:
    return {"boundaries": one.boundaries, "doubled": one.doubled, "added": one.added, "lost": one.lost}
