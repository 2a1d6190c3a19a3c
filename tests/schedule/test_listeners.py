"""The door to the diarizer: whatever it does, everyone is answered, in time."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from echoic.engines.scripted import VOCABULARY, draw
from echoic.schedule.listeners import Listeners
from echoic.session.sound import Sound, Turn, Voices
from echoic.speakers.scripted import ScriptedDiarizer

if TYPE_CHECKING:
    from collections.abc import Sequence

ANN, BOB = VOCABULARY[0], VOCABULARY[10]


def sound(word: str = ANN) -> Sound:
    audio = draw([(word, 0.5)])
    return Sound(audio, 0.0, ((0, len(audio)),))


class Asked:
    """Asks, and waits for answers."""

    def __init__(self, listeners: Listeners) -> None:
        self.listeners = listeners
        self.answers: dict[int, object] = {}
        self.changed = asyncio.Event()

    def done(self, key: int, outcome: object) -> None:
        assert key not in self.answers
        self.answers[key] = outcome
        self.changed.set()

    def ask(self, key: int, what: Sound) -> None:
        self.listeners.listen(self, key, what, self.done)

    async def all(self, count: int) -> dict[int, object]:
        async with asyncio.timeout(20):
            while len(self.answers) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.answers


async def test_sounds_are_answered_in_their_order_and_a_review_after_them() -> None:
    listeners = Listeners(ScriptedDiarizer)
    asked = Asked(listeners)
    asked.ask(1, sound(ANN))
    (first,) = (await asked.all(1)).values()
    assert isinstance(first, Voices)
    assert [turn.speaker for turn in first.turns] == [0]
    listeners.review(asked, 2, first.carry, asked.done)
    review = (await asked.all(2))[2]
    assert isinstance(review, tuple)
    assert [turn.speaker for turn in review] == [0]
    assert listeners.waiting == 0
    await listeners.close()


class Counting(ScriptedDiarizer):
    """Counts sounds a call, and stops at the first."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []
        self.reached, self.go = threading.Event(), threading.Event()

    def listen(self, sounds: Sequence[Sound]) -> list[Voices]:
        self.calls.append(len(sounds))
        self.reached.set()
        assert self.go.wait(20)
        return super().listen(sounds)


async def test_what_gathers_meanwhile_goes_together() -> None:
    diarizer = Counting()
    listeners = Listeners(lambda: diarizer, patience=60.0)
    asked = Asked(listeners)
    asked.ask(0, sound())
    await asyncio.to_thread(diarizer.reached.wait, 20)
    for key in range(1, 6):
        asked.ask(key, sound(BOB))
    diarizer.go.set()
    assert all(isinstance(one, Voices) for one in (await asked.all(6)).values())
    assert diarizer.calls == [1, 5]
    await listeners.close()


async def test_those_for_whom_a_call_together_would_take_too_long_are_asked_about_one_by_one() -> None:
    diarizer = Counting()
    listeners = Listeners(lambda: diarizer, patience=1e-6)
    asked = Asked(listeners)
    for key in range(4):
        listeners.listen(asked, key, sound(), asked.done, ahead=60.0)
        await asyncio.to_thread(diarizer.reached.wait, 20)
    diarizer.go.set()
    assert None not in (await asked.all(4)).values()
    assert diarizer.calls == [1, 1, 1, 1]
    await listeners.close()


async def test_one_bad_sound_costs_the_others_nothing() -> None:
    diarizer = Counting()
    bad = Sound(np.zeros(3, np.float32), 0.0, ((0, "x"),))  # type: ignore[arg-type]
    listeners = Listeners(lambda: diarizer)
    asked = Asked(listeners)
    asked.ask(0, sound())
    await asyncio.to_thread(diarizer.reached.wait, 20)
    asked.ask(1, sound())
    asked.ask(2, bad)
    diarizer.go.set()
    answers = await asked.all(3)
    assert isinstance(answers[1], Voices)
    assert answers[2] is None
    await listeners.close()


async def test_one_that_cannot_be_loaded_is_answered_by_none() -> None:
    def load() -> ScriptedDiarizer:
        raise ImportError

    listeners = Listeners(load)
    asked = Asked(listeners)
    asked.ask(1, sound())
    assert await asked.all(1) == {1: None}
    await listeners.close()


async def test_one_that_hangs_is_answered_by_none_in_time_and_close_does_not_wait_for_it() -> None:
    diarizer = Counting()
    listeners = Listeners(lambda: diarizer, patience=0.01)
    asked = Asked(listeners)
    asked.ask(1, sound())
    asked.ask(2, sound())
    assert await asked.all(2) == {1: None, 2: None}
    diarizer.go.set()
    await listeners.close()
    asked.ask(3, sound())
    assert (await asked.all(3))[3] is None


async def test_what_is_asked_while_it_loads_waits_for_that_too() -> None:
    go = threading.Event()

    def load() -> ScriptedDiarizer:
        go.wait(20)
        return ScriptedDiarizer()

    listeners = Listeners(load, patience=1.5)
    asked = Asked(listeners)
    asked.ask(1, sound())
    asyncio.get_running_loop().call_later(1.6, go.set)
    assert isinstance((await asked.all(1))[1], Voices)
    await listeners.close()


async def test_sound_that_came_early_may_take_longer() -> None:
    diarizer = Counting()
    listeners = Listeners(lambda: diarizer, patience=0.01)
    asked = Asked(listeners)
    listeners.listen(asked, 1, sound(), asked.done, ahead=20.0)
    asyncio.get_running_loop().call_later(0.1, diarizer.go.set)
    assert isinstance((await asked.all(1))[1], Voices)
    await listeners.close()


async def test_who_leaves_is_not_answered() -> None:
    diarizer = Counting()
    listeners = Listeners(lambda: diarizer)
    gone, there = Asked(listeners), Asked(listeners)
    gone.ask(1, sound())
    await asyncio.to_thread(diarizer.reached.wait, 20)
    gone.ask(2, sound())
    there.ask(1, sound())
    listeners.leave(gone)
    diarizer.go.set()
    await there.all(1)
    assert gone.answers == {}
    await listeners.close()


@pytest.mark.parametrize("wrong", [[], [Voices(()), Voices(())]])
async def test_one_that_answers_too_little_or_too_much_has_failed(wrong: list[Voices]) -> None:
    class Wrong(ScriptedDiarizer):
        def listen(self, sounds: Sequence[Sound]) -> list[Voices]:  # noqa: ARG002  # the signature
            return wrong

        def review(self, carry: object) -> tuple[Turn, ...]:  # noqa: ARG002  # the signature
            raise ValueError

    listeners = Listeners(Wrong)
    asked = Asked(listeners)
    asked.ask(1, sound())
    listeners.review(asked, 2, None, asked.done)
    assert await asked.all(2) == {1: None, 2: None}
    await listeners.close()
