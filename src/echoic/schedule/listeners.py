"""The async door to a diarizer: one thread, whatever has gathered at a time, and no answer comes late."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from echoic.schedule.blocking import call_on, in_thread
from echoic.schedule.worker import Raised, attempt
from echoic.session.sound import Sound, Turn, Voices

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from echoic.speakers.base import Diarizer

log = logging.getLogger(__name__)

#: Pieces of sound in one call, and the share of the patience that it may take: it answers all at its end.
_LANES: Final = 8
_SHARE: Final = 0.25
#: Seconds that a question may wait for loading, which happens once.
_LOADING: Final = 10.0
#: Seconds that ``close`` waits for the thread.
_CLOSING: Final = 2.0


@dataclass(slots=True, eq=False)
class _Question:
    client: Hashable
    answer: Callable[[object], None]
    sound: Sound | None = None
    carry: object = None
    ahead: float = 0.0
    timer: asyncio.TimerHandle | None = None
    over: bool = field(default=False)


class Listeners:
    """Asks one diarizer for all sessions of a process; for one event loop.

    It is loaded when it is asked for the first time. A question that has no answer in time, or whose answer
    is an exception, is answered by None: finals must not wait for it.

    Args:
        load: Returns the diarizer; may block and raise.
        patience: Seconds that a question may take, beside the loading.
    """

    def __init__(self, load: Callable[[], Diarizer], *, patience: float = 2.0) -> None:
        self._load = load
        self._patience = patience
        self._pace = 0.0
        self._changed = threading.Condition()
        self._waiting: deque[_Question] = deque()
        self._mine: dict[Hashable, set[_Question]] = {}
        self._diarizer: Diarizer | None = None
        self._tried = False
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """Questions without an answer."""
        return sum(map(len, self._mine.values()))

    def prepare(self) -> None:
        """Begin to load it, if nobody has."""
        if self._thread is None and not self._closed:
            loop = asyncio.get_running_loop()
            # Whoever asks first must not stand in the log for what is done for all.
            run = contextvars.Context().run
            self._thread = threading.Thread(
                target=run, args=(self._run, loop), name="echoic-speakers", daemon=True
            )
            self._thread.start()

    def listen(
        self,
        client: Hashable,
        key: int,
        sound: Sound,
        done: Callable[[int, Voices | None], None],
        *,
        ahead: float = 0.0,
    ) -> None:
        """Find out who speaks in a piece of sound.

        Args:
            client: Who asks.
            key: Comes back with the answer.
            sound: What to listen to.
            done: Called once, on the event loop and never from within; not after ``leave``.
            ahead: Seconds that it may take longer, since the sound came earlier than it plays.
        """

        def answer(outcome: object) -> None:
            done(key, outcome if isinstance(outcome, Voices) else None)

        self._ask(_Question(client, answer, sound, ahead=ahead))

    def review(
        self, client: Hashable, key: int, carry: object, done: Callable[[int, tuple[Turn, ...] | None], None]
    ) -> None:
        """Find out who spoke in all that led to ``carry``; as ``listen``."""

        def answer(outcome: object) -> None:
            done(key, outcome if isinstance(outcome, tuple) else None)

        self._ask(_Question(client, answer, None, carry))

    def leave(self, client: Hashable) -> None:
        """Forget the client's questions."""
        for question in self._mine.pop(client, set()):
            self._settle(question)

    async def close(self) -> None:
        """Answer what is still asked by None, and give the weights back."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        for question in [one for mine in self._mine.values() for one in mine]:
            self._answer(question, None)
        if (thread := self._thread) is not None:
            await in_thread(lambda: thread.join(_CLOSING), "echoic-close-speakers")

    # ---- on the event loop

    def _ask(self, question: _Question) -> None:
        self.prepare()
        loop = asyncio.get_running_loop()
        if self._closed:
            loop.call_soon(question.answer, None)
            return
        self._mine.setdefault(question.client, set()).add(question)
        queue = len(self._waiting) * self._pace
        if queue > self._patience + question.ahead:  # nobody waits for what cannot come in time
            question.timer = loop.call_later(0.0, self._answer, question, None)
            return
        self._be_patient(question, self._patience if self._tried else _LOADING)
        with self._changed:
            self._waiting.append(question)
            self._changed.notify()

    def _has_loaded(self) -> None:
        """From now on the questions that waited for loading are as patient as others."""
        self._tried = True
        for question in [one for mine in self._mine.values() for one in mine]:
            self._be_patient(question, self._patience)

    def _be_patient(self, question: _Question, seconds: float) -> None:
        if question.timer is not None:
            question.timer.cancel()
        seconds += question.ahead
        question.timer = asyncio.get_running_loop().call_later(seconds, self._too_late, question)

    def _too_late(self, question: _Question) -> None:
        log.warning("speakers_late", extra={"event_values": {"waiting": self.waiting}})
        self._answer(question, None)

    def _answer(self, question: _Question, outcome: object) -> None:
        if question.over:
            return
        self._settle(question)
        mine = self._mine.get(question.client, set())
        mine.discard(question)
        if not mine:
            self._mine.pop(question.client, None)
        question.answer(outcome)

    def _settle(self, question: _Question) -> None:
        question.over = True
        with self._changed, suppress(ValueError):
            self._waiting.remove(question)
        if question.timer is not None:
            question.timer.cancel()

    # ---- on the thread

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waits(loop):
            if questions := self._take():
                began = time.perf_counter()
                outcomes = self._outcomes(questions)
                self._pace = (time.perf_counter() - began) / len(questions)
                for question, outcome in zip(questions, outcomes, strict=True):
                    self._report(outcome)
                    call_on(loop, functools.partial(self._answer, question, outcome))
        if self._diarizer is not None:
            attempt(self._diarizer.close)

    def _waits(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Load the diarizer if it is not, wait for questions, and return whether to go on."""
        if self._diarizer is None:
            loaded = attempt(self._load)
            if isinstance(loaded, Raised):
                log.warning(
                    "speakers_not_loaded", extra={"event_values": {"error": type(loaded.error).__name__}}
                )
            else:
                self._diarizer = loaded
            call_on(loop, self._has_loaded)
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting)
            return not self._closed

    def _take(self) -> list[_Question]:
        """Return what has gathered: several pieces of sound, or one review."""
        with self._changed:
            taken: list[_Question] = []
            in_time = _SHARE * self._patience / self._pace if self._pace else _LANES
            lanes = min(_LANES, max(1, int(in_time)))
            while self._waiting and len(taken) < lanes and (not taken or self._waiting[0].sound):
                taken.append(self._waiting.popleft())
                if not taken[-1].sound:
                    break
            return taken

    def _report(self, outcome: object) -> None:
        if isinstance(outcome, Raised):
            log.warning("speakers_failed", extra={"event_values": {"error": type(outcome.error).__name__}})

    def _outcomes(self, questions: Sequence[_Question]) -> Sequence[object]:
        diarizer = self._diarizer
        if diarizer is None:
            return [None] * len(questions)
        sounds = [question.sound for question in questions if question.sound is not None]
        if not sounds:
            return [attempt(lambda: diarizer.review(questions[0].carry))]
        together = attempt(lambda: _listen(diarizer, sounds))
        if isinstance(together, Raised) and len(sounds) > 1:  # one bad piece costs the others only time
            return [attempt(functools.partial(_first, diarizer, sound)) for sound in sounds]
        return [together] if isinstance(together, Raised) else together


def _listen(diarizer: Diarizer, sounds: Sequence[Sound]) -> list[Voices]:
    voices = diarizer.listen(sounds)
    if len(voices) != len(sounds):
        raise ValueError(f"{len(voices)} answers for {len(sounds)} pieces of sound")
    return voices


def _first(diarizer: Diarizer, sound: Sound) -> Voices:
    return _listen(diarizer, [sound])[0]
