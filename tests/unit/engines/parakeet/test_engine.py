"""The streaming engine of all Parakeets, with the tiny model on onnxruntime."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoic.engines.parakeet.engine import ParakeetOptions
from echoic.engines.parakeet.onnx import ParakeetOnnx
from echoic.engines.silero import SileroModel
from echoic.session.session import Session
from support.session_driver import SessionDriver, frame_texts
from support.tiny_parakeet import (
    TINY_PARAKEET_FOLDER,
    build_whole_window,
    join_tokens,
    read_recordings,
    read_talks,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from echoic.engines.parakeet.decoder import EncoderFrames
    from echoic.engines.parakeet.features import MelFeatures
    from echoic.interfaces.engine import Token

#: Contexts that cover every recording here.
COVERED = ParakeetOptions(left_context=30.0, right_context=30.0)


@pytest.fixture(scope="module")
def engine() -> ParakeetOnnx:
    return ParakeetOnnx(TINY_PARAKEET_FOLDER)


def round_times(tokens: Sequence[Token], begins: float = 0.0) -> list[tuple[str, float | None]]:
    return [(one.text, None if one.start is None else round(one.start + begins, 3)) for one in tokens]


def join_recordings(count: int, pause: float = 0.3) -> NDArray[np.float32]:
    """Several recordings with pauses between them, as one."""
    quiet = np.zeros(round(16_000 * pause), np.float32)
    return np.concatenate([part for audio, _ in read_recordings()[:count] for part in (audio, quiet)])


def build_piecewise_decode(
    audio: NDArray[np.float32], cuts: Sequence[int], left: float, right: float, start: float = 0.0
) -> Callable[[ParakeetOnnx], list[tuple[str, float | None]]]:
    """Return a decode of ``audio`` in pieces with contexts in seconds."""

    def run(engine: ParakeetOnnx) -> list[tuple[str, float | None]]:
        tokens: list[tuple[str, float | None]] = []
        state: object = None
        done, size = 0, len(audio)
        for end in (*sorted(cuts), size):
            first, last = max(0, done - round(left * 16_000)), min(size, end + round(right * 16_000))
            window = replace(
                build_whole_window(audio[first:last]),
                start=start + first / 16_000,
                left_context=done - first,
                new_samples=end - done,
                right_context=last - end,
                is_last=end == size,
                state=state,
            )
            [hypothesis] = engine.decode([window])
            state, done = hypothesis.state, end
            tokens += round_times(hypothesis.committed, window.start)
        return tokens

    return run


def test_windows_of_similar_length_share_one_encoder_call(
    engine: ParakeetOnnx, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = join_recordings(3)
    windows = [build_whole_window(audio[:size]) for size in (62_500, 63_000, 64_000)]
    alone = [engine.decode([window])[0].committed for window in windows]
    sizes: list[int] = []
    encode = engine._encoder.encode  # noqa: SLF001  # wrapped, not replaced

    def count_windows(features: MelFeatures) -> Sequence[EncoderFrames]:
        sizes.append(len(features.frame_counts))
        return encode(features)

    monkeypatch.setattr(engine._encoder, "encode", count_windows)  # noqa: SLF001  # counts calls of the encoder
    assert [one.committed for one in engine.decode(windows)] == alone
    assert sizes == [3]


def test_an_encoder_call_gets_at_most_a_minute_of_audio(
    engine: ParakeetOnnx, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = [build_whole_window(join_recordings(20)[:400_000])] * 5
    alone = engine.decode(windows[:1])[0].committed
    sizes: list[int] = []
    encode = engine._encoder.encode  # noqa: SLF001  # wrapped, not replaced

    def count_windows(features: MelFeatures) -> Sequence[EncoderFrames]:
        sizes.append(len(features.frame_counts))
        return encode(features)

    monkeypatch.setattr(engine._encoder, "encode", count_windows)  # noqa: SLF001  # counts calls of the encoder
    assert [one.committed for one in engine.decode(windows)] == [alone] * 5
    assert sizes == [2, 2, 1]


def cut_lists() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, 16_000 * 2), max_size=5, unique=True)


@settings(max_examples=15)
@given(st.integers(0, 9), cut_lists(), st.sampled_from([0.0, 0.013, 7.77]))
def test_pieces_with_full_context_equal_the_whole(number: int, cuts: list[int], start: float) -> None:
    engine = load_shared_engine()
    audio = read_recordings()[number][0]
    [at_once] = engine.decode([replace(build_whole_window(audio), start=start)])
    pieces = build_piecewise_decode(audio, [cut for cut in cuts if cut < len(audio)], 30.0, 30.0, start)(
        engine
    )
    assert pieces == round_times(at_once.committed, start)


@cache
def load_shared_engine() -> ParakeetOnnx:
    return ParakeetOnnx(TINY_PARAKEET_FOLDER)


@settings(max_examples=10)
@given(cut_lists())
def test_every_frame_is_decoded_once_in_any_windows(cuts: list[int]) -> None:
    engine = load_shared_engine()
    audio = join_recordings(3)
    walked: list[tuple[int, int]] = []
    frame, state, done = 1_280, None, 0
    for end in (*sorted(cuts), len(audio)):
        first = max(0, done - 20_000)
        window = replace(
            build_whole_window(audio[first:end]),
            start=first / 16_000,
            left_context=done - first,
            new_samples=end - done,
            is_last=end == len(audio),
            state=state,
        )
        cut = engine._align_to_grid(window)  # noqa: SLF001  # the arithmetic itself
        walked.append((cut.grid_frame + cut.decode_start, cut.grid_frame + cut.commit_end))
        state, done = engine.decode([window])[0].state, end
    assert walked[0][0] == 0
    assert all(before[1] == after[0] for before, after in pairwise(walked))
    assert walked[-1][1] == -(-(len(audio) // 160 * 160) // frame)


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_no_word_end_is_lost_at_a_detected_pause(engine: ParakeetOnnx, shift: float) -> None:
    for audio, text in read_talks():
        play = SessionDriver(engine, Session(SileroModel().build_detector))
        play.send({"type": "config", "enable_partial": False})
        play.push_in_messages(
            np.concatenate([np.zeros(round(16_000 * shift), np.float32), audio]), [1_600] * 400
        )
        play.send({"type": "commit"})
        assert " ".join(one for one in frame_texts(play.frames) if one) == text


def test_a_word_cut_by_a_commit_appears_once(engine: ParakeetOnnx) -> None:
    for audio, text in read_talks():
        expected = text.split()
        for first in (24_000, 26_720):
            play = SessionDriver(engine, Session(SileroModel().build_detector))
            play.push_audio(audio[:first])
            for start in range(first, len(audio), 24_000):
                play.send({"type": "commit"})
                play.push_audio(audio[start : start + 24_000])
            play.send({"type": "commit"})
            words = " ".join(one for one in frame_texts(play.frames) if one).split()
            repeated = [pair for pair in pairwise(words) if pair[0] == pair[1]]
            assert repeated == [pair for pair in pairwise(expected) if pair[0] == pair[1]]


def test_a_session_with_full_context_equals_offline_decoding() -> None:
    engine = ParakeetOnnx(TINY_PARAKEET_FOLDER, COVERED)
    chance = np.random.default_rng(4)
    for audio, text in read_recordings():
        play = SessionDriver(engine)
        play.send({"type": "config", "sample_rate": 16_000, "chunk_duration": 2.0, "overlap_duration": 0.5})
        play.push_in_messages(audio, chance.integers(1, 7_000, 50).tolist())
        play.send({"type": "commit"})
        assert " ".join(one for one in frame_texts(play.frames) if one) == text


@pytest.mark.parametrize(("left", "right"), [(4.0, 1.0), (4.0, 0.25), (1.0, 0.5)])
def test_long_speech_has_no_seams_in_short_windows(left: float, right: float) -> None:
    engine = ParakeetOnnx(TINY_PARAKEET_FOLDER, ParakeetOptions(left_context=left, right_context=right))
    for audio, text in read_talks():
        play = SessionDriver(engine)
        play.send({"type": "config", "sample_rate": 16_000, "enable_partial": False})
        play.push_in_messages(audio, [5_003] * 200)
        play.send({"type": "commit"})
        assert " ".join(one for one in frame_texts(play.frames) if one) == text


@pytest.mark.parametrize("number", [2, 4, 6, 8])
def test_a_gap_of_silence_does_not_disturb_later_windows(engine: ParakeetOnnx, number: int) -> None:
    (audio, text), gap = read_recordings()[number], 5 * 16_000 + 333
    tape = np.concatenate([audio, np.zeros(gap, np.float32), audio])
    first = engine.decode([build_whole_window(audio)])[0]
    start = len(audio) + gap
    window = replace(
        build_whole_window(tape[start - 16_000 :]),
        start=(start - 16_000) / 16_000,
        left_context=16_000,
        new_samples=len(tape) - start,
        state=first.state,
    )
    [second] = engine.decode([window])
    assert join_tokens(first.committed) == text
    assert join_tokens(second.committed) == text


def test_the_right_context_is_volatile_and_committed_later(engine: ParakeetOnnx) -> None:
    audio, text = read_recordings()[4]
    half = len(audio) // 2
    [first] = engine.decode(
        [
            replace(
                build_whole_window(audio),
                new_samples=half,
                right_context=len(audio) - half,
                is_last=False,
                for_partial=True,
            )
        ]
    )
    assert join_tokens((*first.committed, *first.volatile)) == text
    assert first.committed
    assert first.volatile
    rest = replace(
        build_whole_window(audio), left_context=half, new_samples=len(audio) - half, state=first.state
    )
    assert round_times(engine.decode([rest])[0].committed) == round_times(first.volatile)


def test_tokens_have_times_and_confidences(engine: ParakeetOnnx) -> None:
    audio, _ = read_recordings()[6]
    for token in engine.decode([build_whole_window(audio)])[0].committed:
        assert token.start is not None
        assert 0 < (token.duration or 0) <= 0.4
        assert 0 < (token.confidence or 0) <= 1


def test_silence_gives_no_tokens(engine: ParakeetOnnx) -> None:
    silence = replace(build_whole_window(np.zeros(32_000, np.float32)), is_last=False)
    [hypothesis] = engine.decode([silence])
    assert hypothesis.committed == hypothesis.volatile == ()


def test_another_sample_rate_is_rejected(engine: ParakeetOnnx) -> None:
    with pytest.raises(ValueError, match="16000 Hz"):
        engine.decode([replace(build_whole_window(np.zeros(100, np.float32)), sample_rate=8_000)])


def test_a_left_context_below_one_frame_is_rejected() -> None:
    with pytest.raises(ValueError, match="less than one frame"):
        ParakeetOnnx(TINY_PARAKEET_FOLDER, ParakeetOptions(left_context=0.05))
