"""What one stream has beside its recogniser: who speaks, its audio on disk, what it comes down to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, assert_never

from echoic.insights.base import Said
from echoic.insights.watcher import Watcher
from echoic.session.config import Offers
from echoic.session.effects import Listen, Review, Store, Unstore
from echoic.session.sound import SOUND_RATE
from echoic.wire import frames
from echoic.wire.frames import Configured, DiarizationSummary, FullTranscript, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from echoic.insights.offer import Offer
    from echoic.schedule.listeners import Listeners
    from echoic.server.recordings import Recording, Recordings
    from echoic.session.core import Session
    from echoic.session.insight_wishes import InsightWishes
    from echoic.session.sound import Sound, Turn, Voices
    from echoic.wire.frames import Insight, InsightError, ServerFrame

#: Seconds that a client which said stop may wait for the last insight.
FAREWELL: Final = 10.0
#: Seconds that a final may wait longer for who speaks in it, where its sound came earlier than it plays.
MOST_AHEAD: Final = 30.0


@dataclass(frozen=True, slots=True)
class Shared:
    """What all streams of a server share beside recognisers.

    Attributes:
        offers: What there is, and why not.
        listeners: The diarizer, or None.
        recordings: Where audio is stored, or None.
        insights: Who makes insights, or None: nobody.
    """

    offers: Offers = field(default_factory=Offers)
    listeners: Listeners | None = None
    recordings: Recordings | None = None
    insights: Offer | None = None

    async def close(self) -> None:
        """Give back what they hold."""
        if self.listeners is not None:
            await self.listeners.close()
        if self.recordings is not None:
            await self.recordings.close()
        if self.insights is not None:
            await self.insights.close()


class AddOns:
    """One stream's share of them. None of it can delay a frame or end the stream.

    Args:
        shared: What all streams share.
        name: The stream's.
        session: The stream's.
        tell: Sends a frame to the client.
        advance: Takes a step of the session and carries out what it asks.
    """

    def __init__(
        self,
        shared: Shared,
        name: str,
        session: Session,
        tell: Callable[[ServerFrame], None],
        advance: Callable[..., None],
    ) -> None:
        self._shared = shared
        self._name = name
        self._session = session
        self._tell = tell
        self._advance = advance
        self._recording: Recording | None = None
        self._wishes: InsightWishes | None = None
        self._watcher: Watcher | None = None
        self._reviews = 0
        self._plays_until = float("-inf")
        self._held: list[Insight | InsightError] = []

    def carry_out(self, effect: Listen | Review | Store | Unstore) -> None:
        """Do what the session asks."""
        match effect:
            case Listen(key, sound) if (listeners := self._shared.listeners) is not None:
                listeners.listen(self, key, sound, self._listened, ahead=self._ahead(sound))
            case Review(key, carry) if (listeners := self._shared.listeners) is not None:
                self._reviews += 1
                listeners.review(self, key, carry, self._reviewed)
            case Store(audio):
                self._store(audio)
            case Unstore():
                if self._recording is not None:
                    self._recording.erase()
            case Listen() | Review():
                pass  # no session is offered what there is not
            case _:
                assert_never(effect)

    def saw(self, frame: ServerFrame) -> None:
        """Take note of a frame that goes out."""
        if isinstance(frame, Configured):
            self._configured(frame)
        if isinstance(frame, DiarizationSummary):
            self._summed_up()
        if self._watcher is None or self._wishes is None:
            return
        match frame:
            case frames.Final():
                speaker = frame.speaker_label if isinstance(frame.speaker_label, str) else None
                span = (frame.segment_start, frame.segment_end)
                self._watcher.said(Said(frame.segment_id, frame.text, *span, speaker))
            case FullTranscript():
                self._watcher.committed()
            case Status(state="reset"):
                self._watcher.reset()
                self._held.clear()
            case _:
                pass

    @property
    def has_last_words(self) -> bool:
        """Whether an insight may still come of what was said."""
        return self._watcher is not None

    async def last_words(self) -> None:
        """Wait a little for the last insight."""
        if self._watcher is not None:
            await self._watcher.finish(FAREWELL)

    def close(self) -> None:
        """Let go of everything; nothing is told any more."""
        if self._shared.listeners is not None:
            self._shared.listeners.leave(self)
        if self._recording is not None:
            self._recording.close()
        if self._watcher is not None:
            self._watcher.ended()

    def _configured(self, frame: Configured) -> None:
        if frame.diarization and self._shared.listeners is not None:
            self._shared.listeners.prepare()
        wishes = self._session.config.insights if frame.insights else None
        if wishes == self._wishes:
            return
        self._wishes = wishes
        insights = self._shared.insights
        if self._watcher is not None and (wishes is None or insights is None):
            self._watcher.rest()
        elif self._watcher is not None and wishes is not None and insights is not None:
            insights.go_on(self._watcher, wishes)
        elif wishes is not None and insights is not None:
            watcher = insights.watch(self._name, wishes, self._insight)
            self._watcher = watcher if isinstance(watcher, Watcher) else None

    def _store(self, audio: NDArray[np.float32]) -> None:
        if self._recording is None and self._shared.recordings is not None:
            name = self._session.recording
            self._recording = self._shared.recordings.open(name, self._unstored) if name else None
        if self._recording is not None:
            self._recording.write(audio)

    def _ahead(self, sound: Sound) -> float:
        """Return the seconds by which sound came earlier than it would play: a file is in no hurry."""
        now = asyncio.get_running_loop().time()
        self._plays_until = max(now, self._plays_until + len(sound.audio) / SOUND_RATE)
        return min(self._plays_until - now, MOST_AHEAD)

    def _listened(self, key: int, voices: Voices | None) -> None:
        self._advance(self._session.listened, key, voices)

    def _reviewed(self, key: int, turns: tuple[Turn, ...] | None) -> None:
        self._advance(self._session.reviewed, key, turns)

    def _summed_up(self) -> None:
        """Tell of the insights that waited for the summary of their commit."""
        self._reviews = max(0, self._reviews - 1)
        held, self._held = self._held, []
        for frame in held:
            self._tell(frame)

    def _insight(self, frame: Insight | InsightError) -> None:
        """Tell of an insight; not before the summary of the same commit."""
        if self._reviews:
            self._held.append(frame)
        else:
            self._tell(frame)

    def _unstored(self) -> None:
        self._advance(self._session.unstored)
