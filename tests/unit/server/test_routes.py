from __future__ import annotations

import importlib.util
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from echoic.engines.models import build_standard_registry
from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import ScriptedEngine, draw_words
from echoic.errors import Unavailable
from echoic.interfaces.engine import ModelRequest
from echoic.quotas.model import QuotaStoreUnavailable
from support.memory_socket import MemorySocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fastapi import FastAPI

    from support.in_memory_app import StartApp

API = "/api/v1/audio/stream"


@asynccontextmanager
async def open_client(app: FastAPI, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server", headers=headers) as client:
        yield client


async def test_status_describes_every_model(start_app: StartApp) -> None:
    gone = ModelSpec(
        "gone",
        "gone",
        "onnx",
        lambda: Unavailable("Its weights are missing.", "pip install x"),
        ScriptedEngine,
    )
    here = ModelSpec("here", "here", "standard", lambda: None, ScriptedEngine, languages=lambda: ("en",))
    app = await start_app(Registry([gone, here], "here"), preload_model="")
    async with open_client(app) as client:
        status = (await client.get(f"{API}/status")).json()
    assert status["status"] == "available"
    assert status["available_models"] == ["here"]
    assert status["websocket_endpoint"] == f"{API}/transcribe"
    assert status["supported_features"]["partial_results"] is True
    assert status["models"] == [
        {
            "id": "gone",
            "model": "gone",
            "variant": "onnx",
            "available": False,
            "reason": "Its weights are missing.",
            "install": "pip install x",
            "word_timestamps": False,
            "languages": [],
            "loaded": False,
        },
        {
            "id": "here",
            "model": "here",
            "variant": "standard",
            "available": True,
            "reason": None,
            "install": None,
            "word_timestamps": False,
            "languages": ["en"],
            "loaded": False,
        },
    ]


async def test_reasons_contain_no_folders(start_app: StartApp) -> None:
    secret = ModelSpec(
        "parakeet-onnx",
        "parakeet",
        "onnx",
        lambda: Unavailable("/srv/ann smith/p/a.onnx is empty."),
        ScriptedEngine,
    )
    here = ModelSpec("scripted", "scripted", "standard", lambda: None, ScriptedEngine)
    app = await start_app(Registry([secret, here], "scripted"))
    async with open_client(app) as client:
        status = (await client.get(f"{API}/status")).json()
    assert status["models"][0]["reason"] == "a.onnx is empty."
    answer = await app.state.context.services.engines.open_model(
        ModelRequest("parakeet-onnx", "onnx"), fallback=True
    )
    assert answer.fallback_reason == (
        "The model 'parakeet-onnx' is not available here. a.onnx is empty. "
        "The model 'scripted' is used instead."
    )


async def test_status_and_metrics_show_loaded_models(start_app: StartApp) -> None:
    here = ModelSpec("here", "here", "standard", lambda: None, ScriptedEngine)
    app = await start_app(Registry([here], "here"), preload_model="here")
    async with open_client(app) as client:
        assert (await client.get(f"{API}/status")).json()["models"][0]["loaded"] is True
        metrics = (await client.get("/metrics")).text
    assert 'echoic_models_loaded{model="here"} 1.0' in metrics


@pytest.mark.parametrize("here", [True, False])
async def test_word_timestamps_need_an_available_model(start_app: StartApp, *, here: bool) -> None:
    probe = (lambda: None) if here else (lambda: Unavailable("It is not here."))
    timed = ModelSpec("timed", "timed", "standard", probe, ScriptedEngine, word_timestamps=True)
    bare = ModelSpec("bare", "bare", "standard", lambda: None, ScriptedEngine)
    app = await start_app(Registry([timed, bare], "bare"), preload_model="")
    async with open_client(app) as client:
        status = (await client.get(f"{API}/status")).json()
    assert status["supported_features"]["word_timestamps"] is here
    assert [model["word_timestamps"] for model in status["models"]] == [True, False]


@pytest.mark.parametrize(("provider", "given"), [("rules", True), ("off", False)])
async def test_add_ons_are_features_only_if_available(
    start_app: StartApp, tmp_path: Path, *, provider: str, given: bool
) -> None:
    folder = tmp_path if given else None
    diarizer = "embedded" if given else "off"
    app = await start_app(
        insights_provider=provider, speakers_audio_dir=folder, speakers_diarizer=diarizer, preload_model=""
    )
    async with open_client(app) as client:
        features = (await client.get(f"{API}/status")).json()["supported_features"]
    promised = ("live_insights", "speaker_diarization", "audio_persistence")
    assert [features[name] for name in promised] == [given, given, given]
    assert features["custom_vocabulary"] is True


async def test_without_keys_the_limits_are_those_of_local_users(start_app: StartApp) -> None:
    app = await start_app(max_sessions=1)
    async with open_client(app) as client:
        before = (await client.get(f"{API}/limits")).json()
        async with MemorySocket(app) as socket:
            socket.send({"type": "ping"})
            await socket.receive_frame()
            during = (await client.get(f"{API}/limits")).json()
    assert before["tier"] == "local"
    assert before["limits"] == {"daily_minutes": None, "concurrent_streams": None}
    assert (before["active_streams"], before["can_start_stream"]) == (0, True)
    assert (during["active_streams"], during["can_start_stream"]) == (1, False)


async def test_limits_need_the_key(start_app: StartApp) -> None:
    app = await start_app(api_key="right")
    async with open_client(app) as client:
        anonymous = await client.get(f"{API}/limits")
        wrong = await client.get(f"{API}/limits", headers={"x-api-key": "wrong"})
        right = await client.get(f"{API}/limits", headers={"authorization": "Bearer right"})
    assert (anonymous.status_code, wrong.status_code) == (401, 401)
    assert anonymous.json()["code"] == "unauthorized"
    assert right.json()["tier"] == "premium"


async def test_metrics_may_need_a_key_of_their_own(start_app: StartApp) -> None:
    app = await start_app(api_key="right", metrics_key="scrape", wrong_keys_per_minute=3)
    async with open_client(app) as client:
        for headers in ({}, {"x-api-key": "right"}, {"authorization": "Bearer wrong"}):
            answer = await client.get("/metrics", headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert "echoic_" not in answer.text
        assert (await client.get("/metrics?token=scrape")).status_code == 401
        for headers in ({"authorization": "Bearer scrape"}, {"x-api-key": "scrape"}):
            answer = await client.get("/metrics", headers=headers)
            assert (answer.status_code, "echoic_streams_active" in answer.text) == (200, True)
        limits = await client.get(f"{API}/limits", headers={"x-api-key": "scrape"})
        assert limits.status_code == 401
        assert (await client.get("/metrics", headers={"x-api-key": "guess"})).status_code == 429


async def test_status_may_need_a_key(start_app: StartApp) -> None:
    app = await start_app(api_key="right", status_needs_key=True)
    async with open_client(app) as client:
        assert (await client.get(f"{API}/status")).status_code == 401
        answer = await client.get(f"{API}/status", headers={"x-api-key": "right"})
        assert (answer.status_code, answer.json()["status"]) == (200, "available")
        for path in ("/healthz", "/readyz"):
            assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ({}, 200, "degraded"),
        ({"failopen_cap_minutes": 0}, 503, "not ready"),
        ({"ready_needs_quotas": True}, 503, "not ready"),
        ({"failopen_cap_minutes": 0, "ready_needs_quotas": False}, 200, "degraded"),
    ],
)
async def test_readiness_without_the_quota_store_follows_the_settings(
    start_app: StartApp, settings: dict[str, object], code: int, says: str
) -> None:
    app = await start_app(**settings)
    async with open_client(app) as client:
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["quota_store"]) == (200, "reachable")
        app.state.context.ledger.on_store_unavailable(QuotaStoreUnavailable("ConnectionError"))
        away = await client.get("/readyz")
    assert (away.status_code, away.json()["status"]) == (code, says)
    assert away.json()["quota_store"] == "away"
    assert (away.json()["waits_for"] is None) == (code == 200)


async def test_a_server_with_its_default_model_is_ready(start_app: StartApp) -> None:
    app = await start_app()
    async with open_client(app) as client:
        assert (await client.get("/healthz")).status_code == 200
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["models"]) == (200, ["scripted"])
        app.state.context.services.streams.is_draining = True
        assert (await client.get("/readyz")).status_code == 503


async def test_a_server_that_is_not_ready_says_why(start_app: StartApp) -> None:
    missing = ModelSpec(
        "scripted", "scripted", "standard", lambda: Unavailable("Its weights are missing."), ScriptedEngine
    )
    app = await start_app(Registry([missing], "scripted"))
    async with open_client(app) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert "Its weights are missing." in answer.json()["waits_for"]


async def test_a_hung_model_makes_the_server_unready(
    start_app: StartApp,
) -> None:
    end = threading.Event()

    def load() -> ScriptedEngine:
        return ScriptedEngine(word_hooks={"zulu": lambda: end.wait(60)})

    spec = ModelSpec("scripted", "scripted", "standard", lambda: None, load)
    app = await start_app(Registry([spec], "scripted"), decode_timeout_seconds=0.05)
    config = {"type": "config", "model": "scripted", "enable_partial": False}
    try:
        for _ in range(3):
            async with MemorySocket(app) as socket:
                socket.send(config)
                socket.send(draw_words(["zulu"]).tobytes())
                socket.send({"type": "stop"})
                await socket.receive_until("close")
        async with open_client(app) as client, MemorySocket(app) as socket:
            ready = await client.get("/readyz")
            status = (await client.get(f"{API}/status")).json()
            text = (await client.get("/metrics")).text
            socket.send(config)
            assert (await socket.receive_until("error"))[-1]["code"] == "model_unavailable"
    finally:
        end.set()
    assert ready.status_code == 503
    assert "was given up" in ready.json()["waits_for"]
    assert (status["status"], status["available_models"]) == ("unavailable", [])
    assert "was given up" in status["models"][0]["reason"]
    assert 'echoic_models_given_up{model="scripted"} 1.0' in text


async def test_metrics_count_streams_frames_and_audio(app: FastAPI) -> None:
    async with MemorySocket(app) as socket:
        socket.send({"type": "config", "model": "scripted"})
        socket.send(draw_words(["one", "two"]).tobytes())
        socket.send({"type": "commit"})
        await socket.receive_until("full_transcript")
        async with open_client(app) as client:
            text = (await client.get("/metrics")).text
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["echoic_streams_active",] == 1
    assert found["echoic_frames_total", "commit", "in"] == 1
    assert found["echoic_frames_total", "final", "out"] == 1
    assert found["echoic_audio_seconds_total", "scripted"] == pytest.approx(0.8)
    assert found["echoic_windows_total", "scripted"] >= 1
    assert ("echoic_windows_queued", "final", "scripted") in found


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="needs onnxruntime")
def test_the_names_in_status_are_valid_in_a_config() -> None:
    registry = build_standard_registry()
    assert {row.id for row in registry.describe_models()} <= set(registry.names)
