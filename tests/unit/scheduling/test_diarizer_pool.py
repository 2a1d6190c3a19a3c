"""The door to the diarizer: whatever it does, everyone is answered, in time."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from echoic.diarization.scripted import ScriptedDiarizer
from echoic.engines.scripted import VOCABULARY, draw_words
from echoic.interfaces.diarizer import DiarizationChunk, DiarizationResult, SpeakerTurn
from echoic.scheduling.diarizer_pool import DiarizerPool

if TYPE_CHECKING:
    from collections.abc import Sequence

ANN, BOB = VOCABULARY[0], VOCABULARY[10]


def build_chunk(word: str = ANN) -> DiarizationChunk:
    audio = draw_words([(word, 0.5)])
    return DiarizationChunk(audio, 0.0, ((0, len(audio)),))


class DiarizerClient:
    """Asks, and waits for answers."""

    def __init__(self, listeners: DiarizerPool) -> None:
        self.pool = listeners
        self.answers: dict[int, object] = {}
        self.changed = asyncio.Event()

    def on_answer(self, key: int, outcome: object) -> None:
        assert key not in self.answers
        self.answers[key] = outcome
        self.changed.set()

    def submit_chunk(self, key: int, what: DiarizationChunk) -> None:
        self.pool.submit_chunk(self, key, what, self.on_answer)

    async def wait_for_answers(self, count: int) -> dict[int, object]:
        async with asyncio.timeout(20):
            while len(self.answers) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.answers


async def test_chunks_are_answered_in_order_then_the_finalization() -> None:
    listeners = DiarizerPool(ScriptedDiarizer)
    asked = DiarizerClient(listeners)
    asked.submit_chunk(1, build_chunk(ANN))
    (first,) = (await asked.wait_for_answers(1)).values()
    assert isinstance(first, DiarizationResult)
    assert [turn.speaker for turn in first.turns] == [0]
    listeners.submit_finalization(asked, 2, first.state, asked.on_answer)
    review = (await asked.wait_for_answers(2))[2]
    assert isinstance(review, tuple)
    assert [turn.speaker for turn in review] == [0]
    assert listeners.pending_count == 0
    await listeners.close()


class CountingDiarizer(ScriptedDiarizer):
    """Counts sounds a call, and stops at the first."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []
        self.reached, self.go = threading.Event(), threading.Event()

    def diarize(self, chunks: Sequence[DiarizationChunk]) -> list[DiarizationResult]:
        self.calls.append(len(chunks))
        self.reached.set()
        assert self.go.wait(20)
        return super().diarize(chunks)


async def test_queued_chunks_are_batched() -> None:
    diarizer = CountingDiarizer()
    listeners = DiarizerPool(lambda: diarizer, timeout=60.0)
    asked = DiarizerClient(listeners)
    asked.submit_chunk(0, build_chunk())
    await asyncio.to_thread(diarizer.reached.wait, 20)
    for key in range(1, 6):
        asked.submit_chunk(key, build_chunk(BOB))
    diarizer.go.set()
    assert all(isinstance(one, DiarizationResult) for one in (await asked.wait_for_answers(6)).values())
    assert diarizer.calls == [1, 5]
    await listeners.close()


async def test_a_slow_diarizer_gets_one_chunk_at_a_time() -> None:
    diarizer = CountingDiarizer()
    listeners = DiarizerPool(lambda: diarizer, timeout=1e-6)
    asked = DiarizerClient(listeners)
    for key in range(4):
        listeners.submit_chunk(asked, key, build_chunk(), asked.on_answer, extra_seconds=60.0)
        await asyncio.to_thread(diarizer.reached.wait, 20)
    diarizer.go.set()
    assert None not in (await asked.wait_for_answers(4)).values()
    assert diarizer.calls == [1, 1, 1, 1]
    await listeners.close()


async def test_a_bad_chunk_fails_alone() -> None:
    diarizer = CountingDiarizer()
    bad = DiarizationChunk(np.zeros(3, np.float32), 0.0, ((0, "x"),))  # type: ignore[arg-type]
    listeners = DiarizerPool(lambda: diarizer)
    asked = DiarizerClient(listeners)
    asked.submit_chunk(0, build_chunk())
    await asyncio.to_thread(diarizer.reached.wait, 20)
    asked.submit_chunk(1, build_chunk())
    asked.submit_chunk(2, bad)
    diarizer.go.set()
    answers = await asked.wait_for_answers(3)
    assert isinstance(answers[1], DiarizationResult)
    assert answers[2] is None
    await listeners.close()


async def test_jobs_of_a_diarizer_that_does_not_load_get_none() -> None:
    def load() -> ScriptedDiarizer:
        raise ImportError

    listeners = DiarizerPool(load)
    asked = DiarizerClient(listeners)
    asked.submit_chunk(1, build_chunk())
    assert await asked.wait_for_answers(1) == {1: None}
    await listeners.close()


async def test_a_diarizer_that_hangs_delays_neither_answers_nor_close() -> None:
    diarizer = CountingDiarizer()
    listeners = DiarizerPool(lambda: diarizer, timeout=0.01)
    asked = DiarizerClient(listeners)
    asked.submit_chunk(1, build_chunk())
    asked.submit_chunk(2, build_chunk())
    assert await asked.wait_for_answers(2) == {1: None, 2: None}
    diarizer.go.set()
    await listeners.close()
    asked.submit_chunk(3, build_chunk())
    assert (await asked.wait_for_answers(3))[3] is None


async def test_jobs_wait_for_the_diarizer_to_load() -> None:
    go = threading.Event()

    def load() -> ScriptedDiarizer:
        go.wait(20)
        return ScriptedDiarizer()

    listeners = DiarizerPool(load, timeout=1.5)
    asked = DiarizerClient(listeners)
    asked.submit_chunk(1, build_chunk())
    asyncio.get_running_loop().call_later(1.6, go.set)
    assert isinstance((await asked.wait_for_answers(1))[1], DiarizationResult)
    await listeners.close()


async def test_audio_ahead_of_time_may_take_longer() -> None:
    diarizer = CountingDiarizer()
    listeners = DiarizerPool(lambda: diarizer, timeout=0.01)
    asked = DiarizerClient(listeners)
    listeners.submit_chunk(asked, 1, build_chunk(), asked.on_answer, extra_seconds=20.0)
    asyncio.get_running_loop().call_later(0.1, diarizer.go.set)
    assert isinstance((await asked.wait_for_answers(1))[1], DiarizationResult)
    await listeners.close()


async def test_a_removed_client_gets_no_answer() -> None:
    diarizer = CountingDiarizer()
    listeners = DiarizerPool(lambda: diarizer)
    gone, there = DiarizerClient(listeners), DiarizerClient(listeners)
    gone.submit_chunk(1, build_chunk())
    await asyncio.to_thread(diarizer.reached.wait, 20)
    gone.submit_chunk(2, build_chunk())
    there.submit_chunk(1, build_chunk())
    listeners.remove_client(gone)
    diarizer.go.set()
    await there.wait_for_answers(1)
    assert gone.answers == {}
    await listeners.close()


@pytest.mark.parametrize("wrong", [[], [DiarizationResult(()), DiarizationResult(())]])
async def test_a_wrong_number_of_results_is_a_failure(wrong: list[DiarizationResult]) -> None:
    class Wrong(ScriptedDiarizer):
        def diarize(self, chunks: Sequence[DiarizationChunk]) -> list[DiarizationResult]:  # noqa: ARG002  # the signature
            return wrong

        def finalize(self, state: object) -> tuple[SpeakerTurn, ...]:  # noqa: ARG002  # the signature
            raise ValueError

    listeners = DiarizerPool(Wrong)
    asked = DiarizerClient(listeners)
    asked.submit_chunk(1, build_chunk())
    listeners.submit_finalization(asked, 2, None, asked.on_answer)
    assert await asked.wait_for_answers(2) == {1: None, 2: None}
    await listeners.close()
