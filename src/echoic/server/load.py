"""What the engines have to do and have done, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from echoic.schedule.pool import Engines


class EngineLoad(Collector):
    """Asks the engines at each look.

    Args:
        engines: Whom to ask.
    """

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as of now."""
        queued = GaugeMetricFamily("echoic_windows_queued", "Windows that wait.", labels=["model", "kind"])
        running = GaugeMetricFamily("echoic_windows_running", "Windows being decoded.", labels=["model"])
        windows = CounterMetricFamily("echoic_windows", "Windows decoded.", labels=["model"])
        failures = CounterMetricFamily("echoic_windows_failed", "Windows that failed.", labels=["model"])
        batches = CounterMetricFamily(
            "echoic_batches", "Decoder calls, by windows.", labels=["model", "size"]
        )
        audio = CounterMetricFamily("echoic_decoded_seconds", "Seconds in all windows.", labels=["model"])
        busy = CounterMetricFamily("echoic_decode_seconds", "Seconds spent in decoding.", labels=["model"])
        loaded = GaugeMetricFamily("echoic_models_loaded", "Models that are in memory.", labels=["model"])
        for load in self._engines.snapshot():
            loaded.add_metric([load.model], 1)
            queued.add_metric([load.model, "final"], load.queued_finals)
            queued.add_metric([load.model, "partial"], load.queued_partials)
            running.add_metric([load.model], load.running)
            windows.add_metric([load.model], load.windows)
            failures.add_metric([load.model], load.failures)
            audio.add_metric([load.model], load.audio_seconds)
            busy.add_metric([load.model], load.decode_seconds)
            for size, count in load.batch_sizes.items():
                batches.add_metric([load.model, str(size)], count)
        yield from (loaded, queued, running, windows, failures, batches, audio, busy)
