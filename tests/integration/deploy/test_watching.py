"""Checks that the dashboard and the alerts query only metrics that the server exports."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from echoic.engines.scripted import draw_words
from echoic.errors import ErrorCode
from echoic.server.app import build_app
from echoic.server.settings.groups import Settings
from support.memory_socket import MemorySocket

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPLOY = Path(__file__).parents[3] / "deploy"
#: Metrics of Prometheus itself, or of the process collector, which some systems lack.
NOT_OURS = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
NAME = re.compile(r"(?<![\w$\"])[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b(?!\s*\()|\bup\b")
MATCHER = re.compile(r"\b(\w+)(?:=~|!~|!=|=)\"([^\"]*)\"")


def load_alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((DEPLOY / "alerts.yml").read_text("utf-8"))
    assert list(document) == ["groups"]
    return [rule for group in document["groups"] for rule in group["rules"]]


def load_dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text("utf-8"))
    return found


def find_expressions() -> Iterator[str]:
    for panel in load_dashboard()["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (rule["expr"] for rule in load_alerts())
    for variable in load_dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]


def strip_labels(expression: str) -> str:
    """Return an expression without its labels, whose names look like metrics' names."""
    return re.sub(r"\{[^}]*\}|\b(by|on)\s*\([^)]*\)", "", expression)


async def collect_exported_labels() -> dict[str, list[dict[str, str]]]:
    """Return the labels of every sample of a server that has transcribed something, by name."""
    app = build_app(Settings.model_validate({"scripted_engine": True, "preload_model": "scripted"}))
    async with app.router.lifespan_context(app):
        async with MemorySocket(app) as socket:
            socket.send({"type": "config", "model": "scripted", "partial_interval": 0.2})
            audio = draw_words(["one", "two", "three"] * 4)
            socket.send(audio[:16_000].tobytes())
            await socket.receive_until("partial")
            socket.send(audio[16_000:].tobytes())
            socket.send({"type": "stop"})
            await socket.receive_until("full_transcript")
            await socket.wait_until_ended()
        text = app.state.context.services.metrics.render_text().decode()
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        found.setdefault(family.name, [])  # counters with labels have no sample before they count
        found.setdefault(f"{family.name}_total", [])
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


async def test_every_queried_metric_and_label_is_exported() -> None:
    exported = await collect_exported_labels()
    for expression in find_expressions():
        names = set(NAME.findall(strip_labels(expression)))
        assert names, expression
        assert names <= set(exported) | NOT_OURS, expression
        for group in re.findall(r"\bby\s*\(([^)]*)\)", expression):
            wanted = {label.strip() for label in group.split(",")} - {"instance"}
            samples = [labels for name in names for labels in exported.get(name, [])]
            assert not samples or any(wanted <= set(labels) for labels in samples), expression


def test_metric_names_are_found_in_expressions() -> None:
    expression = 'histogram_quantile(0.9, sum by (le, a_b) (rate(echoic_x_bucket{c_d="e_f"}[5m]))) > up'
    assert NAME.findall(strip_labels(expression)) == ["echoic_x_bucket", "up"]


def test_queried_error_codes_exist() -> None:
    codes = {value for text in find_expressions() for name, value in MATCHER.findall(text) if name == "code"}
    assert codes
    assert codes <= {*ErrorCode, "falling_behind"}


@pytest.mark.parametrize("rule", load_alerts(), ids=lambda rule: rule["alert"])
def test_each_alert_has_severity_and_summary(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"].endswith(".")
    assert re.fullmatch(r"\d+[mh]", rule.get("for", "1m"))


@pytest.mark.parametrize("expression", [*find_expressions()])
def test_brackets_of_expressions_are_balanced(expression: str) -> None:
    opened: list[str] = []
    for sign in re.sub(r'"[^"]*"', "", expression):
        if sign in "([{":
            opened.append(sign)
        elif sign in ")]}":
            assert opened.pop() + sign in {"()", "[]", "{}"}
    assert opened == []


def test_dashboard_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in load_dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells
