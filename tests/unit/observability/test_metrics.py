"""Metrics of a server."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from echoic.engines.scripted import ScriptedEngine
from echoic.observability.metrics import EngineMetricsCollector, Metrics, to_histogram_buckets
from echoic.protocol import frames
from support.scripted_engines import PoolClient, open_pool


def test_unknown_close_codes_add_no_series() -> None:
    metrics = Metrics()

    def series() -> int:
        text = metrics.render_text().decode()
        samples = (one for family in text_string_to_metric_families(text) for one in family.samples)
        return sum(not one.name.endswith("_created") for one in samples)

    metrics.count_close(4999)
    before = series()
    for code in range(3000, 5000):
        metrics.count_close(code)
    assert series() - before == 4  # 4003, 4401, 4403, 4404: the server's own
    assert metrics.registry.get_sample_value("echoic_closes_total", {"code": "other"}) == 1997


def test_warnings_are_counted_by_code() -> None:
    metrics = Metrics()
    value = metrics.registry.get_sample_value
    assert value("echoic_warnings_total", {"code": "falling_behind"}) == 0
    metrics.count_sent(frames.Warning(code="falling_behind", message=""))
    assert value("echoic_warnings_total", {"code": "falling_behind"}) == 1


def test_histogram_buckets_are_cumulative() -> None:
    buckets = to_histogram_buckets((1, 2.5), (3, 0, 4))
    assert buckets == [("1.0", 3.0), ("2.5", 3.0), ("+Inf", 7.0)]


async def test_loaded_models_report_their_windows() -> None:
    async with open_pool(ScriptedEngine()) as pool:
        client = PoolClient(pool)
        client.submit_words(1, "alpha")
        await client.wait_for_answers(1)
        metrics = Metrics()
        metrics.add_collector(EngineMetricsCollector(pool))
        value = metrics.registry.get_sample_value
        assert value("echoic_models_loaded", {"model": "scripted"}) == 1
        assert value("echoic_windows_total", {"model": "scripted"}) == 1
        assert value("echoic_batch_windows_bucket", {"model": "scripted", "le": "1.0"}) == 1
        assert value("echoic_windows_queued", {"model": "scripted", "kind": "final"}) == 0
