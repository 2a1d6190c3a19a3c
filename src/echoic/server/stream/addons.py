"""Add-ons of a stream: diarization, recording and insights."""

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

#: Seconds that the close of a stopped stream waits for the last insight.
LAST_INSIGHT_SECONDS: Final = 10.0
#: Additional seconds, at most, that a final waits for its speakers if its audio came faster than real time.
MAX_SECONDS_AHEAD: Final = 30.0


@dataclass(frozen=True, slots=True)
class AddOnServices:
    """The add-ons that all streams of a server share. Those that are not available are None."""

    #: The available add-ons, and why others are not available.
    capabilities: Capabilities = field(default_factory=Capabilities)
    #: Runs the diarizer.
    diarizer_pool: DiarizerPool | None = None
    #: Stores audio on disk.
    recordings: Recordings | None = None
    #: Builds the insights of sessions.
    insight_providers: InsightProviders | None = None

    async def close(self) -> None:
        """Close all add-ons."""
        if self.diarizer_pool is not None:
            await self.diarizer_pool.close()
        if self.recordings is not None:
            await self.recordings.close()
        if self.insight_providers is not None:
            await self.insight_providers.close()


class StreamAddOns:
    """Runs the add-ons of one stream; a failing add-on neither delays a frame nor ends the stream.

    Args:
        services: The add-ons of the server.
        name: The stream's id.
        session: The stream's session.
        send_frame: Sends a frame to the client.
        run_step: Calls a method of the session and carries out the effects it returns.
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
        """Carry out an effect of the session."""
        match effect:
            case Diarize(key, chunk) if (pool := self._services.diarizer_pool) is not None:
                pool.submit_chunk(
                    self, key, chunk, self._on_diarized, extra_seconds=self._compute_seconds_ahead(chunk)
                )
            case FinalizeDiarization(key, state) if (pool := self._services.diarizer_pool) is not None:
                self._pending_summaries += 1
                pool.submit_finalization(self, key, state, self._on_diarization_finalized)
            case RecordAudio(audio):
                self._record_audio(audio)
            case DiscardRecording():
                if self._recording is not None:
                    self._recording.discard_audio()
            case Diarize() | FinalizeDiarization():
                pass  # not available, so no session asks for it
            case _:
                assert_never(effect)

    def on_frame_sent(self, frame: ServerFrame) -> None:
        """Pass a frame that was sent on to the add-ons."""
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
        """Whether an insight may still follow."""
        return self._insight_scheduler is not None

    async def finish_insights(self) -> None:
        """Wait for the last insight, for ``LAST_INSIGHT_SECONDS`` at most."""
        if self._insight_scheduler is not None:
            await self._insight_scheduler.wait_for_final(LAST_INSIGHT_SECONDS)

    def close(self) -> None:
        """Stop the stream's add-ons; no frame is sent afterwards."""
        if self._services.diarizer_pool is not None:
            self._services.diarizer_pool.remove_client(self)
        if self._recording is not None:
            self._recording.close()
        if self._insight_scheduler is not None:
            self._insight_scheduler.stop()

    def _on_configured(self, frame: Configured) -> None:
        if frame.diarization and self._services.diarizer_pool is not None:
            self._services.diarizer_pool.start_loading()
        options = self._session.config.insights if frame.insights else None
        if options == self._insight_options:
            return
        self._insight_options = options
        providers = self._services.insight_providers
        if self._insight_scheduler is not None and (options is None or providers is None):
            self._insight_scheduler.pause_live()
        elif self._insight_scheduler is not None and options is not None and providers is not None:
            providers.update_scheduler(self._insight_scheduler, options)
        elif options is not None and providers is not None:
            scheduler = providers.build_scheduler(self._name, options, self._on_insight)
            self._insight_scheduler = scheduler if isinstance(scheduler, InsightScheduler) else None

    def _record_audio(self, audio: NDArray[np.float32]) -> None:
        if self._recording is None and self._services.recordings is not None:
            name = self._session.recording
            self._recording = (
                self._services.recordings.open_recording(name, self._on_recording_failed) if name else None
            )
        if self._recording is not None:
            self._recording.write(audio)

    def _compute_seconds_ahead(self, chunk: DiarizationChunk) -> float:
        """Return the seconds that a chunk came earlier than in real time; its final may wait longer."""
        now = asyncio.get_running_loop().time()
        self._playback_end = max(now, self._playback_end + len(chunk.audio) / DIARIZATION_SAMPLE_RATE)
        return min(self._playback_end - now, MAX_SECONDS_AHEAD)

    def _on_diarized(self, key: int, result: DiarizationResult | None) -> None:
        self._run_step(self._session.on_diarized, key, result)

    def _on_diarization_finalized(self, key: int, turns: tuple[SpeakerTurn, ...] | None) -> None:
        self._run_step(self._session.on_diarization_finalized, key, turns)

    def _on_summary_sent(self) -> None:
        """Send the insights that were held back until the diarization summary of their commit."""
        self._pending_summaries = max(0, self._pending_summaries - 1)
        held, self._held_insights = self._held_insights, []
        for frame in held:
            self._send_frame(frame)

    def _on_insight(self, frame: Insight | InsightError) -> None:
        """Send an insight, but not before the diarization summary of the same commit."""
        if self._pending_summaries:
            self._held_insights.append(frame)
        else:
            self._send_frame(frame)

    def _on_recording_failed(self) -> None:
        self._run_step(self._session.on_recording_failed)
