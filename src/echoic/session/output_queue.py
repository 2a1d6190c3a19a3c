"""What waits in a session, counted as it comes and goes: nobody walks along a line to measure it."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, assert_never

from echoic.errors import DecodeFailed
from echoic.interfaces.diarizer import DiarizationResult, SpeakerTurn
from echoic.interfaces.engine import Hypothesis
from echoic.protocol.frames import Audio, DiarizationSummary, FullTranscript, ServerFrame, Status
from echoic.session.decoding.strategy import TimedWord
from echoic.session.effects import CancelDecodes, Close, Decode, Diarize, Effect, FinalizeDiarization, Send
from echoic.session.pipeline import PendingSegment, PendingWindow, RecognitionPipeline
from echoic.session.rendering import build_decode_error, build_diarization_warning, build_final, build_partial
from echoic.session.speaker_tracking import DiarizationRequest, SpeakerTracker
from echoic.units import to_seconds

_T = TypeVar("_T")


class SizedQueue(Generic[_T]):
    """Items in order, and how much they are.

    Args:
        size: How much an item counts, in whole units; asked again when it goes.
    """

    __slots__ = ("_items", "_size", "size", "sized_count")

    def __init__(self, size: Callable[[_T], int]) -> None:
        self._items: deque[_T] = deque()
        self._size = size
        #: Of all items.
        self.size = 0
        #: Items that count at all.
        self.sized_count = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[_T]:
        return iter(self._items)

    def __getitem__(self, place: int) -> _T:
        return self._items[place]

    @property
    def unsized_count(self) -> int:
        """Items that count nothing."""
        return len(self._items) - self.sized_count

    def append(self, item: _T) -> None:
        """Add one at the end."""
        self._update_size(item, 1)
        self._items.append(item)

    def appendleft(self, item: _T) -> None:
        """Add one before all others."""
        self._update_size(item, 1)
        self._items.appendleft(item)

    def extend(self, items: Iterable[_T]) -> None:
        """Add several at the end."""
        for item in items:
            self.append(item)

    def pop(self) -> _T:
        """Take the last."""
        item = self._items.pop()
        self._update_size(item, -1)
        return item

    def popleft(self) -> _T:
        """Take the first."""
        item = self._items.popleft()
        self._update_size(item, -1)
        return item

    def retain_if(self, wanted: Callable[[_T], bool]) -> None:
        """Forget all others."""
        kept = [item for item in self._items if wanted(item)]
        self._items.clear()
        self.size = self.sized_count = 0
        self.extend(kept)

    def _update_size(self, item: _T, sign: int) -> None:
        size = self._size(item)
        self.size += sign * size
        self.sized_count += sign * (size > 0)


def count_audio_bytes(frame: object) -> int:
    """Return how many bytes of audio a frame holds."""
    return len(frame.data) if isinstance(frame, Audio) else 0


#: In a second; audio that waits is counted in whole ones.
MICROSECONDS_PER_SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class PendingFrame:
    """A frame that waits for its turn behind earlier segments."""

    frame: ServerFrame


@dataclass(frozen=True, slots=True)
class PendingTranscript:
    """The transcript is due here; unless ``is_required``, only if there is one."""

    is_required: bool


@dataclass(slots=True, eq=False)
class PendingDiarizationSummary:
    """Who spoke is due here, once the whole session was looked at again; no ``turns``: it stays as it is."""

    tracker: SpeakerTracker
    key: int | None = None
    is_answered: bool = False
    turns: tuple[SpeakerTurn, ...] | None = None


@dataclass(frozen=True, slots=True)
class ResetDone:
    """The session starts afresh here."""


@dataclass(frozen=True, slots=True)
class CloseAfter:
    """The connection closes here."""

    code: int


#: A segment, or what comes between segments.
OutputItem = (
    PendingSegment | PendingFrame | PendingTranscript | PendingDiarizationSummary | ResetDone | CloseAfter
)


def count_microseconds(item: OutputItem) -> int:
    """Return how much audio waits with an item; never 0 for a plan, whose decodes are waited for."""
    if not isinstance(item, PendingSegment):
        return 0
    seconds = to_seconds(item.span.end - item.span.start, item.pipeline.clock.rate)
    return max(1, round(MICROSECONDS_PER_SECOND * seconds))


class Transcript:
    """Collects the texts of finals and joins them."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def add(self, text: str) -> None:
        """Append a final's text; empty texts leave no trace."""
        if text:
            self._texts.append(text)

    @property
    def text(self) -> str:
        """The texts joined by single spaces."""
        return " ".join(self._texts)

    def take_text(self) -> str:
        """Return the text and start afresh."""
        text = self.text
        self._texts.clear()
        return text


#: A window is decoded at most this often before it is given up.
_ATTEMPTS = 2


class OutputQueue:
    """Segments and replies on their way to a client, and a partial beside them.

    Attributes:
        recording: Where the session's audio is stored, as the summary calls it, or None.
        is_over: Whether it came to the goodbye.
    """

    def __init__(self) -> None:
        self._items: SizedQueue[OutputItem] = SizedQueue(count_microseconds)
        self._added_microseconds = 0
        self._partial: PendingSegment | None = None
        self._running: dict[int, tuple[PendingSegment, PendingWindow]] = {}
        self._diarizing: dict[int, DiarizationRequest | PendingDiarizationSummary] = {}
        self._keys = itertools.count(1)
        self._final_count = 0
        self._transcript = Transcript()
        self.recording: str | None = None
        self.is_over = False

    # ---- what is due

    def add_item(self, item: OutputItem) -> None:
        """Deliver an item after all before it."""
        self._items.append(item)
        self._added_microseconds += count_microseconds(item)

    def discard_segments(self) -> Iterator[Effect]:
        """Forget segments that no reply waits for, and the partial."""
        yield from self._cancel_partial()
        forgotten: list[int] = []
        while self._items and isinstance(plan := self._items[-1], PendingSegment):
            self._items.pop()
            forgotten += plan.running_keys
            if plan.diarization and plan.diarization.key is not None:
                self._diarizing.pop(plan.diarization.key, None)
        yield from self._cancel_decodes(forgotten)

    def replace_partial(self, plan: PendingSegment) -> Iterator[Effect]:
        """Deliver this partial instead of the one before."""
        yield from self._cancel_partial()
        self._partial = plan

    @property
    def pending_segments(self) -> list[PendingSegment]:
        """The segments that are not delivered, and the partial."""
        plans = [item for item in self._items if isinstance(item, PendingSegment)]
        return [*plans, self._partial] if self._partial else plans

    @property
    def pending_finals(self) -> int:
        """Segments that are not delivered."""
        return self._items.sized_count

    @property
    def pending_replies(self) -> int:
        """What else is not delivered."""
        return self._items.unsized_count

    @property
    def pending_seconds(self) -> float:
        """Of audio in the segments that are not delivered."""
        return self._items.size / MICROSECONDS_PER_SECOND

    @property
    def progress(self) -> tuple[int, int]:
        """Microseconds of audio in all segments since the beginning, and in those that are delivered."""
        return self._added_microseconds, self._added_microseconds - self._items.size

    # ---- answers

    def on_decoded(self, key: int, outcome: Hypothesis | DecodeFailed) -> None:
        """Take the answer to a ``Decode``; answers that nobody waits for any more are ignored."""
        plan, slot = self._running.pop(key, (None, None))
        if plan is None or slot is None:
            return
        slot.key = None
        if not isinstance(outcome, DecodeFailed):
            slot.set_hypothesis(outcome)
            plan.pipeline.cache_hypothesis(plan, slot, outcome)
        elif plan is self._partial:
            self._partial = None
        else:
            slot.failures += _ATTEMPTS if outcome.is_last else 1
            if slot.failures >= _ATTEMPTS:
                slot.set_hypothesis(None)

    def on_diarized(self, key: int, voices: DiarizationResult | None) -> list[Effect]:
        """Take the answer to a ``Listen``; None: nobody could tell."""
        hearing = self._diarizing.pop(key, None)
        if isinstance(hearing, DiarizationRequest) and hearing.tracker.on_result(hearing, voices):
            return [Send(build_diarization_warning())]
        return []

    def on_diarization_finalized(self, key: int, turns: tuple[SpeakerTurn, ...] | None) -> None:
        """Take the answer to a ``Review``; None: nobody could tell."""
        summary = self._diarizing.pop(key, None)
        if isinstance(summary, PendingDiarizationSummary):
            summary.is_answered, summary.turns = True, turns

    # ---- delivery

    def advance_output(self) -> list[Effect]:
        """Deliver what is ready, in order, and ask for what can be asked."""
        effects: list[Effect] = []
        if self.pending_finals:
            effects += self._cancel_partial()
        while self._items:
            item = self._items[0]
            if isinstance(item, PendingSegment) and not item.is_ready:
                break
            if (
                isinstance(item, PendingDiarizationSummary)
                and not item.is_answered
                and item.tracker.has_unreported
            ):
                effects += self._request_finalization(item)
                break
            self._items.popleft()
            effects += self._deliver_item(item)
        effects += self._deliver_partial()
        if plans := self.pending_segments:  # mostly there are none
            effects += self._request_decodes(plans)
        return effects

    def _deliver_item(self, item: OutputItem) -> Iterator[Effect]:
        match item:
            case PendingFrame(frame):
                yield Send(frame)
            case PendingTranscript(always):
                text = self._transcript.take_text()
                if text or always:
                    yield Send(FullTranscript(text=text))
            case PendingDiarizationSummary():
                yield from self._deliver_summary(item)
            case ResetDone():
                self._final_count = 0
                self._transcript.take_text()
                yield Send(Status(state="reset"))
            case CloseAfter(code):
                yield from self._close_stream(code)
            case PendingSegment():
                yield from self._deliver_segment(item)
            case _:
                assert_never(item)

    def _deliver_segment(self, plan: PendingSegment) -> Iterator[Effect]:
        answers = plan.results or []
        words = plan.pipeline.emit_words(plan, answers)
        if any(slot.is_lost for slot in plan.windows):
            yield Send(build_decode_error(plan))
        if words:
            self._final_count += 1
            speakers = self._label_words(plan, words)
            frame = build_final(plan, self._final_count, words, speakers)
            self._transcript.add(frame.text)
            yield Send(frame)

    def _label_words(self, plan: PendingSegment, words: Sequence[TimedWord]) -> Sequence[int | None]:
        """Return who says these words, of the final that is about to be sent."""
        if plan.diarization is None or not plan.diarization.is_answered:
            return ()
        at = plan.pipeline.clock
        return plan.diarization.tracker.label_words(
            self._final_count, words, at.to_seconds(plan.span.start), at.to_seconds(plan.span.end)
        )

    def _deliver_summary(self, summary: PendingDiarizationSummary) -> Iterator[Effect]:
        if summary.tracker.has_unreported:
            segments, speakers = summary.tracker.take_summary(summary.turns)
            yield Send(DiarizationSummary(speaker_map=segments, audio_path=self.recording, speakers=speakers))

    def _deliver_partial(self) -> Iterator[Effect]:
        plan = self._partial
        answers = plan.results if plan else None
        if plan is None or answers is None:
            return
        self._partial = None
        words = plan.pipeline.preview_words(plan, answers)
        if words:
            yield Send(build_partial(plan, self._final_count + 1, words))

    def _close_stream(self, code: int) -> Iterator[Effect]:
        self._partial = None
        self.is_over = True
        yield from self._cancel_decodes(tuple(self._running))
        yield Close(code)

    # ---- questions

    def _request_decodes(self, plans: Sequence[PendingSegment]) -> Iterator[Effect]:
        """Ask for decodes in order, as many as each stretch's reading allows ahead of what is said."""
        slots = [(plan.pipeline, slot) for plan in plans for slot in plan.windows if not slot.is_cached]
        ahead: Counter[RecognitionPipeline] = Counter(stretch for stretch, slot in slots if slot.is_started)
        running: Counter[RecognitionPipeline] = Counter(
            stretch for stretch, slot in slots if slot.key is not None
        )
        first: dict[RecognitionPipeline, PendingSegment] = {}
        for plan in plans:
            oldest = first.setdefault(plan.pipeline, plan) is plan
            for slot in plan.windows:
                count = running if oldest else ahead
                if not slot.is_started and count[plan.pipeline] < plan.pipeline.strategy.max_ahead:
                    running[plan.pipeline] += 1
                    ahead[plan.pipeline] += 1
                    yield self._request_decode(plan, slot)
            yield from self._request_diarization(plan)

    def _request_decode(self, plan: PendingSegment, slot: PendingWindow) -> Decode:
        slot.key = next(self._keys)
        self._running[slot.key] = (plan, slot)
        window = plan.pipeline.cut_window(plan, slot)
        return Decode(slot.key, window, plan.pipeline.model.name, is_final=plan is not self._partial)

    def _request_diarization(self, plan: PendingSegment) -> Iterator[Effect]:
        """Ask about the plan's sound, if it is its turn: the diarizer's state goes from one to the next."""
        hearing = plan.diarization
        if hearing and hearing.is_waiting and hearing.key is None and not hearing.tracker.is_busy:
            key = next(self._keys)
            self._diarizing[key] = hearing
            yield Diarize(key, hearing.tracker.start_request(hearing, key))

    def _request_finalization(self, summary: PendingDiarizationSummary) -> Iterator[Effect]:
        if summary.key is None:
            summary.key = next(self._keys)
            self._diarizing[summary.key] = summary
            yield FinalizeDiarization(summary.key, summary.tracker.state)

    def _cancel_partial(self) -> Iterator[Effect]:
        plan, self._partial = self._partial, None
        if plan:
            yield from self._cancel_decodes(plan.running_keys)

    def _cancel_decodes(self, keys: Sequence[int]) -> Iterator[Effect]:
        for key in keys:
            del self._running[key]
        if keys:
            yield CancelDecodes(tuple(keys))
