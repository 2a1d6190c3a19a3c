"""Prometheus metrics of a server, in a registry of its own."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
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
from echoic.scheduling.stats import DECODE_TIME_BOUNDS

#: Media type of the Prometheus text format.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

#: Upper bounds of the buckets of the lag histograms, in seconds.
LAG_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
#: Upper bounds of the buckets of the batch size histogram, in windows.
BATCH_SIZE_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64)
#: Close codes with a label value of their own. The thousands of others a client could send are ``other``.
_KNOWN_CLOSE_CODES: Final = {CLOSE_NORMAL, CLOSE_GOING_AWAY, 1005, 1006} | {
    code for code in CLOSE_CODES.values() if code
}


class Metrics:
    """Counts the streams, frames, audio and errors of a server."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        gauge, counter = partial(Gauge, registry=registry), partial(Counter, registry=registry)
        self.active_streams = gauge("echoic_streams_active", "Streams that are open.")
        self.opened_streams = counter("echoic_streams", "Streams opened.")
        self.resumed_streams = counter("echoic_streams_resumed", "Streams that were resumed.")
        self.waiting_streams = gauge(
            "echoic_streams_waiting", "Streams that wait for their clients to resume."
        )
        self.backlog_seconds = gauge(
            "echoic_backlog_seconds", "Seconds of received audio whose finals are due, all streams."
        )
        self.streams_behind = gauge("echoic_streams_behind", "Streams whose finals come late.")
        self.is_full = gauge("echoic_full", "1 while new streams are refused.")
        self.dropped_partials = counter("echoic_partials_dropped", "Partials dropped for slow clients.")
        self.quota_store_away = gauge("echoic_quota_store_away", "1 while the quota store cannot be reached.")
        self._audio = counter("echoic_audio_seconds", "Seconds of audio received.", ["model"])
        self._lags = {kind: _build_lag_histogram(kind, registry) for kind in ("final", "partial")}
        self._refusals = counter("echoic_quota_refusals", "Streams and audio refused, by quota.", ["quota"])
        self._credentials = counter(
            "echoic_wrong_keys",
            "Wrong keys and tokens, and those refused unchecked as too many came from their address.",
            ["outcome"],
        )
        self._closes = counter("echoic_closes", "Streams ended, by close code.", ["code"])
        self._warnings = counter("echoic_warnings", "Warning frames, by code.", ["code"])
        errors = counter("echoic_errors", "Error frames, by code.", ["code"])
        self._errors_by_code = {code.value: errors.labels(code.value) for code in ErrorCode}
        self._frames = _build_frame_counters(registry)
        # These are 0 from the start, so that their rates are right.
        self._warnings.labels("falling_behind")
        for outcome in ("wrong", "unheard"):
            self._credentials.labels(outcome)
        build = Info("echoic_build", "The version of the server.", registry=registry)
        build.info({"version": echoic.__version__})
        ProcessCollector(registry=registry)

    def count_received(self, frame: ClientFrame) -> None:
        """Count a frame from a client."""
        self._frames[type(frame)].inc()

    def count_sent(self, frame: ServerFrame) -> None:
        """Count a frame to a client."""
        self._frames[type(frame)].inc()
        if isinstance(frame, Error):
            self._errors_by_code[frame.code].inc()
        elif isinstance(frame, frames.Warning):
            self._warnings.labels(frame.code).inc()

    def count_audio(self, model: str, seconds: float) -> None:
        """Count seconds of audio received for a model."""
        self._audio.labels(model).inc(seconds)

    def observe_lag(self, kind: Literal["final", "partial"], model: str, seconds: float) -> None:
        """Record the seconds from the audio that completed a window to its result."""
        self._lags[kind].labels(model).observe(seconds)

    def count_quota_refusal(self, quota: str) -> None:
        """Count a refusal by a quota: ``daily_minutes`` or ``concurrent_streams``."""
        self._refusals.labels(quota).inc()

    def count_credential(self, outcome: str) -> None:
        """Count a credential that was ``wrong``, or ``unheard``: refused unchecked by the throttle."""
        self._credentials.labels(outcome).inc()

    def count_close(self, code: int) -> None:
        """Count the end of a stream."""
        self._closes.labels(str(code) if code in _KNOWN_CLOSE_CODES else "other").inc()

    def add_collector(self, collector: Collector) -> None:
        """Add metrics that ``collector`` reads at each scrape."""
        self.registry.register(collector)

    def render_text(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self.registry)


def _build_lag_histogram(kind: str, registry: CollectorRegistry) -> Histogram:
    description = f"Seconds from the audio that completed a window to its {kind}."
    name = f"echoic_{kind}_lag_seconds"
    return Histogram(name, description, ["model"], buckets=LAG_BUCKETS, registry=registry)


def _build_frame_counters(registry: CollectorRegistry) -> dict[type, Counter]:
    frame_counter = Counter(
        "echoic_frames", "Frames, by type and direction.", ["direction", "type"], registry=registry
    )
    return {
        **{kind: frame_counter.labels("in", _to_wire_name(kind)) for kind in get_args(ClientFrame)},
        **{kind: frame_counter.labels("out", _to_wire_name(kind)) for kind in get_args(ServerFrame)},
    }


def _to_wire_name(kind: type) -> str:
    name = "".join("_" + c.lower() if c.isupper() else c for c in kind.__name__).lstrip("_")
    return "status" if name == "configured" else name


class EngineMetricsCollector(Collector):
    """Collects the metrics of the loaded models at each scrape.

    Args:
        engines: The engine pool.
    """

    def __init__(self, engines: EnginePool) -> None:
        self._engines = engines

    def collect(self) -> Iterator[Metric]:
        """Yield the current metrics."""
        queued = GaugeMetricFamily("echoic_windows_queued", "Windows in the queue.", labels=["model", "kind"])
        running = GaugeMetricFamily("echoic_windows_running", "Windows being decoded.", labels=["model"])
        windows = CounterMetricFamily("echoic_windows", "Windows decoded.", labels=["model"])
        failures = CounterMetricFamily("echoic_windows_failed", "Windows that failed.", labels=["model"])
        batches = HistogramMetricFamily("echoic_batch_windows", "Windows per batch.", labels=["model"])
        audio = CounterMetricFamily(
            "echoic_decoded_seconds", "Seconds of audio in all decoded windows.", labels=["model"]
        )
        busy = HistogramMetricFamily("echoic_decode_seconds", "Seconds that a batch took.", labels=["model"])
        loaded = GaugeMetricFamily("echoic_models_loaded", "Models in memory.", labels=["model"])
        lost = GaugeMetricFamily(
            "echoic_models_given_up", "1 for a model that hangs and was given up.", labels=["model"]
        )
        for stats in self._engines.collect_stats():
            loaded.add_metric([stats.model], 1)
            lost.add_metric([stats.model], stats.is_unavailable)
            queued.add_metric([stats.model, "final"], stats.queued_finals)
            queued.add_metric([stats.model, "partial"], stats.queued_partials)
            running.add_metric([stats.model], stats.running)
            windows.add_metric([stats.model], stats.windows)
            failures.add_metric([stats.model], stats.failures)
            audio.add_metric([stats.model], stats.audio_seconds)
            times = to_histogram_buckets(DECODE_TIME_BOUNDS, stats.decode_time_counts)
            busy.add_metric([stats.model], times, stats.decode_seconds)
            batches.add_metric(
                [stats.model],
                to_histogram_buckets(BATCH_SIZE_BOUNDS, _count_by_size(stats.batch_sizes)),
                stats.windows,
            )
        yield from (loaded, lost, queued, running, windows, failures, batches, audio, busy)


def to_histogram_buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Return cumulative histogram buckets for Prometheus.

    Args:
        bounds: Upper bounds, ascending.
        counts: The count of each bucket, and one more for values above the last bound.
    """
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    return list(zip(names, map(float, accumulate(counts)), strict=True))


def _count_by_size(sizes: Mapping[int, int]) -> list[int]:
    counts = [0] * (len(BATCH_SIZE_BOUNDS) + 1)
    for size, count in sizes.items():
        counts[bisect_left(BATCH_SIZE_BOUNDS, size)] += count
    return counts
