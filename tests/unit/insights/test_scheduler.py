from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from echoic.insights.base import Findings, InsightFailed, InsightStage, TranscriptSegment
from echoic.insights.scheduler import InsightSchedule, InsightScheduler
from echoic.protocol.frames import Insight, InsightError, InsightSource
from support.timing import run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Sequence


class Scripted:
    """A provider that records its requests and takes a set time."""

    name, model = "scripted", "none"

    def __init__(self, seconds: float = 1.0, max_bytes: int = 10_000) -> None:
        self.max_bytes = max_bytes
        self.seconds = seconds
        self.asked: list[tuple[float, InsightStage, list[int]]] = []
        self.failure: Exception | None = None
        self.running = self.most_running = 0

    def warm_up(self) -> None:
        pass

    async def summarize(self, segments: Sequence[TranscriptSegment], stage: InsightStage) -> Findings:
        now = asyncio.get_running_loop().time()
        self.asked.append((now, stage, [one.segment_id for one in segments]))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.running -= 1
        if self.failure is not None:
            raise self.failure
        return Findings(summary=(segments[-1].text,))

    async def close(self) -> None:
        pass


class Talk:
    """A scheduler, its provider, and its frames with their times."""

    def __init__(self, provider: Scripted | None = None, schedule: InsightSchedule | None = None) -> None:
        self.provider = provider or Scripted()
        self.frames: list[tuple[float, Insight | InsightError]] = []
        self.scheduler = InsightScheduler("s", self.provider, self._on_frame, schedule or InsightSchedule())
        self.segment = 0

    def _on_frame(self, frame: Insight | InsightError) -> None:
        self.frames.append((asyncio.get_running_loop().time(), frame))

    def say(self, text: str = "words") -> None:
        self.segment += 1
        end = self.segment * 1.5
        self.scheduler.on_final(TranscriptSegment(self.segment, text, end - 1.5, end))

    async def speak(self, seconds: float) -> None:
        for _ in range(round(seconds / 1.5)):
            self.say()
            await asyncio.sleep(1.5)

    @property
    def stages(self) -> list[str]:
        return [frame.stage for _, frame in self.frames]

    @property
    def insights(self) -> list[Insight]:
        return [frame for _, frame in self.frames if isinstance(frame, Insight)]


def test_a_live_insight_every_90_seconds_covers_all_new_finals() -> None:
    async def story() -> Talk:
        talk = Talk()
        await talk.speak(300)
        return talk

    talk = run_in_virtual_time(story())
    assert [(at, stage) for at, stage, _ in talk.provider.asked] == [
        (90, "live"),
        (180, "live"),
        (270, "live"),
    ]
    ranges = [insight.source.segment_range for insight in talk.insights]
    assert ranges == [(1, 60), (61, 120), (121, 180)]
    assert [insight.insight_id for insight in talk.insights] == ["s-1", "s-2", "s-3"]
    assert talk.insights[1].source == InsightSource((61, 120), 90.0, 180.0, 120)


def test_without_new_finals_the_next_insight_waits_for_words() -> None:
    async def story() -> Talk:
        talk = Talk()
        talk.say()
        await asyncio.sleep(1000)
        assert len(talk.provider.asked) == 1
        talk.say()
        await asyncio.sleep(2)
        talk.say()
        await asyncio.sleep(1000)
        return talk

    talk = run_in_virtual_time(story())
    assert [at for at, _, _ in talk.provider.asked] == [90, 1000, 1090]


def test_few_new_finals_are_joined_by_earlier_ones() -> None:
    async def story() -> Talk:
        talk = Talk()
        await talk.speak(15)
        await asyncio.sleep(200)
        talk.say()
        await asyncio.sleep(2)
        return talk

    talk = run_in_virtual_time(story())
    assert [ids for _, _, ids in talk.provider.asked] == [list(range(1, 11)), list(range(6, 12))]


def test_insights_never_run_concurrently() -> None:
    async def story() -> Talk:
        talk = Talk(Scripted(seconds=200), InsightSchedule(timeout=300))
        await talk.speak(900)
        return talk

    talk = run_in_virtual_time(story())
    assert talk.provider.most_running == 1
    assert [at for at, _, _ in talk.provider.asked] == [90, 290, 490, 690, 890]


def test_a_final_insight_covers_all_since_the_last_commit() -> None:
    async def story() -> Talk:
        talk = Talk()
        await talk.speak(15)
        talk.scheduler.on_commit()
        await talk.speak(15)
        talk.scheduler.on_commit()
        talk.scheduler.on_commit()
        await asyncio.sleep(500)
        return talk

    talk = run_in_virtual_time(story())
    assert [(at, stage) for at, stage, _ in talk.provider.asked] == [(15, "final"), (30, "final")]
    assert [insight.source.segment_range for insight in talk.insights] == [(1, 10), (11, 20)]
    assert [insight.source.total_segments for insight in talk.insights] == [10, 20]


def test_a_commit_replaces_a_running_live_insight() -> None:
    async def story() -> Talk:
        talk = Talk(Scripted(seconds=10))
        await talk.speak(93)
        talk.scheduler.on_commit()
        await asyncio.sleep(60)
        return talk

    talk = run_in_virtual_time(story())
    assert [stage for _, stage, _ in talk.provider.asked] == ["live", "final"]
    assert talk.stages == ["final"]
    assert talk.provider.running == 0


def test_a_final_insight_delays_the_next_live_one() -> None:
    async def story() -> Talk:
        talk = Talk()
        await talk.speak(60)
        talk.scheduler.on_commit()
        await talk.speak(120)
        return talk

    talk = run_in_virtual_time(story())
    assert [(at, stage) for at, stage, _ in talk.provider.asked] == [(60, "final"), (150, "live")]


def test_too_many_pending_commits_drop_the_oldest() -> None:
    async def story() -> Talk:
        talk = Talk(Scripted(seconds=20))
        for _ in range(50):
            talk.say()
            talk.scheduler.on_commit()
            await asyncio.sleep(0.1)
        await asyncio.sleep(1000)
        return talk

    talk = run_in_virtual_time(story())
    assert len(talk.frames) == 50
    assert len(talk.provider.asked) == 5
    assert talk.provider.most_running == 1


@pytest.mark.parametrize("failure", [InsightFailed("It is away."), ValueError("secret words")])
def test_a_failure_is_one_frame_and_its_finals_come_later(failure: Exception) -> None:
    async def story() -> Talk:
        talk = Talk()
        talk.provider.failure = failure
        await talk.speak(100)
        talk.provider.failure = None
        await talk.speak(100)
        return talk

    talk = run_in_virtual_time(story())
    (_, error), (_, insight) = talk.frames
    assert isinstance(error, InsightError)
    assert "secret" not in error.message
    assert isinstance(insight, Insight)
    assert insight.source.segment_range == (1, 120)


def test_a_slow_insight_times_out() -> None:
    async def story() -> Talk:
        talk = Talk(Scripted(seconds=1e6), InsightSchedule(timeout=30))
        talk.say()
        talk.scheduler.on_commit()
        await asyncio.sleep(100)
        return talk

    talk = run_in_virtual_time(story())
    assert talk.frames == [
        (30, InsightError(stage="final", message="The insight was not ready within 30 s."))
    ]
    assert talk.provider.running == 0


def test_a_reset_drops_the_transcript_and_cancels_insights() -> None:
    async def story() -> Talk:
        talk = Talk(Scripted(seconds=10))
        await talk.speak(93)
        talk.scheduler.reset()
        talk.scheduler.on_commit()
        await asyncio.sleep(500)
        talk.segment = 0
        await talk.speak(15)
        talk.scheduler.on_commit()
        await asyncio.sleep(60)
        return talk

    talk = run_in_virtual_time(story())
    (insight,) = talk.insights
    assert insight.source == InsightSource((1, 10), 0.0, 15.0, 10)


@pytest.mark.parametrize("committed", [True, False])
def test_after_stop_no_frame_comes_and_nothing_runs(*, committed: bool) -> None:
    async def story() -> Talk:
        talk = Talk(Scripted(seconds=10))
        await talk.speak(93)
        if committed:
            talk.scheduler.on_commit()
            talk.say()
            talk.scheduler.on_commit()
            await asyncio.sleep(1)
        talk.scheduler.stop()
        talk.say()
        talk.scheduler.on_commit()
        talk.scheduler.reset()
        await asyncio.sleep(1000)
        return talk

    talk = run_in_virtual_time(story())
    assert talk.frames == []
    assert talk.provider.running == 0


def test_the_result_of_an_uncancellable_provider_is_dropped() -> None:
    class Stubborn(Scripted):
        async def summarize(self, segments: Sequence[TranscriptSegment], stage: InsightStage) -> Findings:
            try:
                return await super().summarize(segments, stage)
            except asyncio.CancelledError:
                return Findings()

    async def story() -> Talk:
        talk = Talk(Stubborn(seconds=10))
        await talk.speak(93)
        talk.scheduler.stop()
        await asyncio.sleep(100)
        return talk

    assert run_in_virtual_time(story()).frames == []


def test_the_wait_for_final_insights_has_a_timeout() -> None:
    async def story(seconds: float) -> tuple[Talk, float]:
        talk = Talk(Scripted(seconds=4))
        for _ in range(2):
            talk.say()
            talk.scheduler.on_commit()
        await talk.scheduler.wait_for_final(seconds)
        done = asyncio.get_running_loop().time()
        await asyncio.sleep(100)
        return talk, done

    talk, done = run_in_virtual_time(story(10))
    assert (done, talk.stages, len(talk.insights)) == (8, ["final", "final"], 2)
    talk, done = run_in_virtual_time(story(5))
    assert (done, len(talk.insights)) == (5, 1)
    (_, last) = talk.frames[-1]
    assert last == InsightError(stage="final", message="The insight was not ready when the stream ended.")
    assert talk.provider.running == 0


def test_the_end_does_not_wait_for_a_live_insight() -> None:
    async def story() -> float:
        talk = Talk(Scripted(seconds=10))
        await talk.speak(93)
        began = asyncio.get_running_loop().time()
        await talk.scheduler.wait_for_final(10)
        return asyncio.get_running_loop().time() - began

    assert run_in_virtual_time(story()) == 0


def test_the_transcript_of_a_failing_provider_is_bounded() -> None:
    async def story() -> Talk:
        talk = Talk(Scripted(max_bytes=2000))
        talk.provider.failure = InsightFailed("no")
        await talk.speak(3 * 3600)
        talk.provider.failure = None
        talk.scheduler.on_commit()
        await asyncio.sleep(5)
        return talk

    talk = run_in_virtual_time(story())
    assert len(talk.provider.asked) <= 121
    assert max(len(ids) for _, _, ids in talk.provider.asked) <= 2000 // 20
    (insight,) = talk.insights
    assert insight.source.segment_range[1] == insight.source.total_segments == 7200


def test_a_final_without_words_requests_no_insight() -> None:
    async def story() -> Talk:
        talk = Talk()
        talk.say("   ")
        await asyncio.sleep(200)
        talk.scheduler.on_commit()
        await asyncio.sleep(200)
        return talk

    assert run_in_virtual_time(story()).provider.asked == []
