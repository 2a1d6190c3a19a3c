"""What one stream has beside its recogniser: who speaks, its audio on disk, what it comes down to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, assert_never

import numpy as np
from numpy.typing import NDArray

from echoic.insights.base import TranscriptSegment
from echoic.insights.providers import InsightProviders
from echoic.insights.scheduler import InsightScheduler
from echoic.interfaces.diarizer import (
    DIARIZATION_SAMPLE_RATE,
    DiarizationChunk,
    DiarizationResult,
    SpeakerTurn,
)
from echoic.protocol import frames
from echoic.protocol.frames import (
    Configured,
    DiarizationSummary,
    FullTranscript,
    Insight,
    InsightError,
    ServerFrame,
    Status,
)
from echoic.scheduling.diarizer_pool import DiarizerPool
from echoic.server.stream.recordings import Recording, Recordings
from echoic.session.config import Capabilities, InsightOptions
from echoic.session.effects import Diarize, DiscardRecording, FinalizeDiarization, RecordAudio
from echoic.session.session import Session

#: Seconds that a client which said stop may wait for the last insight.
LAST_INSIGHT_SECONDS: Final = 10.0
#: Seconds that a final may wait longer for who speaks in it, where its sound came earlier than it plays.
MAX_SECONDS_AHEAD: Final = 30.0


@dataclass(frozen=True, slots=True)
class AddOnServices:
    """What all streams of a server share beside recognisers.

    Attributes:
        capabilities: What there is, and why not.
        diarizer_pool: The diarizer, or None.
        recordings: Where audio is stored, or None.
        insight_providers: Who makes insights, or None: nobody.
    """

    capabilities: Capabilities = field(default_factory=Capabilities)
    diarizer_pool: DiarizerPool | None = None
    recordings: Recordings | None = None
    insight_providers: InsightProviders | None = None

    async def close(self) -> None:
        """Give back what they hold."""
        if self.diarizer_pool is not None:
            await self.diarizer_pool.close()
        if self.recordings is not None:
            await self.recordings.close()
        if self.insight_providers is not None:
            await self.insight_providers.close()


class StreamAddOns:
    """One stream's share of them. None of it can delay a frame or end the stream.

    Args:
        services: What all streams share.
        name: The stream's.
        session: The stream's.
        send_frame: Sends a frame to the client.
        run_step: Takes a step of the session and carries out what it asks.
    """

    def __init__(
        self,
        services: AddOnServices,
        name: str,
        session: Session,
        send_frame: Callable[[ServerFrame], None],
        run_step: Callable[..., None],
    ) -> None:
        self._services = services
        self._name = name
        self._session = session
        self._send_frame = send_frame
        self._run_step = run_step
        self._recording: Recording | None = None
        self._insight_options: InsightOptions | None = None
        self._insight_scheduler: InsightScheduler | None = None
        self._pending_summaries = 0
        self._playback_end = float("-inf")
        self._held_insights: list[Insight | InsightError] = []

    def execute_effect(self, effect: Diarize | FinalizeDiarization | RecordAudio | DiscardRecording) -> None:
        """Do what the session asks."""
        match effect:
            case Diarize(key, sound) if (listeners := self._services.diarizer_pool) is not None:
                listeners.submit_chunk(
                    self, key, sound, self._on_diarized, extra_seconds=self._compute_seconds_ahead(sound)
                )
            case FinalizeDiarization(key, carry) if (listeners := self._services.diarizer_pool) is not None:
                self._pending_summaries += 1
                listeners.submit_finalization(self, key, carry, self._on_diarization_finalized)
            case RecordAudio(audio):
                self._record_audio(audio)
            case DiscardRecording():
                if self._recording is not None:
                    self._recording.discard_audio()
            case Diarize() | FinalizeDiarization():
                pass  # no session is offered what there is not
            case _:
                assert_never(effect)

    def on_frame_sent(self, frame: ServerFrame) -> None:
        """Take note of a frame that goes out."""
        if isinstance(frame, Configured):
            self._on_configured(frame)
        if isinstance(frame, DiarizationSummary):
            self._on_summary_sent()
        if self._insight_scheduler is None or self._insight_options is None:
            return
        match frame:
            case frames.Final():
                speaker = frame.speaker_label if isinstance(frame.speaker_label, str) else None
                span = (frame.segment_start, frame.segment_end)
                self._insight_scheduler.on_final(
                    TranscriptSegment(frame.segment_id, frame.text, *span, speaker)
                )
            case FullTranscript():
                self._insight_scheduler.on_commit()
            case Status(state="reset"):
                self._insight_scheduler.reset()
                self._held_insights.clear()
            case _:
                pass

    @property
    def has_pending_insights(self) -> bool:
        """Whether an insight may still come of what was said."""
        return self._insight_scheduler is not None

    async def finish_insights(self) -> None:
        """Wait a little for the last insight."""
        if self._insight_scheduler is not None:
            await self._insight_scheduler.wait_for_final(LAST_INSIGHT_SECONDS)

    def close(self) -> None:
        """Let go of everything; nothing is told any more."""
        if self._services.diarizer_pool is not None:
            self._services.diarizer_pool.remove_client(self)
        if self._recording is not None:
            self._recording.close()
        if self._insight_scheduler is not None:
            self._insight_scheduler.stop()

    def _on_configured(self, frame: Configured) -> None:
        if frame.diarization and self._services.diarizer_pool is not None:
            self._services.diarizer_pool.start_loading()
        wishes = self._session.config.insights if frame.insights else None
        if wishes == self._insight_options:
            return
        self._insight_options = wishes
        insights = self._services.insight_providers
        if self._insight_scheduler is not None and (wishes is None or insights is None):
            self._insight_scheduler.pause_live()
        elif self._insight_scheduler is not None and wishes is not None and insights is not None:
            insights.update_scheduler(self._insight_scheduler, wishes)
        elif wishes is not None and insights is not None:
            watcher = insights.build_scheduler(self._name, wishes, self._on_insight)
            self._insight_scheduler = watcher if isinstance(watcher, InsightScheduler) else None

    def _record_audio(self, audio: NDArray[np.float32]) -> None:
        if self._recording is None and self._services.recordings is not None:
            name = self._session.recording
            self._recording = (
                self._services.recordings.open_recording(name, self._on_recording_failed) if name else None
            )
        if self._recording is not None:
            self._recording.write(audio)

    def _compute_seconds_ahead(self, chunk: DiarizationChunk) -> float:
        """Return the seconds by which sound came earlier than it would play: a file is in no hurry."""
        now = asyncio.get_running_loop().time()
        self._playback_end = max(now, self._playback_end + len(chunk.audio) / DIARIZATION_SAMPLE_RATE)
        return min(self._playback_end - now, MAX_SECONDS_AHEAD)

    def _on_diarized(self, key: int, result: DiarizationResult | None) -> None:
        self._run_step(self._session.on_diarized, key, result)

    def _on_diarization_finalized(self, key: int, turns: tuple[SpeakerTurn, ...] | None) -> None:
        self._run_step(self._session.on_diarization_finalized, key, turns)

    def _on_summary_sent(self) -> None:
        """Tell of the insights that waited for the summary of their commit."""
        self._pending_summaries = max(0, self._pending_summaries - 1)
        held, self._held_insights = self._held_insights, []
        for frame in held:
            self._send_frame(frame)

    def _on_insight(self, frame: Insight | InsightError) -> None:
        """Tell of an insight; not before the summary of the same commit."""
        if self._pending_summaries:
            self._held_insights.append(frame)
        else:
            self._send_frame(frame)

    def _on_recording_failed(self) -> None:
        self._run_step(self._session.on_recording_failed)
