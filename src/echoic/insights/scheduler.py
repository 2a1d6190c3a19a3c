"""Schedules a session's insights: live ones at intervals, a final one after each commit."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from echoic.insights.base import Findings, InsightFailed, InsightProvider, InsightStage, TranscriptSegment
from echoic.protocol.frames import Insight, InsightError, InsightSource

log = logging.getLogger(__name__)

#: Bytes of a final in a prompt beside its text and speaker.
_OVERHEAD_BYTES: Final = 16
#: The maximum number of commits that wait for their insight.
_MAX_PENDING_JOBS: Final = 4
_FAILED_MESSAGE: Final = "The insight could not be made."


class TranscriptWindow:
    """The newest finals since the last commit, and which of them an insight has covered.

    Args:
        max_bytes: The maximum total size, in bytes of UTF-8; the newest final is always kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._segments: deque[TranscriptSegment] = deque()
        self._size_bytes = 0
        self._covered_segment_id = 0

    @property
    def segments(self) -> tuple[TranscriptSegment, ...]:
        """All kept finals, in order."""
        return tuple(self._segments)

    @property
    def has_new(self) -> bool:
        """Whether no insight has covered the newest final."""
        return bool(self._segments) and self._segments[-1].segment_id > self._covered_segment_id

    def append_segment(self, segment: TranscriptSegment) -> None:
        """Append a final; drop the oldest ones beyond the maximum size."""
        self._segments.append(segment)
        self._size_bytes += _measure_segment(segment)
        while self._size_bytes > self._max_bytes and len(self._segments) > 1:
            self._size_bytes -= _measure_segment(self._segments.popleft())

    def select_window(self, min_segments: int) -> tuple[TranscriptSegment, ...]:
        """Return the new finals, preceded by older ones up to ``min_segments`` in total."""
        new_count = sum(segment.segment_id > self._covered_segment_id for segment in self._segments)
        skipped = max(len(self._segments) - max(new_count, min_segments), 0)
        return tuple(islice(self._segments, skipped, None))

    def mark_covered(self, segment_id: int) -> None:
        """Record that an insight has covered everything up to this final."""
        self._covered_segment_id = max(self._covered_segment_id, segment_id)

    def clear(self) -> None:
        """Drop all finals."""
        self._segments.clear()
        self._size_bytes = self._covered_segment_id = 0


def _measure_segment(segment: TranscriptSegment) -> int:
    return len(segment.text.encode()) + len(segment.speaker or "") + _OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class InsightSchedule:
    """When a session's insights are made."""

    #: The minimum number of seconds from the first words, or from one insight, to the next live one.
    interval: float = 90.0
    #: The minimum number of finals that a live insight covers.
    min_segments: int = 6
    #: The maximum number of seconds for one insight, retries included.
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class _InsightJob:
    """A requested insight."""

    stage: InsightStage
    segments: Sequence[TranscriptSegment]
    #: The number of the session's finals at the time of the request.
    segment_count: int


class InsightScheduler:
    """Makes a session's insights: live ones at intervals, a final one after each commit; one at a time.

    Runs on the caller's event loop, by its clock. No method raises, and only ``wait_for_final`` waits.

    Args:
        session: The session's name, which starts the ids of its insights.
        provider: The provider.
        on_insight: Called with each frame, on the event loop; never after ``stop`` or ``wait_for_final``.
        schedule: The schedule.
    """

    def __init__(
        self,
        session: str,
        provider: InsightProvider,
        on_insight: Callable[[Insight | InsightError], None],
        schedule: InsightSchedule = InsightSchedule(),
    ) -> None:
        self._session = session
        self._provider = provider
        self._on_insight = on_insight
        self._schedule = schedule
        self._transcript = TranscriptWindow(provider.max_bytes)
        self._segment_count = self._insight_count = 0
        self._next_live_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._current_job: _InsightJob | None = None
        self._pending_jobs: deque[_InsightJob] = deque()
        self._is_stopped = self._is_live_paused = False

    def resume_live(self, provider: InsightProvider, schedule: InsightSchedule) -> None:
        """Use another provider and schedule from now on."""
        self._provider, self._schedule = provider, schedule
        self._is_live_paused = False
        if self._next_live_at is not None:
            self._stop_timer()
            self._schedule_live()

    def pause_live(self) -> None:
        """Make no live insights until ``resume_live``; requested final ones are still made."""
        self._is_live_paused = True
        self._stop_timer()
        if self._current_job is not None and self._current_job.stage == "live":
            self._cancel_task()
            self._start_next()

    def on_final(self, segment: TranscriptSegment) -> None:
        """Add a final that the client received."""
        if self._is_stopped or not segment.text.strip():
            return
        self._segment_count += 1
        self._transcript.append_segment(segment)
        if self._next_live_at is None:
            self._next_live_at = self._now + self._schedule.interval
        self._schedule_live()

    def on_commit(self) -> None:
        """Request the final insight about everything since the last commit, if there are words."""
        if self._is_stopped or not self._transcript.segments:
            return
        if len(self._pending_jobs) >= _MAX_PENDING_JOBS:
            self._pending_jobs.popleft()
            self._on_insight(
                InsightError(stage="final", message="Commits arrive faster than insights can be made.")
            )
        self._pending_jobs.append(_InsightJob("final", self._transcript.segments, self._segment_count))
        self._transcript.clear()
        self._stop_timer()
        if self._current_job is not None and self._current_job.stage == "live":
            self._cancel_task()  # the final insight covers its segments
        self._start_next()

    def reset(self) -> None:
        """Drop the transcript and cancel all insights."""
        self._stop_timer()
        self._pending_jobs.clear()
        self._cancel_task()
        self._transcript.clear()
        self._segment_count = 0
        self._next_live_at = None

    def stop(self) -> None:
        """Cancel all insights; send no more frames."""
        self._is_stopped = True
        self.reset()

    async def wait_for_final(self, seconds: float) -> None:
        """Wait at most ``seconds`` for the requested final insights, then stop."""
        try:
            async with asyncio.timeout(seconds):
                while (
                    self._current_job is not None
                    and self._current_job.stage == "final"
                    and self._task is not None
                ):
                    await asyncio.wait((self._task,))
        except TimeoutError:
            message = "The insight was not ready when the stream ended."
            self._on_insight(InsightError(stage="final", message=message))
        finally:
            self.stop()

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _schedule_live(self) -> None:
        """Set the timer of the next live insight, if there are new finals and no insight is being made."""
        is_blocked = self._is_stopped or self._is_live_paused or self._timer or self._task
        if is_blocked or not self._transcript.has_new or self._next_live_at is None:
            return
        self._timer = asyncio.get_running_loop().call_at(max(self._next_live_at, self._now), self._start_live)

    def _start_live(self) -> None:
        self._timer = None
        if not self._task and self._transcript.has_new:
            self._start_job(
                _InsightJob(
                    "live", self._transcript.select_window(self._schedule.min_segments), self._segment_count
                )
            )

    def _start_next(self) -> None:
        """Start the next pending job, or schedule the next live insight."""
        if self._is_stopped or self._task:
            return
        if self._pending_jobs:
            self._start_job(self._pending_jobs.popleft())
        else:
            self._schedule_live()

    def _start_job(self, job: _InsightJob) -> None:
        self._next_live_at = self._now + self._schedule.interval
        self._current_job = job
        self._task = asyncio.get_running_loop().create_task(self._run_job(job))

    async def _run_job(self, job: _InsightJob) -> None:
        frame: Insight | InsightError
        try:
            async with asyncio.timeout(self._schedule.timeout):
                findings = await self._provider.summarize(job.segments, job.stage)
            frame = self._build_insight(job, findings)
        except InsightFailed as failure:
            frame = InsightError(stage=job.stage, message=failure.message)
        except TimeoutError:
            message = f"The insight was not ready within {self._schedule.timeout:g} s."
            frame = InsightError(stage=job.stage, message=message)
        except Exception as error:  # noqa: BLE001  # an add-on's call: the stream continues without it
            log.warning("insight.broken", extra={"event_values": {"kind": type(error).__name__}})
            frame = InsightError(stage=job.stage, message=_FAILED_MESSAGE)
        if self._task is not asyncio.current_task():  # cancelled, although the provider finished
            return
        self._task = self._current_job = None
        if job.stage == "live" and isinstance(frame, Insight):
            self._transcript.mark_covered(job.segments[-1].segment_id)
        self._on_insight(frame)
        self._start_next()

    def _build_insight(self, job: _InsightJob, findings: Findings) -> Insight:
        self._insight_count += 1
        first, last = job.segments[0], job.segments[-1]
        return Insight(
            insight_id=f"{self._session}-{self._insight_count}",
            stage=job.stage,
            provider=self._provider.name,
            model=self._provider.model,
            summary=findings.summary,
            action_items=findings.action_items,
            decisions=findings.decisions,
            topics=findings.topics,
            source=InsightSource(
                segment_range=(first.segment_id, last.segment_id),
                start=first.start,
                end=last.end,
                total_segments=job.segment_count,
            ),
        )

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = self._current_job = None
