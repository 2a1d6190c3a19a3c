"""What a tape holds, and how little it costs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from echoic.audio.buffer import AudioBuffer


def ramp(count: int, first: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.arange(first, first + count, dtype=np.float32)


class TapeAgainstAList(RuleBasedStateMachine):
    """A tape gives back what a plain list would."""

    def __init__(self) -> None:
        super().__init__()
        self.tape = AudioBuffer()
        self.held: list[float] = []
        self.start = 0
        self.next_value = 0

    @rule(count=st.one_of(st.integers(0, 50), st.integers(0, 5000)))
    def append(self, count: int) -> None:
        samples = ramp(count, self.next_value)
        self.tape.append(samples)
        samples[:] = -1  # the tape keeps a copy
        self.held += range(self.next_value, self.next_value + count)
        self.next_value = (self.next_value + count) % 1_000_000

    @rule(share=st.floats(-0.1, 1.1))
    def forget(self, share: float) -> None:
        before = self.start + int(share * len(self.held))
        self.tape.discard_before(before)
        dropped = min(max(before - self.start, 0), len(self.held))
        self.held = self.held[dropped:]
        self.start += dropped

    @rule(start=st.integers(0, 10**12))
    def clear(self, start: int) -> None:
        self.tape.clear(start)
        self.held = []
        self.start = start

    @rule(one=st.floats(0, 1), other=st.floats(0, 1))
    def read(self, one: float, other: float) -> None:
        first, last = sorted((int(one * len(self.held)), int(other * len(self.held))))
        samples = self.tape.read(self.start + first, self.start + last)
        assert samples.tolist() == self.held[first:last]
        assert samples.dtype == np.float32
        assert not samples.flags.writeable

    @invariant()
    def knows_its_ends(self) -> None:
        assert (self.tape.start, self.tape.end) == (self.start, self.start + len(self.held))

    @invariant()
    def stays_within_twice_what_it_holds(self) -> None:
        assert self.tape.nbytes <= max(2 * 4 * len(self.held), 4096)
        assert self.held or self.tape.nbytes == 0


TestTapeAgainstAList = TapeAgainstAList.TestCase
TestTapeAgainstAList.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize(("start", "end"), [(4, 10), (5, 16), (12, 8), (0, 20), (-1, 6)])
def test_reading_what_is_not_held_says_what_is(start: int, end: int) -> None:
    tape = AudioBuffer(5)
    tape.append(ramp(10))
    with pytest.raises(ValueError, match=f"Samples {start} to {end} requested, 5 to 15 buffered."):
        tape.read(start, end)


def test_what_was_read_does_not_change_when_the_tape_goes_on() -> None:
    tape = AudioBuffer()
    tape.append(ramp(2000))
    samples = tape.read(1000, 2000)
    tape.discard_before(1990)
    tape.append(-ramp(5000))
    assert samples.tolist() == ramp(1000, 1000).tolist()


def test_only_mono_is_taped() -> None:
    with pytest.raises(ValueError, match="mono"):
        AudioBuffer().append(np.zeros((2, 3), dtype=np.float32))


def test_a_rolling_window_keeps_its_memory_for_an_hour() -> None:
    tape = AudioBuffer()
    message = np.zeros(1600, dtype=np.float32)
    largest = 0
    for _ in range(36_000):
        tape.append(message)
        tape.discard_before(tape.end - 40_000)
        largest = max(largest, tape.nbytes)
    assert tape.end == 57_600_000
    assert largest <= 2 * 4 * 41_600
