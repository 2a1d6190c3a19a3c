"""What is counted, for Prometheus; each server has a registry of its own."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

import echoic
from echoic.errors import CLOSE_CODES, ErrorCode
from echoic.protocol import frames
from echoic.protocol.constants import CLOSE_GOING_AWAY, CLOSE_NORMAL
from echoic.protocol.frames import ClientFrame, Error, ServerFrame
from echoic.scheduling.engine_pool import EnginePool
from echoic.scheduling.worker import DECODE_TIME_BOUNDS

#: Text format of Prometheus.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

#: Seconds; upper bounds of the lag's histograms.
LAG_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
#: Close codes that are told apart: ours, and those of clients that leave properly, without a code, or not at
#: all. A client may send thousands of others.
_KNOWN_CLOSE_CODES: Final = {CLOSE_NORMAL, CLOSE_GOING_AWAY, 1005, 1006} | {
    code for code in CLOSE_CODES.values() if code
}


class Metrics:
    """Counts of streams, frames, audio and errors."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.active_streams = Gauge("echoic_streams_active", "Streams that are open.", registry=self.registry)
        self.opened_streams = Counter("echoic_streams", "Streams opened.", registry=self.registry)
        self.resumed_streams = Counter(
            "echoic_streams_resumed", "Streams taken up again.", registry=self.registry
        )
        self.waiting_streams = Gauge(
            "echoic_streams_waiting", "Streams that wait for their clients.", registry=self.registry
        )
        self.backlog_seconds = Gauge(
            "echoic_backlog_seconds",
            "Seconds of audio heard that finals are due for, of all streams.",
            registry=self.registry,
        )
        self.streams_behind = Gauge(
            "echoic_streams_behind", "Streams whose finals come late.", registry=self.registry
        )
        self.is_full = Gauge("echoic_full", "1 while nobody else is let in.", registry=self.registry)
        self._audio = Counter(
            "echoic_audio_seconds", "Seconds of audio heard.", ["model"], registry=self.registry
        )
        self._lags = {
            kind: Histogram(
                f"echoic_{kind}_lag_seconds",
                f"Seconds from the audio that completed a window to its {kind}.",
                ["model"],
                buckets=LAG_BUCKETS,
                registry=self.registry,
            )
            for kind in ("final", "partial")
        }
        self._warnings = Counter(
            "echoic_warnings", "Warning frames, by code.", ["code"], registry=self.registry
        )
        self._warnings.labels("falling_behind")  # at 0 until there is one, so that its rate has a start
        self.dropped_partials = Counter(
            "echoic_partials_dropped", "Partials left out for slow clients.", registry=self.registry
        )
        self._refusals = Counter(
            "echoic_quota_refusals", "Streams and audio refused, by quota.", ["quota"], registry=self.registry
        )
        self._credentials = Counter(
            "echoic_wrong_keys",
            "Wrong keys and tokens, and those not looked at since so many came from their address.",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in ("wrong", "unheard"):  # at 0 until there is one
            self._credentials.labels(outcome)
        self.quota_store_away = Gauge(
            "echoic_quota_store_away", "1 while the store of quotas is away.", registry=self.registry
        )
        self._errors = Counter("echoic_errors", "Error frames, by code.", ["code"], registry=self.registry)
        self._closes = Counter(
            "echoic_closes", "Streams ended, by close code.", ["code"], registry=self.registry
        )
        kinds = Counter(
            "echoic_frames", "Frames, by type and direction.", ["direction", "type"], registry=self.registry
        )
        self._frames = {
            **{kind: kinds.labels("in", _to_wire_name(kind)) for kind in get_args(ClientFrame)},
            **{kind: kinds.labels("out", _to_wire_name(kind)) for kind in get_args(ServerFrame)},
        }
        Info("echoic_build", "The version that runs.", registry=self.registry).info(
            {"version": echoic.__version__}
        )
        ProcessCollector(registry=self.registry)
        self._errors_by_code = {code.value: self._errors.labels(code.value) for code in ErrorCode}

    def count_received(self, frame: ClientFrame) -> None:
        """Count a frame of a client."""
        self._frames[type(frame)].inc()

    def count_sent(self, frame: ServerFrame) -> None:
        """Count a frame to a client."""
        self._frames[type(frame)].inc()
        if isinstance(frame, Error):
            self._errors_by_code[frame.code].inc()
        elif isinstance(frame, frames.Warning):
            self._warnings.labels(frame.code).inc()

    def count_audio(self, model: str, seconds: float) -> None:
        """Count audio that a model is to transcribe."""
        self._audio.labels(model).inc(seconds)

    def observe_lag(self, kind: Literal["final", "partial"], model: str, seconds: float) -> None:
        """Count how long after it was complete a window's words were sent."""
        self._lags[kind].labels(model).observe(seconds)

    def count_quota_refusal(self, quota: str) -> None:
        """Count a refusal by ``daily_minutes`` or ``concurrent_streams``."""
        self._refusals.labels(quota).inc()

    def count_credential(self, outcome: str) -> None:
        """Count a credential that was ``wrong``, or ``unheard``."""
        self._credentials.labels(outcome).inc()

    def count_close(self, code: int) -> None:
        """Count the end of a stream."""
        self._closes.labels(str(code) if code in _KNOWN_CLOSE_CODES else "other").inc()

    def add_collector(self, collector: Collector) -> None:
        """Let ``collector`` tell more at each look."""
        self.registry.register(collector)

    def render_text(self) -> bytes:
        """Return everything in the text format of Prometheus."""
        return generate_latest(self.registry)


def _to_wire_name(kind: type) -> str:
    name = "".join("_" + c.lower() if c.isupper() else c for c in kind.__name__).lstrip("_")
    return "status" if name == "configured" else name


#: Windows; batches are told apart by these.
BATCH_SIZE_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64)


class EngineMetricsCollector(Collector):
    """Asks the engines at each look.

    Args:
        engines: Whom to ask.
    """

    def __init__(self, engines: EnginePool) -> None:
        self._engines = engines

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as of now."""
        queued = GaugeMetricFamily("echoic_windows_queued", "Windows that wait.", labels=["model", "kind"])
        running = GaugeMetricFamily("echoic_windows_running", "Windows being decoded.", labels=["model"])
        windows = CounterMetricFamily("echoic_windows", "Windows decoded.", labels=["model"])
        failures = CounterMetricFamily("echoic_windows_failed", "Windows that failed.", labels=["model"])
        batches = HistogramMetricFamily(
            "echoic_batch_windows", "Windows that were decoded together.", labels=["model"]
        )
        audio = CounterMetricFamily("echoic_decoded_seconds", "Seconds in all windows.", labels=["model"])
        busy = HistogramMetricFamily("echoic_decode_seconds", "Seconds a batch took.", labels=["model"])
        loaded = GaugeMetricFamily("echoic_models_loaded", "Models that are in memory.", labels=["model"])
        lost = GaugeMetricFamily(
            "echoic_models_given_up", "1 for a model that hangs and was given up.", labels=["model"]
        )
        for load in self._engines.collect_stats():
            loaded.add_metric([load.model], 1)
            lost.add_metric([load.model], load.is_hung)
            queued.add_metric([load.model, "final"], load.queued_finals)
            queued.add_metric([load.model, "partial"], load.queued_partials)
            running.add_metric([load.model], load.running)
            windows.add_metric([load.model], load.windows)
            failures.add_metric([load.model], load.failures)
            audio.add_metric([load.model], load.audio_seconds)
            times = to_histogram_buckets(DECODE_TIME_BOUNDS, load.decode_time_counts)
            busy.add_metric([load.model], times, load.decode_seconds)
            batches.add_metric(
                [load.model],
                to_histogram_buckets(BATCH_SIZE_BOUNDS, _count_by_size(load.batch_sizes)),
                load.windows,
            )
        yield from (loaded, lost, queued, running, windows, failures, batches, audio, busy)


def to_histogram_buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Return a histogram's buckets as Prometheus wants them: each holds those below it too.

    Args:
        bounds: Upper bounds, rising.
        counts: How many there were up to each bound and above the one before, and one more: above the last.
    """
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    return list(zip(names, map(float, accumulate(counts)), strict=True))


def _count_by_size(sizes: Mapping[int, int]) -> list[int]:
    counts = [0] * (len(BATCH_SIZE_BOUNDS) + 1)
    for size, count in sizes.items():
        counts[bisect_left(BATCH_SIZE_BOUNDS, size)] += count
    return counts
