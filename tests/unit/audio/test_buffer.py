"""What a buffer holds, and how little it costs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from echoic.audio.buffer import AudioBuffer


def ramp(count: int, first: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.arange(first, first + count, dtype=np.float32)


class BufferModel(RuleBasedStateMachine):
    """A buffer gives back what a plain list would."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = AudioBuffer()
        self.held: list[float] = []
        self.start = 0
        self.next_value = 0

    @rule(count=st.one_of(st.integers(0, 50), st.integers(0, 5000)))
    def append(self, count: int) -> None:
        samples = ramp(count, self.next_value)
        self.buffer.append(samples)
        samples[:] = -1  # the buffer keeps a copy
        self.held += range(self.next_value, self.next_value + count)
        self.next_value = (self.next_value + count) % 1_000_000

    @rule(share=st.floats(-0.1, 1.1))
    def forget(self, share: float) -> None:
        before = self.start + int(share * len(self.held))
        self.buffer.discard_before(before)
        dropped = min(max(before - self.start, 0), len(self.held))
        self.held = self.held[dropped:]
        self.start += dropped

    @rule(start=st.integers(0, 10**12))
    def clear(self, start: int) -> None:
        self.buffer.clear(start)
        self.held = []
        self.start = start

    @rule(one=st.floats(0, 1), other=st.floats(0, 1))
    def read(self, one: float, other: float) -> None:
        first, last = sorted((int(one * len(self.held)), int(other * len(self.held))))
        samples = self.buffer.read(self.start + first, self.start + last)
        assert samples.tolist() == self.held[first:last]
        assert samples.dtype == np.float32
        assert not samples.flags.writeable

    @invariant()
    def knows_its_ends(self) -> None:
        assert (self.buffer.start, self.buffer.end) == (self.start, self.start + len(self.held))

    @invariant()
    def stays_within_twice_what_it_holds(self) -> None:
        assert self.buffer.nbytes <= max(2 * 4 * len(self.held), 4096)
        assert self.held or self.buffer.nbytes == 0


TestTapeAgainstAList = BufferModel.TestCase
TestTapeAgainstAList.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize(("start", "end"), [(4, 10), (5, 16), (12, 8), (0, 20), (-1, 6)])
def test_reading_outside_the_buffer_names_its_range(start: int, end: int) -> None:
    buffer = AudioBuffer(5)
    buffer.append(ramp(10))
    with pytest.raises(ValueError, match=f"Samples {start} to {end} requested, 5 to 15 buffered."):
        buffer.read(start, end)


def test_read_samples_do_not_change_later() -> None:
    buffer = AudioBuffer()
    buffer.append(ramp(2000))
    samples = buffer.read(1000, 2000)
    buffer.discard_before(1990)
    buffer.append(-ramp(5000))
    assert samples.tolist() == ramp(1000, 1000).tolist()


def test_only_mono_samples_are_accepted() -> None:
    with pytest.raises(ValueError, match="mono"):
        AudioBuffer().append(np.zeros((2, 3), dtype=np.float32))


def test_a_rolling_window_has_constant_memory() -> None:
    buffer = AudioBuffer()
    message = np.zeros(1600, dtype=np.float32)
    largest = 0
    for _ in range(36_000):
        buffer.append(message)
        buffer.discard_before(buffer.end - 40_000)
        largest = max(largest, buffer.nbytes)
    assert buffer.end == 57_600_000
    assert largest <= 2 * 4 * 41_600
