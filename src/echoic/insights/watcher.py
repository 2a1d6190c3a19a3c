"""Watches one session's talk and asks for insights at their time, beside the stream."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from echoic.insights.base import InsightFailed
from echoic.insights.talk import Talk
from echoic.wire.frames import Insight, InsightError, InsightSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from echoic.insights.base import Findings, Provider, Said, Stage

log = logging.getLogger(__name__)

#: Commits whose insights may wait while another is being made.
_MOST_WAITING: Final = 4
_FAILED: Final = "The insight could not be made."


@dataclass(frozen=True, slots=True)
class Pace:
    """When insights are made.

    Attributes:
        interval: Seconds that pass at least from one insight to the next live one, and from the first words
            to the first.
        window: A live insight looks at what is new since the last, and at this many finals at least.
        patience: Seconds that one may take, repeats and all.
    """

    interval: float = 90.0
    window: int = 6
    patience: float = 30.0


@dataclass(frozen=True, slots=True)
class _Order:
    """An insight to be made; ``total`` counts the session's finals until then."""

    stage: Stage
    said: Sequence[Said]
    total: int


class Watcher:
    """Makes a session's insights: live ones from time to time, a final one after each commit.

    Every method but ``finish`` returns at once and none raises. One insight is made at a time. All of it runs
    on the event loop it is called from, and goes by its clock.

    Args:
        session: The session's name; the ids of insights begin with it.
        provider: Makes them.
        tell: Called with each frame, on the event loop; never after ``ended`` or ``finish``.
        pace: When.
    """

    def __init__(
        self,
        session: str,
        provider: Provider,
        tell: Callable[[Insight | InsightError], None],
        pace: Pace = Pace(),
    ) -> None:
        self._session = session
        self._provider = provider
        self._tell = tell
        self._pace = pace
        self._talk = Talk(provider.room)
        self._total = self._made = 0
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._call: asyncio.Task[None] | None = None
        self._current: _Order | None = None
        self._waiting: deque[_Order] = deque()
        self._over = self._resting = False

    def go_on(self, provider: Provider, pace: Pace) -> None:
        """Make insights by another provider, or at another pace, from here on."""
        self._provider, self._pace = provider, pace
        self._resting = False
        if self._due is not None:
            self._stop_timer()
            self._plan()

    def rest(self) -> None:
        """Make no more live insights until ``go_on``; final ones that were asked for are still made."""
        self._resting = True
        self._stop_timer()
        if self._current is not None and self._current.stage == "live":
            self._drop_call()
            self._next()

    def said(self, said: Said) -> None:
        """Note a final that went out."""
        if self._over or not said.text.strip():
            return
        self._total += 1
        self._talk.add(said)
        if self._due is None:
            self._due = self._now + self._pace.interval
        self._plan()

    def committed(self) -> None:
        """Make the final insight about everything since the last commit, if anything was said."""
        if self._over or not self._talk.all:
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft()
            self._tell(InsightError(stage="final", message="Commits came faster than insights can be made."))
        self._waiting.append(_Order("final", self._talk.all, self._total))
        self._talk.clear()
        self._stop_timer()
        if self._current is not None and self._current.stage == "live":
            self._drop_call()  # the final one covers it
        self._next()

    def reset(self) -> None:
        """Forget everything: what was said, and insights that are being made."""
        self._stop_timer()
        self._waiting.clear()
        self._drop_call()
        self._talk.clear()
        self._total = 0
        self._due = None

    def ended(self) -> None:
        """Make no more insights and tell of none; what is being made is given up."""
        self._over = True
        self.reset()

    async def finish(self, seconds: float) -> None:
        """Wait at most ``seconds`` for the final insights that were asked for; then it has ended."""
        try:
            async with asyncio.timeout(seconds):
                while self._current is not None and self._current.stage == "final" and self._call is not None:
                    await asyncio.wait((self._call,))
        except TimeoutError:
            message = "The insight was not ready when the stream ended."
            self._tell(InsightError(stage="final", message=message))
        finally:
            self.ended()

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _plan(self) -> None:
        """Set the timer for the next live insight, if something is new and nothing is being made."""
        idle = self._over or self._resting or self._timer or self._call
        if idle or not self._talk.has_news or self._due is None:
            return
        self._timer = asyncio.get_running_loop().call_at(max(self._due, self._now), self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._call and self._talk.has_news:
            self._begin(_Order("live", self._talk.window(self._pace.window), self._total))

    def _next(self) -> None:
        """Begin what waits, else wait for the time of the next live insight."""
        if self._over or self._call:
            return
        if self._waiting:
            self._begin(self._waiting.popleft())
        else:
            self._plan()

    def _begin(self, order: _Order) -> None:
        self._due = self._now + self._pace.interval
        self._current = order
        self._call = asyncio.get_running_loop().create_task(self._make(order))

    async def _make(self, order: _Order) -> None:
        frame: Insight | InsightError
        try:
            async with asyncio.timeout(self._pace.patience):
                findings = await self._provider.distil(order.said, order.stage)
            frame = self._insight(order, findings)
        except InsightFailed as failure:
            frame = InsightError(stage=order.stage, message=failure.message)
        except TimeoutError:
            message = f"The insight was not ready within {self._pace.patience:g} s."
            frame = InsightError(stage=order.stage, message=message)
        except Exception as error:  # noqa: BLE001  # an add-on's call: the stream goes on without it
            log.warning("insight.broken", extra={"event_values": {"kind": type(error).__name__}})
            frame = InsightError(stage=order.stage, message=_FAILED)
        if self._call is not asyncio.current_task():  # given up, although the provider went on
            return
        self._call = self._current = None
        if order.stage == "live" and isinstance(frame, Insight):
            self._talk.settle(order.said[-1].segment_id)
        self._tell(frame)
        self._next()

    def _insight(self, order: _Order, findings: Findings) -> Insight:
        self._made += 1
        first, last = order.said[0], order.said[-1]
        return Insight(
            insight_id=f"{self._session}-{self._made}",
            stage=order.stage,
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
                total_segments=order.total,
            ),
        )

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop_call(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = self._current = None
