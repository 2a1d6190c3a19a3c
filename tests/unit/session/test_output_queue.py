from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from echoic.protocol.frames import Audio, Ping
from echoic.session.sized_queue import SizedQueue, count_audio_bytes

STEPS = st.lists(st.sampled_from(["append", "appendleft", "pop", "popleft", "keep"]) | st.integers(0, 9))


@given(STEPS)
def test_what_is_counted_is_what_a_walk_along_the_line_would_count(steps: list[str | int]) -> None:
    line: SizedQueue[int] = SizedQueue(lambda item: item)
    number = 3
    for step in steps:
        match step:
            case int():
                number = step
            case "append":
                line.append(number)
            case "appendleft":
                line.appendleft(number)
            case "keep":
                line.retain_if(lambda item: item % 2 == 0)
            case "pop" if len(line):
                last = line[-1]
                assert line.pop() == last
            case "popleft" if len(line):
                first = line[0]
                assert line.popleft() == first
        items = list(line)
        assert (line.size, len(line)) == (sum(items), len(items))
        assert (line.sized_count, line.unsized_count) == (sum(map(bool, items)), items.count(0))


def test_only_audio_weighs() -> None:
    assert [count_audio_bytes(frame) for frame in (Audio(b"1234"), Audio(b""), Ping())] == [4, 0, 0]
