from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from echoic.insights.base import Findings, InsightFailed, InsightStage, TranscriptSegment
from echoic.insights.scheduler import InsightSchedule, InsightScheduler
from echoic.protocol.frames import Insight, InsightError, InsightSource
from support.virtual_time import run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Sequence


class Scripted:
    """A provider that does as it is told and notes when it was asked, and about what."""

    name, model = "scripted", "none"

    def __init__(self, seconds: float = 1.0, room: int = 10_000) -> None:
        self.max_bytes = room
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


class Room:
    """A watcher, its provider, and the frames it told with their times."""

    def __init__(self, provider: Scripted | None = None, pace: InsightSchedule | None = None) -> None:
        self.provider = provider or Scripted()
        self.frames: list[tuple[float, Insight | InsightError]] = []
        self.watcher = InsightScheduler("s", self.provider, self._told, pace or InsightSchedule())
        self.segment = 0

    def _told(self, frame: Insight | InsightError) -> None:
        self.frames.append((asyncio.get_running_loop().time(), frame))

    def say(self, text: str = "words") -> None:
        self.segment += 1
        end = self.segment * 1.5
        self.watcher.on_final(TranscriptSegment(self.segment, text, end - 1.5, end))

    async def talk(self, seconds: float) -> None:
        for _ in range(round(seconds / 1.5)):
            self.say()
            await asyncio.sleep(1.5)

    @property
    def stages(self) -> list[str]:
        return [frame.stage for _, frame in self.frames]

    @property
    def insights(self) -> list[Insight]:
        return [frame for _, frame in self.frames if isinstance(frame, Insight)]


def test_a_live_insight_comes_every_ninety_seconds_of_talk_and_looks_at_all_that_is_new() -> None:
    async def story() -> Room:
        room = Room()
        await room.talk(300)
        return room

    room = run_in_virtual_time(story())
    assert [(at, stage) for at, stage, _ in room.provider.asked] == [
        (90, "live"),
        (180, "live"),
        (270, "live"),
    ]
    ranges = [insight.source.segment_range for insight in room.insights]
    assert ranges == [(1, 60), (61, 120), (121, 180)]
    assert [insight.insight_id for insight in room.insights] == ["s-1", "s-2", "s-3"]
    assert room.insights[1].source == InsightSource((61, 120), 90.0, 180.0, 120)


def test_without_a_new_final_nothing_is_made_and_the_next_words_bring_one_at_once() -> None:
    async def story() -> Room:
        room = Room()
        room.say()
        await asyncio.sleep(1000)
        assert len(room.provider.asked) == 1
        room.say()
        await asyncio.sleep(2)
        room.say()
        await asyncio.sleep(1000)
        return room

    room = run_in_virtual_time(story())
    assert [at for at, _, _ in room.provider.asked] == [90, 1000, 1090]


def test_few_new_finals_are_looked_at_together_with_those_before_them() -> None:
    async def story() -> Room:
        room = Room()
        await room.talk(15)
        await asyncio.sleep(200)
        room.say()
        await asyncio.sleep(2)
        return room

    room = run_in_virtual_time(story())
    assert [ids for _, _, ids in room.provider.asked] == [list(range(1, 11)), list(range(6, 12))]


def test_one_is_made_at_a_time_however_slow_it_is() -> None:
    async def story() -> Room:
        room = Room(Scripted(seconds=200), InsightSchedule(timeout=300))
        await room.talk(900)
        return room

    room = run_in_virtual_time(story())
    assert room.provider.most_running == 1
    assert [at for at, _, _ in room.provider.asked] == [90, 290, 490, 690, 890]


def test_a_commit_brings_the_final_insight_about_all_since_the_last_one() -> None:
    async def story() -> Room:
        room = Room()
        await room.talk(15)
        room.watcher.on_commit()
        await room.talk(15)
        room.watcher.on_commit()
        room.watcher.on_commit()
        await asyncio.sleep(500)
        return room

    room = run_in_virtual_time(story())
    assert [(at, stage) for at, stage, _ in room.provider.asked] == [(15, "final"), (30, "final")]
    assert [insight.source.segment_range for insight in room.insights] == [(1, 10), (11, 20)]
    assert [insight.source.total_segments for insight in room.insights] == [10, 20]


def test_a_commit_takes_the_place_of_a_live_insight_under_way() -> None:
    async def story() -> Room:
        room = Room(Scripted(seconds=10))
        await room.talk(93)
        room.watcher.on_commit()
        await asyncio.sleep(60)
        return room

    room = run_in_virtual_time(story())
    assert [stage for _, stage, _ in room.provider.asked] == ["live", "final"]
    assert room.stages == ["final"]
    assert room.provider.running == 0


def test_after_a_final_insight_the_next_live_one_waits_its_time() -> None:
    async def story() -> Room:
        room = Room()
        await room.talk(60)
        room.watcher.on_commit()
        await room.talk(120)
        return room

    room = run_in_virtual_time(story())
    assert [(at, stage) for at, stage, _ in room.provider.asked] == [(60, "final"), (150, "live")]


def test_commits_that_come_faster_than_insights_are_told_so_and_do_not_heap_up() -> None:
    async def story() -> Room:
        room = Room(Scripted(seconds=20))
        for _ in range(50):
            room.say()
            room.watcher.on_commit()
            await asyncio.sleep(0.1)
        await asyncio.sleep(1000)
        return room

    room = run_in_virtual_time(story())
    assert len(room.frames) == 50
    assert len(room.provider.asked) == 5
    assert room.provider.most_running == 1


@pytest.mark.parametrize("failure", [InsightFailed("It is away."), ValueError("secret words")])
def test_what_fails_is_one_frame_and_the_next_insight_covers_it(failure: Exception) -> None:
    async def story() -> Room:
        room = Room()
        room.provider.failure = failure
        await room.talk(100)
        room.provider.failure = None
        await room.talk(100)
        return room

    room = run_in_virtual_time(story())
    (_, error), (_, insight) = room.frames
    assert isinstance(error, InsightError)
    assert "secret" not in error.message
    assert isinstance(insight, Insight)
    assert insight.source.segment_range == (1, 120)


def test_what_takes_too_long_is_given_up() -> None:
    async def story() -> Room:
        room = Room(Scripted(seconds=1e6), InsightSchedule(timeout=30))
        room.say()
        room.watcher.on_commit()
        await asyncio.sleep(100)
        return room

    room = run_in_virtual_time(story())
    assert room.frames == [
        (30, InsightError(stage="final", message="The insight was not ready within 30 s."))
    ]
    assert room.provider.running == 0


def test_a_reset_forgets_what_was_said_and_what_is_being_made() -> None:
    async def story() -> Room:
        room = Room(Scripted(seconds=10))
        await room.talk(93)
        room.watcher.reset()
        room.watcher.on_commit()
        await asyncio.sleep(500)
        room.segment = 0
        await room.talk(15)
        room.watcher.on_commit()
        await asyncio.sleep(60)
        return room

    room = run_in_virtual_time(story())
    (insight,) = room.insights
    assert insight.source == InsightSource((1, 10), 0.0, 15.0, 10)


@pytest.mark.parametrize("committed", [True, False])
def test_after_the_end_no_frame_comes_and_nothing_runs(committed: bool) -> None:  # noqa: FBT001  # a case
    async def story() -> Room:
        room = Room(Scripted(seconds=10))
        await room.talk(93)
        if committed:
            room.watcher.on_commit()
            room.say()
            room.watcher.on_commit()
            await asyncio.sleep(1)
        room.watcher.stop()
        room.say()
        room.watcher.on_commit()
        room.watcher.reset()
        await asyncio.sleep(1000)
        return room

    room = run_in_virtual_time(story())
    assert room.frames == []
    assert room.provider.running == 0


def test_a_provider_that_will_not_be_stopped_is_not_heard() -> None:
    class Stubborn(Scripted):
        async def summarize(self, segments: Sequence[TranscriptSegment], stage: InsightStage) -> Findings:
            try:
                return await super().summarize(segments, stage)
            except asyncio.CancelledError:
                return Findings()

    async def story() -> Room:
        room = Room(Stubborn(seconds=10))
        await room.talk(93)
        room.watcher.stop()
        await asyncio.sleep(100)
        return room

    assert run_in_virtual_time(story()).frames == []


def test_the_end_waits_for_the_final_insights_a_bounded_while() -> None:
    async def story(seconds: float) -> tuple[Room, float]:
        room = Room(Scripted(seconds=4))
        for _ in range(2):
            room.say()
            room.watcher.on_commit()
        await room.watcher.wait_for_final(seconds)
        done = asyncio.get_running_loop().time()
        await asyncio.sleep(100)
        return room, done

    room, done = run_in_virtual_time(story(10))
    assert (done, room.stages, len(room.insights)) == (8, ["final", "final"], 2)
    room, done = run_in_virtual_time(story(5))
    assert (done, len(room.insights)) == (5, 1)
    (_, last) = room.frames[-1]
    assert last == InsightError(stage="final", message="The insight was not ready when the stream ended.")
    assert room.provider.running == 0


def test_the_end_does_not_wait_for_a_live_insight() -> None:
    async def story() -> float:
        room = Room(Scripted(seconds=10))
        await room.talk(93)
        began = asyncio.get_running_loop().time()
        await room.watcher.wait_for_final(10)
        return asyncio.get_running_loop().time() - began

    assert run_in_virtual_time(story()) == 0


def test_hours_of_talk_that_no_provider_takes_are_kept_within_bounds() -> None:
    async def story() -> Room:
        room = Room(Scripted(room=2000))
        room.provider.failure = InsightFailed("no")
        await room.talk(3 * 3600)
        room.provider.failure = None
        room.watcher.on_commit()
        await asyncio.sleep(5)
        return room

    room = run_in_virtual_time(story())
    assert len(room.provider.asked) <= 121
    assert max(len(ids) for _, _, ids in room.provider.asked) <= 2000 // 20
    (insight,) = room.insights
    assert insight.source.segment_range[1] == insight.source.total_segments == 7200


def test_a_final_without_words_is_nothing_new() -> None:
    async def story() -> Room:
        room = Room()
        room.say("   ")
        await asyncio.sleep(200)
        room.watcher.on_commit()
        await asyncio.sleep(200)
        return room

    assert run_in_virtual_time(story()).provider.asked == []
