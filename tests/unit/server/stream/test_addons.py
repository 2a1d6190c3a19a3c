"""Add-ons change no word of the transcript, however they fail."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, cast

import pytest

from echoic.diarization.scripted import ScriptedDiarizer
from echoic.engines.scripted import VOCABULARY, draw_words
from echoic.insights.base import Findings, InsightFailed
from echoic.insights.scheduler import InsightScheduler
from echoic.scheduling.diarizer_pool import DiarizerPool
from echoic.server.stream import addons
from echoic.server.stream.addons import AddOnServices
from echoic.server.stream.recordings import Recordings
from echoic.session.config import Capabilities
from support.memory_socket import MemorySocket

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fastapi import FastAPI

    from echoic.insights.base import TranscriptSegment
    from echoic.insights.providers import InsightProviders
    from echoic.interfaces.diarizer import DiarizationChunk, DiarizationResult, SpeakerTurn
    from echoic.server.context import ServerContext
    from echoic.session.config import InsightOptions
    from support.in_memory_app import StartApp


ANN, BOB = VOCABULARY[0], VOCABULARY[10]


AUDIO = (
    draw_words([part for word in (ANN, BOB, ANN) for part in ((word, 0.4), ("", 1.2))])
    .astype("<f4")
    .tobytes()
)


CONFIG: dict[str, object] = {"type": "config", "model": "scripted", "enable_partial": False}


EVERYTHING: dict[str, object] = {"diarization": {"store_audio": True}, "insights": {}}


class HangingDiarizer(ScriptedDiarizer):
    """Blocks until it is released."""

    def __init__(self, go: threading.Event) -> None:
        super().__init__()
        self._go = go

    def diarize(self, chunks: Sequence[DiarizationChunk]) -> list[DiarizationResult]:
        self._go.wait(20)
        return super().diarize(chunks)


class SlowDiarizer(ScriptedDiarizer):
    """Takes 0.1 s for each batch."""

    def diarize(self, chunks: Sequence[DiarizationChunk]) -> list[DiarizationResult]:
        threading.Event().wait(0.1)
        return super().diarize(chunks)


class FailingDiarizer(ScriptedDiarizer):
    """Always raises."""

    def diarize(self, chunks: Sequence[DiarizationChunk]) -> list[DiarizationResult]:
        raise MemoryError(len(chunks))


class Insights:
    """Builds schedulers whose provider calls a function of the test."""

    name, model, max_bytes = "test", "test", 10_000

    def __init__(self, on_summarize: Callable[[], object]) -> None:
        self._summarize = on_summarize

    def build_scheduler(
        self, session: str, _: InsightOptions, on_insight: Callable[..., None]
    ) -> InsightScheduler:
        return InsightScheduler(session, self, on_insight)

    async def summarize(self, segments: Sequence[TranscriptSegment], stage: str) -> Findings:  # noqa: ARG002  # the signature
        self._summarize()
        await asyncio.sleep(0)
        return Findings(("Well.",))

    def warm_up(self) -> None:
        pass

    async def close(self) -> None:
        pass


def set_add_ons(app: FastAPI, shared: AddOnServices) -> None:
    context: ServerContext = app.state.context
    object.__setattr__(context.services, "addons", shared)


def build_all_capabilities() -> Capabilities:
    return Capabilities(diarization=None, storage=None, insights=lambda _: None)


async def run_stream(app: FastAPI, **config: object) -> list[dict[str, object]]:
    """Return all frames of a stream of AUDIO."""
    async with MemorySocket(app) as socket:
        socket.send({**CONFIG, **config})
        socket.send(AUDIO)
        socket.send({"type": "stop"})
        frames = []
        while (frame := await socket.receive_frame()).get("type") != "close":
            frames.append(frame)
        return frames


def select_transcript(frames: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return the finals and transcripts without their speakers."""
    texts = [frame for frame in frames if frame["type"] in ("final", "full_transcript")]
    return [{key: value for key, value in frame.items() if not key.startswith("speaker")} for frame in texts]


def select_frames(frames: list[dict[str, object]], kind: str) -> list[dict[str, object]]:
    return [frame for frame in frames if frame["type"] == kind]


async def test_add_ons_change_no_word(start_app: StartApp, tmp_path: Path) -> None:
    app = await start_app(speakers_diarizer="scripted", speakers_audio_dir=tmp_path)
    plain, full = await run_stream(app), await run_stream(app, **EVERYTHING)
    assert select_transcript(plain) == select_transcript(full)
    assert [frame["speaker_id"] for frame in select_frames(full, "final")] == [0, 1, 0]
    assert [frame["type"] for frame in full[-3:]] == ["full_transcript", "diarization_summary", "insight"]
    (summary,) = select_frames(full, "diarization_summary")
    assert (tmp_path / str(summary["audio_path"])).is_file()


@pytest.mark.parametrize("diarizer", [FailingDiarizer, None])
async def test_a_failing_diarizer_costs_one_warning(
    start_app: StartApp, diarizer: Callable[[], ScriptedDiarizer] | None
) -> None:
    def load() -> ScriptedDiarizer:
        if diarizer is None:
            raise OSError
        return diarizer()

    app = await start_app()
    plain = await run_stream(app)
    set_add_ons(app, AddOnServices(build_all_capabilities(), diarizer_pool=DiarizerPool(load)))
    frames = await run_stream(app, diarization=True)
    assert select_transcript(frames) == select_transcript(plain)
    assert [frame["code"] for frame in select_frames(frames, "warning")] == ["diarization_unavailable"]
    assert not select_frames(frames, "diarization_summary")


async def test_a_hanging_diarizer_delays_finals_only_briefly(
    start_app: StartApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    app = await start_app()
    plain = await run_stream(app)
    monkeypatch.setattr(addons, "MAX_SECONDS_AHEAD", 0.1)
    set_add_ons(
        app,
        AddOnServices(
            build_all_capabilities(), diarizer_pool=DiarizerPool(lambda: HangingDiarizer(go), timeout=0.02)
        ),
    )
    frames = await run_stream(app, diarization=True)
    go.set()
    assert select_transcript(frames) == select_transcript(plain)


async def test_a_slow_diarizer_has_as_long_as_the_audio_plays(start_app: StartApp) -> None:
    app = await start_app()
    set_add_ons(
        app, AddOnServices(build_all_capabilities(), diarizer_pool=DiarizerPool(SlowDiarizer, timeout=0.02))
    )
    first, *others = select_frames(await run_stream(app, diarization=True), "final")
    assert "speaker_id" not in first
    assert [final["speaker_id"] for final in others] == [0, 1]


async def test_an_unwritable_disk_costs_one_warning(start_app: StartApp, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    app = await start_app()
    plain = await run_stream(app)
    set_add_ons(
        app, AddOnServices(Capabilities(storage=None), recordings=Recordings(tmp_path / "file" / "x"))
    )
    async with MemorySocket(app) as socket:
        socket.send({**CONFIG, "diarization": {"store_audio": True}})
        socket.send(AUDIO)
        frames: list[dict[str, object]] = []
        codes: list[object] = []
        while "audio_persistence_unavailable" not in codes:
            frames += await socket.receive_until("warning")
            codes.append(frames[-1]["code"])
        socket.send({"type": "stop"})
        while (frame := await socket.receive_frame()).get("type") != "close":
            frames.append(frame)
    assert select_transcript(frames) == select_transcript(plain)


def _fail() -> None:
    raise InsightFailed("Not today.")


@pytest.mark.parametrize("problem", [_fail, lambda: 1 / 0])
async def test_failing_insights_send_an_insight_error(
    start_app: StartApp, problem: Callable[[], object]
) -> None:
    app = await start_app()
    plain = await run_stream(app)
    set_add_ons(
        app,
        AddOnServices(
            build_all_capabilities(), insight_providers=cast("InsightProviders", Insights(problem))
        ),
    )
    frames = await run_stream(app, insights=True)
    assert select_transcript(frames) == select_transcript(plain)
    assert [frame["stage"] for frame in select_frames(frames, "insight_error")] == ["final"]


class BlockingFinalizer(ScriptedDiarizer):
    """Finalizes a session once it is released."""

    def __init__(self, go: threading.Event) -> None:
        super().__init__()
        self._go = go

    def finalize(self, state: object) -> tuple[SpeakerTurn, ...]:
        assert self._go.wait(20)
        return super().finalize(state)


async def test_an_insight_follows_the_summary_of_its_commit(start_app: StartApp) -> None:
    go, told = threading.Event(), asyncio.Event()
    insights = cast("InsightProviders", Insights(told.set))
    app = await start_app()
    pool = DiarizerPool(lambda: BlockingFinalizer(go), timeout=20.0)
    set_add_ons(app, AddOnServices(build_all_capabilities(), diarizer_pool=pool, insight_providers=insights))
    async with MemorySocket(app) as socket:
        socket.send({**CONFIG, "diarization": True, "insights": True})
        socket.send(AUDIO)
        socket.send({"type": "commit"})
        await socket.receive_until("full_transcript")
        await told.wait()
        for _ in range(20):  # the insight is ready; nothing may come of it
            await asyncio.sleep(0)
        go.set()
        assert [(await socket.receive_frame())["type"] for _ in range(2)] == [
            "diarization_summary",
            "insight",
        ]


async def test_an_insight_from_before_a_reset_is_not_sent_after_it(start_app: StartApp) -> None:
    go, told = threading.Event(), asyncio.Event()
    app = await start_app()
    pool = DiarizerPool(lambda: BlockingFinalizer(go), timeout=20.0)
    set_add_ons(
        app,
        AddOnServices(
            build_all_capabilities(),
            diarizer_pool=pool,
            insight_providers=cast("InsightProviders", Insights(told.set)),
        ),
    )
    async with MemorySocket(app) as socket:
        socket.send({**CONFIG, "diarization": True, "insights": True})
        socket.send(AUDIO)
        socket.send({"type": "commit"})
        socket.send({"type": "reset"})
        socket.send(AUDIO)
        socket.send({"type": "commit"})
        await socket.receive_until("full_transcript")
        await told.wait()
        go.set()
        kinds = [frame["type"] for frame in await socket.receive_until("full_transcript")]
        kinds += [frame["type"] for frame in await socket.receive_until("insight")]
    order = ["diarization_summary", "insight", "status", "full_transcript", "diarization_summary", "insight"]
    assert [kind for kind in kinds if kind != "final"] == order


async def test_new_insight_options_keep_the_transcript(app: FastAPI) -> None:
    async with MemorySocket(app) as socket:
        socket.send({**CONFIG, "insights": True})
        socket.send(AUDIO)
        socket.send({"type": "config", "insights": {"interval_seconds": 120}})
        socket.send(AUDIO)
        socket.send({"type": "commit"})
        insight = (await socket.receive_until("insight"))[-1]
        assert insight["source"]["segment_range"][0] == 1
        socket.send({"type": "config", "insights": False})
        socket.send(AUDIO)
        socket.send({"type": "stop"})
        frames = [await socket.receive_frame()]
        while frames[-1]["type"] != "close":
            frames.append(await socket.receive_frame())
    assert not select_frames(frames, "insight")


async def test_a_disconnect_releases_the_add_ons(start_app: StartApp, tmp_path: Path) -> None:
    app = await start_app(speakers_diarizer="scripted", speakers_audio_dir=tmp_path)
    async with MemorySocket(app) as socket:
        socket.send({**CONFIG, **EVERYTHING})
        socket.send(AUDIO)
        await socket.receive_until("final")
    context: ServerContext = app.state.context
    assert len(context.services.streams) == 0
    pool = context.services.addons.diarizer_pool
    assert pool is not None
    assert pool.pending_count == 0
