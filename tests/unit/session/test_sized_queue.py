from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from echoic.protocol.frames import Audio, Ping
from echoic.session.sized_queue import SizedQueue, count_audio_bytes

STEPS = st.lists(st.sampled_from(["append", "appendleft", "pop", "popleft", "retain"]) | st.integers(0, 9))


@given(STEPS)
def test_the_running_size_is_the_sum_of_the_items(steps: list[str | int]) -> None:
    queue: SizedQueue[int] = SizedQueue(lambda item: item)
    number = 3
    for step in steps:
        match step:
            case int():
                number = step
            case "append":
                queue.append(number)
            case "appendleft":
                queue.appendleft(number)
            case "retain":
                queue.retain_if(lambda item: item % 2 == 0)
            case "pop" if len(queue):
                last = queue[-1]
                assert queue.pop() == last
            case "popleft" if len(queue):
                first = queue[0]
                assert queue.popleft() == first
        items = list(queue)
        assert (queue.size, len(queue)) == (sum(items), len(items))
        assert (queue.sized_count, queue.unsized_count) == (sum(map(bool, items)), items.count(0))


def test_only_audio_frames_have_bytes() -> None:
    assert [count_audio_bytes(frame) for frame in (Audio(b"1234"), Audio(b""), Ping())] == [4, 0, 0]
