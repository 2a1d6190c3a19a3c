from __future__ import annotations

import asyncio
import importlib.util
import re
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
from echoic.server.app import build_app
from echoic.server.settings.groups import Settings
from support.memory_socket import MemorySocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fastapi import FastAPI

    from support.app_fixtures import StartApp

API = "/api/v1/audio/stream"


@asynccontextmanager
async def browsing(app: FastAPI, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server", headers=headers) as client:
        yield client


async def test_status_tells_the_truth_about_every_model(start_app: StartApp) -> None:
    gone = ModelSpec(
        "gone",
        "gone",
        "onnx",
        lambda: Unavailable("Its weights are missing.", "pip install x"),
        ScriptedEngine,
    )
    here = ModelSpec("here", "here", "standard", lambda: None, ScriptedEngine, languages=lambda: ("en",))
    app = await start_app(Registry([gone, here], "here"), preload_model="")
    async with browsing(app) as client:
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


async def test_no_client_is_told_which_folders_there_are(start_app: StartApp) -> None:
    secret = ModelSpec(
        "parakeet-onnx",
        "parakeet",
        "onnx",
        lambda: Unavailable("/srv/ann smith/p/a.onnx is empty."),
        ScriptedEngine,
    )
    here = ModelSpec("scripted", "scripted", "standard", lambda: None, ScriptedEngine)
    app = await start_app(Registry([secret, here], "scripted"))
    async with browsing(app) as client:
        status = (await client.get(f"{API}/status")).json()
    assert status["models"][0]["reason"] == "a.onnx is empty."
    answer = await app.state.context.services.engines.open_model(
        ModelRequest("parakeet-onnx", "onnx"), fallback=True
    )
    assert answer.fallback_reason == (
        "The model 'parakeet-onnx' is not available here. a.onnx is empty. "
        "The model 'scripted' answers instead."
    )


async def test_status_says_which_models_are_in_memory(start_app: StartApp) -> None:
    here = ModelSpec("here", "here", "standard", lambda: None, ScriptedEngine)
    app = await start_app(Registry([here], "here"), preload_model="here")
    async with browsing(app) as client:
        assert (await client.get(f"{API}/status")).json()["models"][0]["loaded"] is True
        metrics = (await client.get("/metrics")).text
    assert 'echoic_models_loaded{model="here"} 1.0' in metrics


async def test_a_preloaded_model_is_never_idle_and_another_is_once_its_streams_are_gone(
    start_app: StartApp,
) -> None:
    seats = [ModelSpec(name, name, "standard", lambda: None, ScriptedEngine) for name in ("kept", "other")]
    app = await start_app(Registry(seats, "kept"), preload_model="kept", model_idle_seconds=1e-6)
    context = app.state.context
    async with browsing(app) as client:
        async with MemorySocket(app) as stream:
            stream.send({"type": "config", "model": "other"})
            while (await stream.receive_frame()).get("state") != "configured":
                pass
            assert set(context.services.engines.loaded_models) == {"kept", "other"}
        while "other" in context.services.engines.loaded_models:  # noqa: ASYNC110  # rounds of the loop
            await asyncio.sleep(0)
        ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["models"]) == (200, ["kept"])


@pytest.mark.parametrize("here", [True, False])
async def test_word_timestamps_are_promised_only_if_a_model_that_is_there_gives_them(
    start_app: StartApp, *, here: bool
) -> None:
    probe = (lambda: None) if here else (lambda: Unavailable("It is not here."))
    timed = ModelSpec("timed", "timed", "standard", probe, ScriptedEngine, word_timestamps=True)
    bare = ModelSpec("bare", "bare", "standard", lambda: None, ScriptedEngine)
    app = await start_app(Registry([timed, bare], "bare"), preload_model="")
    async with browsing(app) as client:
        status = (await client.get(f"{API}/status")).json()
    assert status["supported_features"]["word_timestamps"] is here
    assert [model["word_timestamps"] for model in status["models"]] == [True, False]


@pytest.mark.parametrize(("provider", "given"), [("rules", True), ("off", False)])
async def test_what_runs_beside_the_recogniser_is_promised_only_where_it_is_to_be_had(
    start_app: StartApp, tmp_path: Path, *, provider: str, given: bool
) -> None:
    folder = tmp_path if given else None
    diarizer = "embedded" if given else "off"
    app = await start_app(
        insights_provider=provider, speakers_audio_dir=folder, speakers_diarizer=diarizer, preload_model=""
    )
    async with browsing(app) as client:
        features = (await client.get(f"{API}/status")).json()["supported_features"]
    promised = ("live_insights", "speaker_diarization", "audio_persistence")
    assert [features[name] for name in promised] == [given, given, given]
    assert features["custom_vocabulary"] is True


async def test_the_limits_of_a_server_without_keys_are_those_of_a_local_user(start_app: StartApp) -> None:
    app = await start_app(max_sessions=1)
    async with browsing(app) as client:
        before = (await client.get(f"{API}/limits")).json()
        async with MemorySocket(app) as socket:
            socket.send({"type": "ping"})
            await socket.receive_frame()
            during = (await client.get(f"{API}/limits")).json()
    assert before["tier"] == "local"
    assert before["limits"] == {"daily_minutes": None, "concurrent_streams": None}
    assert (before["active_streams"], before["can_start_stream"]) == (0, True)
    assert (during["active_streams"], during["can_start_stream"]) == (1, False)


async def test_the_limits_are_told_only_to_who_has_the_key(start_app: StartApp) -> None:
    app = await start_app(api_key="right")
    async with browsing(app) as client:
        nobody = await client.get(f"{API}/limits")
        wrong = await client.get(f"{API}/limits", headers={"x-api-key": "wrong"})
        right = await client.get(f"{API}/limits", headers={"authorization": "Bearer right"})
    assert (nobody.status_code, wrong.status_code) == (401, 401)
    assert nobody.json()["code"] == "unauthorized"
    assert right.json()["tier"] == "premium"


async def test_the_metrics_ask_for_their_own_key_where_one_is_set(start_app: StartApp) -> None:
    app = await start_app(api_key="right", metrics_key="scrape", wrong_keys_per_minute=3)
    async with browsing(app) as client:
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


async def test_the_status_asks_for_a_key_where_that_is_said(start_app: StartApp) -> None:
    app = await start_app(api_key="right", status_needs_key=True)
    async with browsing(app) as client:
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
async def test_while_the_store_of_quotas_is_away_ready_means_that_streams_are_served(
    start_app: StartApp, settings: dict[str, object], code: int, says: str
) -> None:
    app = await start_app(**settings)
    async with browsing(app) as client:
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["quota_store"]) == (200, "reachable")
        app.state.context.ledger.on_store_unavailable(QuotaStoreUnavailable("ConnectionError"))
        away = await client.get("/readyz")
    assert (away.status_code, away.json()["status"]) == (code, says)
    assert away.json()["quota_store"] == "away"
    assert (away.json()["waits_for"] is None) == (code == 200)


async def test_ready_means_that_the_default_model_is_loaded(start_app: StartApp) -> None:
    app = await start_app()
    async with browsing(app) as client:
        assert (await client.get("/healthz")).status_code == 200
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["models"]) == (200, ["scripted"])
        app.state.context.services.streams.is_draining = True
        assert (await client.get("/readyz")).status_code == 503


async def test_not_ready_says_what_is_waited_for(start_app: StartApp) -> None:
    missing = ModelSpec(
        "scripted", "scripted", "standard", lambda: Unavailable("Its weights are missing."), ScriptedEngine
    )
    app = await start_app(Registry([missing], "scripted"))
    async with browsing(app) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert "Its weights are missing." in answer.json()["waits_for"]


async def test_while_a_model_loads_in_anothers_stead_it_is_named() -> None:
    gone = ModelSpec(
        "parakeet-standard", "parakeet", "standard", lambda: Unavailable("It is not here."), ScriptedEngine
    )
    begun, allowed = threading.Event(), threading.Event()

    def load() -> ScriptedEngine:
        begun.set()
        assert allowed.wait(20)
        return ScriptedEngine()

    small = ModelSpec("small", "small", "standard", lambda: None, load)
    app = build_app(Settings(), Registry([gone, small], "small"))
    async with app.router.lifespan_context(app), browsing(app) as client:
        try:
            assert await asyncio.to_thread(begun.wait, 20)
            waits_for = (await client.get("/readyz")).json()["waits_for"]
        finally:
            allowed.set()
        await app.state.context.readiness.settled.wait()
        assert (await client.get("/readyz")).json()["waits_for"] is None
    assert waits_for == "The model 'small' is being loaded."


async def test_a_model_that_was_given_up_is_not_available_and_the_server_not_ready(
    start_app: StartApp,
) -> None:
    end = threading.Event()

    def load() -> ScriptedEngine:
        return ScriptedEngine(word_hooks={"zulu": lambda: end.wait(60)})

    seat = ModelSpec("scripted", "scripted", "standard", lambda: None, load)
    app = await start_app(Registry([seat], "scripted"), decode_timeout_seconds=0.05)
    config = {"type": "config", "model": "scripted", "enable_partial": False}
    try:
        for _ in range(3):
            async with MemorySocket(app) as socket:
                socket.send(config)
                socket.send(draw_words(["zulu"]).tobytes())
                socket.send({"type": "stop"})
                await socket.receive_until("close")
        async with browsing(app) as client, MemorySocket(app) as socket:
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


async def test_the_metrics_can_be_read_and_count_what_happened(app: FastAPI) -> None:
    async with MemorySocket(app) as socket:
        socket.send({"type": "config", "model": "scripted"})
        socket.send(draw_words(["one", "two"]).tobytes())
        socket.send({"type": "commit"})
        await socket.receive_until("full_transcript")
        async with browsing(app) as client:
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


async def test_two_applications_in_a_process_share_nothing(start_app: StartApp) -> None:
    one, other = await start_app(max_sessions=1), await start_app(max_sessions=1)
    async with MemorySocket(one) as socket, MemorySocket(other) as another:
        for each in (socket, another):
            each.send({"type": "ping"})
            assert await each.receive_frame() == {"type": "pong"}
        assert one.state.context.services.metrics.registry.get_sample_value("echoic_streams_total") == 1


async def test_the_page_and_its_files_come_with_a_strict_policy(app: FastAPI) -> None:
    async with browsing(app) as client:
        page = await client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        for name in re.findall(r'(?:src|href)="([^"#]+)"', page.text):
            file = await client.get(f"/{name}")
            assert file.status_code == 200
            assert "default-src 'none'" in file.headers["content-security-policy"]
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "*" not in policy
    assert not re.search(r"https?://|<script>|style=|onclick", page.text)


async def test_every_address_in_the_page_is_relative_and_of_its_own(app: FastAPI) -> None:
    async with browsing(app) as client:
        names = re.findall(r'(?:src|href)="([^"#]+)"', (await client.get("/")).text)
        names += re.findall(r'from "\./([^"]+)"', (await client.get("/app.js")).text)
        assert len(names) > 10
        for name in names:
            assert re.fullmatch(r"[a-z]+\.[a-z]+", name)
            code = re.sub(r"^\s*//.*", "", (await client.get(f"/{name}")).text, flags=re.MULTILINE)
            assert not re.search(r"""["'(](https?:|wss?:)?//(?!www\.w3\.org/2000/svg)""", code)


async def test_nothing_is_loaded_from_elsewhere_for_a_documentation_page(app: FastAPI) -> None:
    async with browsing(app) as client:
        assert (await client.get("/docs")).status_code == 404
        assert (await client.get("/openapi.json")).status_code == 200


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="needs onnxruntime")
def test_the_names_in_the_status_are_names_that_a_config_may_bear() -> None:
    registry = build_standard_registry()
    assert {row.id for row in registry.describe_models()} <= set(registry.names)
