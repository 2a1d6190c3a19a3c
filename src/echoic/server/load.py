"""What the engines have to do and have done, for Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from echoic.schedule.worker import DECODE_TIME_BOUNDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prometheus_client.metrics_core import Metric

    from echoic.schedule.pool import EnginePool

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
