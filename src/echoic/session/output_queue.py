"""What waits in a session, counted as it comes and goes: nobody walks along a line to measure it."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, assert_never

from echoic.errors import DecodeFailed
from echoic.interfaces.diarizer import Turn, Voices
from echoic.interfaces.engine import Hypothesis
from echoic.protocol.frames import Audio, DiarizationSummary, FullTranscript, ServerFrame, Status
from echoic.session.decoding.strategy import Spoken
from echoic.session.effects import Close, Decode, Drop, Effect, Listen, Review, Send
from echoic.session.pipeline import Plan, Slot, Stretch
from echoic.session.rendering import decode_failed, diarization_failed, final_frame, partial_frame
from echoic.session.speaker_tracking import Hearing, Listening
from echoic.units import to_seconds

_T = TypeVar("_T")


class Line(Generic[_T]):
    """Items in order, and how much they are.

    Args:
        size: How much an item counts, in whole units; asked again when it goes.
    """

    __slots__ = ("_items", "_size", "size", "weighty")

    def __init__(self, size: Callable[[_T], int]) -> None:
        self._items: deque[_T] = deque()
        self._size = size
        #: Of all items.
        self.size = 0
        #: Items that count at all.
        self.weighty = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[_T]:
        return iter(self._items)

    def __getitem__(self, place: int) -> _T:
        return self._items[place]

    @property
    def weightless(self) -> int:
        """Items that count nothing."""
        return len(self._items) - self.weighty

    def append(self, item: _T) -> None:
        """Add one at the end."""
        self._count(item, 1)
        self._items.append(item)

    def appendleft(self, item: _T) -> None:
        """Add one before all others."""
        self._count(item, 1)
        self._items.appendleft(item)

    def extend(self, items: Iterable[_T]) -> None:
        """Add several at the end."""
        for item in items:
            self.append(item)

    def pop(self) -> _T:
        """Take the last."""
        item = self._items.pop()
        self._count(item, -1)
        return item

    def popleft(self) -> _T:
        """Take the first."""
        item = self._items.popleft()
        self._count(item, -1)
        return item

    def keep(self, wanted: Callable[[_T], bool]) -> None:
        """Forget all others."""
        kept = [item for item in self._items if wanted(item)]
        self._items.clear()
        self.size = self.weighty = 0
        self.extend(kept)

    def _count(self, item: _T, sign: int) -> None:
        size = self._size(item)
        self.size += sign * size
        self.weighty += sign * (size > 0)


def audio_bytes(frame: object) -> int:
    """Return how many bytes of audio a frame holds."""
    return len(frame.data) if isinstance(frame, Audio) else 0


#: In a second; audio that waits is counted in whole ones.
MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Reply:
    """A frame that waits for its turn behind earlier segments."""

    frame: ServerFrame


@dataclass(frozen=True, slots=True)
class TranscriptDue:
    """The transcript is due here; unless ``always``, only if there is one."""

    always: bool


@dataclass(slots=True, eq=False)
class Summary:
    """Who spoke is due here, once the whole session was looked at again; no ``turns``: it stays as it is."""

    listening: Listening
    key: int | None = None
    answered: bool = False
    turns: tuple[Turn, ...] | None = None


@dataclass(frozen=True, slots=True)
class Afresh:
    """The session starts afresh here."""


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The connection closes here."""

    code: int


#: A segment, or what comes between segments.
Item = Plan | Reply | TranscriptDue | Summary | Afresh | Goodbye


def microseconds(item: Item) -> int:
    """Return how much audio waits with an item; never 0 for a plan, whose decodes are waited for."""
    if not isinstance(item, Plan):
        return 0
    seconds = to_seconds(item.span.end - item.span.start, item.stretch.segments.rate)
    return max(1, round(MICROSECONDS * seconds))


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

    def take(self) -> str:
        """Return the text and start afresh."""
        text = self.text
        self._texts.clear()
        return text


#: A window is decoded at most this often before it is given up.
_ATTEMPTS = 2


class Deliveries:
    """Segments and replies on their way to a client, and a partial beside them.

    Attributes:
        recording: Where the session's audio is stored, as the summary calls it, or None.
        is_over: Whether it came to the goodbye.
    """

    def __init__(self) -> None:
        self._line: Line[Item] = Line(microseconds)
        self._added = 0
        self._partial: Plan | None = None
        self._running: dict[int, tuple[Plan, Slot]] = {}
        self._hearing: dict[int, Hearing | Summary] = {}
        self._keys = itertools.count(1)
        self._finals = 0
        self._transcript = Transcript()
        self.recording: str | None = None
        self.is_over = False

    # ---- what is due

    def add(self, item: Item) -> None:
        """Deliver an item after all before it."""
        self._line.append(item)
        self._added += microseconds(item)

    def forget(self) -> Iterator[Effect]:
        """Forget segments that no reply waits for, and the partial."""
        yield from self._drop_partial()
        forgotten: list[int] = []
        while self._line and isinstance(plan := self._line[-1], Plan):
            self._line.pop()
            forgotten += plan.running
            if plan.hearing and plan.hearing.key is not None:
                self._hearing.pop(plan.hearing.key, None)
        yield from self._drop(forgotten)

    def renew_partial(self, plan: Plan) -> Iterator[Effect]:
        """Deliver this partial instead of the one before."""
        yield from self._drop_partial()
        self._partial = plan

    @property
    def plans(self) -> list[Plan]:
        """The segments that are not delivered, and the partial."""
        plans = [item for item in self._line if isinstance(item, Plan)]
        return [*plans, self._partial] if self._partial else plans

    @property
    def finals(self) -> int:
        """Segments that are not delivered."""
        return self._line.weighty

    @property
    def replies(self) -> int:
        """What else is not delivered."""
        return self._line.weightless

    @property
    def seconds(self) -> float:
        """Of audio in the segments that are not delivered."""
        return self._line.size / MICROSECONDS

    @property
    def progress(self) -> tuple[int, int]:
        """Microseconds of audio in all segments since the beginning, and in those that are delivered."""
        return self._added, self._added - self._line.size

    # ---- answers

    def finished(self, key: int, outcome: Hypothesis | DecodeFailed) -> None:
        """Take the answer to a ``Decode``; answers that nobody waits for any more are ignored."""
        plan, slot = self._running.pop(key, (None, None))
        if plan is None or slot is None:
            return
        slot.key = None
        if not isinstance(outcome, DecodeFailed):
            slot.settle(outcome)
            plan.stretch.remember(plan, slot, outcome)
        elif plan is self._partial:
            self._partial = None
        else:
            slot.failures += _ATTEMPTS if outcome.is_last else 1
            if slot.failures >= _ATTEMPTS:
                slot.settle(None)

    def listened(self, key: int, voices: Voices | None) -> list[Effect]:
        """Take the answer to a ``Listen``; None: nobody could tell."""
        hearing = self._hearing.pop(key, None)
        if isinstance(hearing, Hearing) and hearing.listening.answer(hearing, voices):
            return [Send(diarization_failed())]
        return []

    def reviewed(self, key: int, turns: tuple[Turn, ...] | None) -> None:
        """Take the answer to a ``Review``; None: nobody could tell."""
        summary = self._hearing.pop(key, None)
        if isinstance(summary, Summary):
            summary.answered, summary.turns = True, turns

    # ---- delivery

    def advance(self) -> list[Effect]:
        """Deliver what is ready, in order, and ask for what can be asked."""
        effects: list[Effect] = []
        if self.finals:
            effects += self._drop_partial()
        while self._line:
            item = self._line[0]
            if isinstance(item, Plan) and not item.ready:
                break
            if isinstance(item, Summary) and not item.answered and item.listening.has_news:
                effects += self._review(item)
                break
            self._line.popleft()
            effects += self._deliver(item)
        effects += self._deliver_partial()
        if plans := self.plans:  # mostly there are none
            effects += self._ask(plans)
        return effects

    def _deliver(self, item: Item) -> Iterator[Effect]:
        match item:
            case Reply(frame):
                yield Send(frame)
            case TranscriptDue(always):
                text = self._transcript.take()
                if text or always:
                    yield Send(FullTranscript(text=text))
            case Summary():
                yield from self._deliver_summary(item)
            case Afresh():
                self._finals = 0
                self._transcript.take()
                yield Send(Status(state="reset"))
            case Goodbye(code):
                yield from self._leave(code)
            case Plan():
                yield from self._deliver_segment(item)
            case _:
                assert_never(item)

    def _deliver_segment(self, plan: Plan) -> Iterator[Effect]:
        answers = plan.complete or []
        words = plan.stretch.say(plan, answers)
        if any(slot.lost for slot in plan.slots):
            yield Send(decode_failed(plan))
        if words:
            self._finals += 1
            speakers = self._speakers(plan, words)
            frame = final_frame(plan, self._finals, words, speakers)
            self._transcript.add(frame.text)
            yield Send(frame)

    def _speakers(self, plan: Plan, words: Sequence[Spoken]) -> Sequence[int | None]:
        """Return who says these words, of the final that is about to be sent."""
        if plan.hearing is None or not plan.hearing.answered:
            return ()
        at = plan.stretch.segments
        return plan.hearing.listening.label(
            self._finals, words, at.seconds(plan.span.start), at.seconds(plan.span.end)
        )

    def _deliver_summary(self, summary: Summary) -> Iterator[Effect]:
        if summary.listening.has_news:
            segments, speakers = summary.listening.summary(summary.turns)
            yield Send(DiarizationSummary(speaker_map=segments, audio_path=self.recording, speakers=speakers))

    def _deliver_partial(self) -> Iterator[Effect]:
        plan = self._partial
        answers = plan.complete if plan else None
        if plan is None or answers is None:
            return
        self._partial = None
        words = plan.stretch.glimpse(plan, answers)
        if words:
            yield Send(partial_frame(plan, self._finals + 1, words))

    def _leave(self, code: int) -> Iterator[Effect]:
        self._partial = None
        self.is_over = True
        yield from self._drop(tuple(self._running))
        yield Close(code)

    # ---- questions

    def _ask(self, plans: Sequence[Plan]) -> Iterator[Effect]:
        """Ask for decodes in order, as many as each stretch's reading allows ahead of what is said."""
        slots = [(plan.stretch, slot) for plan in plans for slot in plan.slots if not slot.known]
        ahead: Counter[Stretch] = Counter(stretch for stretch, slot in slots if slot.begun)
        running: Counter[Stretch] = Counter(stretch for stretch, slot in slots if slot.key is not None)
        first: dict[Stretch, Plan] = {}
        for plan in plans:
            oldest = first.setdefault(plan.stretch, plan) is plan
            for slot in plan.slots:
                count = running if oldest else ahead
                if not slot.begun and count[plan.stretch] < plan.stretch.reading.ahead:
                    running[plan.stretch] += 1
                    ahead[plan.stretch] += 1
                    yield self._decode(plan, slot)
            yield from self._ask_who_speaks(plan)

    def _decode(self, plan: Plan, slot: Slot) -> Decode:
        slot.key = next(self._keys)
        self._running[slot.key] = (plan, slot)
        window = plan.stretch.window(plan, slot)
        return Decode(slot.key, window, plan.stretch.model.name, final=plan is not self._partial)

    def _ask_who_speaks(self, plan: Plan) -> Iterator[Effect]:
        """Ask about the plan's sound, if it is its turn: the diarizer's state goes from one to the next."""
        hearing = plan.hearing
        if hearing and hearing.waits and hearing.key is None and not hearing.listening.busy:
            key = next(self._keys)
            self._hearing[key] = hearing
            yield Listen(key, hearing.listening.ask(hearing, key))

    def _review(self, summary: Summary) -> Iterator[Effect]:
        if summary.key is None:
            summary.key = next(self._keys)
            self._hearing[summary.key] = summary
            yield Review(summary.key, summary.listening.carry)

    def _drop_partial(self) -> Iterator[Effect]:
        plan, self._partial = self._partial, None
        if plan:
            yield from self._drop(plan.running)

    def _drop(self, keys: Sequence[int]) -> Iterator[Effect]:
        for key in keys:
            del self._running[key]
        if keys:
            yield Drop(tuple(keys))
