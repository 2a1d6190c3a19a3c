from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoic.engines.parakeet import onnx
from echoic.engines.parakeet.engine import ParakeetOptions
from echoic.engines.parakeet.onnx import ParakeetOnnx
from echoic.engines.parakeet.onnx_files import (
    inspect_onnx_folder,
    read_vocab_pieces,
    uses_dynamic_quantization,
)
from echoic.engines.silero import SileroModel
from echoic.errors import ModelUnavailable
from echoic.session.session import Session
from support.play import SessionDriver, frame_texts
from support.tiny_parakeet import (
    TINY_PARAKEET_FOLDER,
    build_whole_window,
    join_tokens,
    read_recordings,
    read_talks,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from echoic.engines.parakeet.decoder import EncoderFrames
    from echoic.engines.parakeet.features import MelFeatures
    from echoic.interfaces.engine import Token

#: Contexts that cover every recording here.
COVERED = ParakeetOptions(left_context=30.0, right_context=30.0)
ENCODER, JOINT = "encoder-model.fp16.onnx", "decoder_joint-model.fp16.onnx"


@pytest.fixture(scope="module")
def engine() -> ParakeetOnnx:
    return ParakeetOnnx(TINY_PARAKEET_FOLDER)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(TINY_PARAKEET_FOLDER, folder, ignore=shutil.ignore_patterns("speech", "README.md"))
    return folder


def placed(tokens: Sequence[Token], begins: float = 0.0) -> list[tuple[str, float | None]]:
    return [(one.text, None if one.start is None else round(one.start + begins, 3)) for one in tokens]


def joined(count: int, pause: float = 0.3) -> NDArray[np.float32]:
    """Several recordings with pauses between them, as one."""
    quiet = np.zeros(round(16_000 * pause), np.float32)
    return np.concatenate([part for audio, _ in read_recordings()[:count] for part in (audio, quiet)])


def cut_at(
    audio: NDArray[np.float32], cuts: Sequence[int], left: float, right: float, start: float = 0.0
) -> Callable[[ParakeetOnnx], list[tuple[str, float | None]]]:
    """Return a decode of ``audio`` in pieces with contexts in seconds."""

    def run(engine: ParakeetOnnx) -> list[tuple[str, float | None]]:
        heard: list[tuple[str, float | None]] = []
        carry: object = None
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
                state=carry,
            )
            [hypothesis] = engine.decode([window])
            carry, done = hypothesis.state, end
            heard += placed(hypothesis.committed, window.start)
        return heard

    return run


def test_it_hears_what_is_said(engine: ParakeetOnnx) -> None:
    for audio, text in read_recordings():
        [hypothesis] = engine.decode([build_whole_window(audio)])
        assert join_tokens(hypothesis.committed) == text
        assert hypothesis.volatile == ()


@pytest.mark.skipif(find_spec("onnx_asr") is None, reason="onnx-asr is not installed")
def test_tokens_and_times_are_those_of_onnx_asr(engine: ParakeetOnnx) -> None:
    import onnx_asr  # optional  # noqa: PLC0415  # only for this comparison

    theirs = onnx_asr.load_model(
        "nemo-conformer-tdt", TINY_PARAKEET_FOLDER, quantization="fp16", providers=["CPUExecutionProvider"]
    ).with_timestamps()
    for audio, _ in read_recordings():
        [ours] = engine.decode([build_whole_window(audio)])
        result = theirs.recognize(audio)
        assert [one.text for one in ours.committed] == list(result.tokens or ())
        assert [one.start for one in ours.committed] == pytest.approx(result.timestamps, abs=1e-6)


def test_a_batch_hears_what_each_window_says_alone(engine: ParakeetOnnx) -> None:
    windows = [build_whole_window(audio) for audio, _ in read_recordings()[:8]]
    alone = [engine.decode([window])[0] for window in windows]
    together = engine.decode(windows)
    assert [one.committed for one in together] == [one.committed for one in alone]


def test_windows_of_nearly_one_length_are_encoded_together_and_heard_alike(
    engine: ParakeetOnnx, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = joined(3)
    windows = [build_whole_window(audio[:size]) for size in (62_500, 63_000, 64_000)]
    alone = [engine.decode([window])[0].committed for window in windows]
    sizes: list[int] = []
    encode = engine._encoder.encode  # noqa: SLF001  # watched, not replaced

    def watched(features: MelFeatures) -> Sequence[EncoderFrames]:
        sizes.append(len(features.frame_counts))
        return encode(features)

    monkeypatch.setattr(engine._encoder, "encode", watched)  # noqa: SLF001  # the same
    assert [one.committed for one in engine.decode(windows)] == alone
    assert sizes == [3]


def test_a_call_of_the_encoder_gets_a_minute_of_audio_at_most_and_answers_stay(
    engine: ParakeetOnnx, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = [build_whole_window(joined(20)[:400_000])] * 5
    alone = engine.decode(windows[:1])[0].committed
    sizes: list[int] = []
    encode = engine._encoder.encode  # noqa: SLF001  # watched, not replaced

    def watched(features: MelFeatures) -> Sequence[EncoderFrames]:
        sizes.append(len(features.frame_counts))
        return encode(features)

    monkeypatch.setattr(engine._encoder, "encode", watched)  # noqa: SLF001  # the same
    assert [one.committed for one in engine.decode(windows)] == [alone] * 5
    assert sizes == [2, 2, 1]


def sized_cuts() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, 16_000 * 2), max_size=5, unique=True)


@settings(max_examples=15)
@given(st.integers(0, 9), sized_cuts(), st.sampled_from([0.0, 0.013, 7.77]))
def test_pieces_whose_context_covers_all_say_what_the_whole_says(
    number: int, cuts: list[int], start: float
) -> None:
    engine = shared()
    audio = read_recordings()[number][0]
    [at_once] = engine.decode([replace(build_whole_window(audio), start=start)])
    pieces = cut_at(audio, [cut for cut in cuts if cut < len(audio)], 30.0, 30.0, start)(engine)
    assert pieces == placed(at_once.committed, start)


@cache
def shared() -> ParakeetOnnx:
    return ParakeetOnnx(TINY_PARAKEET_FOLDER)


@settings(max_examples=10)
@given(sized_cuts())
def test_no_frame_is_walked_twice_or_left_out_however_windows_lie(cuts: list[int]) -> None:
    engine = shared()
    audio = joined(3)
    walked: list[tuple[int, int]] = []
    frame, carry, done = 1_280, None, 0
    for end in (*sorted(cuts), len(audio)):
        first = max(0, done - 20_000)
        window = replace(
            build_whole_window(audio[first:end]),
            start=first / 16_000,
            left_context=done - first,
            new_samples=end - done,
            is_last=end == len(audio),
            state=carry,
        )
        cut = engine._align_to_grid(window)  # noqa: SLF001  # the arithmetic itself
        walked.append((cut.grid_frame + cut.decode_start, cut.grid_frame + cut.commit_end))
        carry, done = engine.decode([window])[0].state, end
    assert walked[0][0] == 0
    assert all(before[1] == after[0] for before, after in pairwise(walked))
    assert walked[-1][1] == -(-(len(audio) // 160 * 160) // frame)


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_no_end_of_a_word_is_lost_where_a_pause_is_told_by_the_detector(
    engine: ParakeetOnnx, shift: float
) -> None:
    for audio, text in read_talks():
        play = SessionDriver(engine, Session(SileroModel().build_detector))
        play.send({"type": "config", "enable_partial": False})
        play.push_in_messages(
            np.concatenate([np.zeros(round(16_000 * shift), np.float32), audio]), [1_600] * 400
        )
        play.send({"type": "commit"})
        assert " ".join(one for one in frame_texts(play.frames) if one) == text


def test_a_word_that_a_commit_cuts_is_said_once(engine: ParakeetOnnx) -> None:
    for audio, text in read_talks():
        words = text.split()
        for first in (24_000, 26_720):
            play = SessionDriver(engine, Session(SileroModel().build_detector))
            play.push_audio(audio[:first])
            for start in range(first, len(audio), 24_000):
                play.send({"type": "commit"})
                play.push_audio(audio[start : start + 24_000])
            play.send({"type": "commit"})
            said = " ".join(one for one in frame_texts(play.frames) if one).split()
            repeated = [pair for pair in pairwise(said) if pair[0] == pair[1]]
            assert repeated == [pair for pair in pairwise(words) if pair[0] == pair[1]]


def test_streamed_through_a_session_it_says_what_it_says_offline_if_the_context_covers_all() -> None:
    engine = ParakeetOnnx(TINY_PARAKEET_FOLDER, COVERED)
    chance = np.random.default_rng(4)
    for audio, text in read_recordings():
        play = SessionDriver(engine)
        play.send({"type": "config", "sample_rate": 16_000, "chunk_duration": 2.0, "overlap_duration": 0.5})
        play.push_in_messages(audio, chance.integers(1, 7_000, 50).tolist())
        play.send({"type": "commit"})
        assert " ".join(one for one in frame_texts(play.frames) if one) == text


@pytest.mark.parametrize(("left", "right"), [(4.0, 1.0), (4.0, 0.25), (1.0, 0.5)])
def test_half_a_minute_of_talk_is_heard_without_seams_in_short_windows(left: float, right: float) -> None:
    engine = ParakeetOnnx(TINY_PARAKEET_FOLDER, ParakeetOptions(left_context=left, right_context=right))
    for audio, text in read_talks():
        play = SessionDriver(engine)
        play.send({"type": "config", "sample_rate": 16_000, "enable_partial": False})
        play.push_in_messages(audio, [5_003] * 200)
        play.send({"type": "commit"})
        assert " ".join(one for one in frame_texts(play.frames) if one) == text


@pytest.mark.parametrize("number", [2, 4, 6, 8])
def test_silence_left_out_between_windows_does_not_disturb_what_follows(
    engine: ParakeetOnnx, number: int
) -> None:
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


def test_what_lies_in_the_right_context_is_suspected_and_said_later(engine: ParakeetOnnx) -> None:
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
    assert placed(engine.decode([rest])[0].committed) == placed(first.volatile)


def test_tokens_have_times_that_fit_and_confidences(engine: ParakeetOnnx) -> None:
    audio, _ = read_recordings()[6]
    for token in engine.decode([build_whole_window(audio)])[0].committed:
        assert token.start is not None
        assert 0 < (token.duration or 0) <= 0.4
        assert 0 < (token.confidence or 0) <= 1


def test_silence_says_nothing_and_moves_on(engine: ParakeetOnnx) -> None:
    silence = replace(build_whole_window(np.zeros(32_000, np.float32)), is_last=False)
    [hypothesis] = engine.decode([silence])
    assert hypothesis.committed == hypothesis.volatile == ()


def test_another_rate_is_refused(engine: ParakeetOnnx) -> None:
    with pytest.raises(ValueError, match="16000 Hz"):
        engine.decode([replace(build_whole_window(np.zeros(100, np.float32)), sample_rate=8_000)])


def test_a_left_context_shorter_than_a_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="less than one frame"):
        ParakeetOnnx(TINY_PARAKEET_FOLDER, ParakeetOptions(left_context=0.05))


def test_graphs_quantized_by_company_are_asked_one_window_at_a_time(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "uses_dynamic_quantization", lambda _file: True)
    engine = ParakeetOnnx(copy)
    assert engine.max_batch_size == 1
    windows = [build_whole_window(audio) for audio, _ in read_recordings()[:3]]
    assert [join_tokens(one.committed) for one in engine.decode(windows)] == [
        text for _, text in read_recordings()[:3]
    ]


def test_a_graph_that_finds_its_scales_in_each_call_is_recognised(copy: Path) -> None:
    assert not uses_dynamic_quantization(copy / JOINT)
    (copy / JOINT).write_bytes(b"\0" * 100 + b"DynamicQuantizeLinear" + b"\0" * 9)
    assert uses_dynamic_quantization(copy / JOINT)


def test_the_fastest_quantization_is_taken_first_and_another_if_asked_for(copy: Path) -> None:
    assert inspect_onnx_folder(copy).encoder.name == ENCODER
    for name in ("encoder-model.int8.onnx", "encoder-model.onnx", "decoder_joint-model.int8.onnx"):
        (copy / name).write_bytes(b"x")
    assert inspect_onnx_folder(copy).encoder.name == "encoder-model.int8.onnx"
    joint = inspect_onnx_folder(copy).joint
    assert joint is not None
    assert joint.name == "decoder_joint-model.int8.onnx"
    assert inspect_onnx_folder(copy, "fp16").encoder.name == ENCODER
    assert inspect_onnx_folder(copy, "").encoder.name == "encoder-model.onnx"
    with pytest.raises(ModelUnavailable, match=r"encoder-model\.q4\.onnx is missing"):
        inspect_onnx_folder(copy, "q4")


def test_a_quantization_nobody_knows_is_taken_if_there_is_no_other(copy: Path) -> None:
    (copy / ENCODER).rename(copy / "encoder-model.q4.onnx")
    (copy / JOINT).rename(copy / "decoder_joint-model.q4.onnx")
    files = inspect_onnx_folder(copy)
    assert files.joint is not None
    assert (files.encoder.name, files.joint.name) == (
        "encoder-model.q4.onnx",
        "decoder_joint-model.q4.onnx",
    )


def test_pieces_become_text(tmp_path: Path) -> None:
    file = tmp_path / "vocab.txt"
    file.write_text("<unk> 0\n<|en|> 1\n▁the 2\ner 3\n▁ 4\n<blk> 5\n", "utf-8")
    assert read_vocab_pieces(file) == ("", "", " the", "er", " ")


def truncate(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-5_000])


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text, "utf-8")


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def config(**values: object) -> str:
    return json.dumps({"model_type": "nemo-conformer-tdt", "features_size": 128, **values})


def swap(folder: Path) -> None:
    shutil.copy(folder / JOINT, folder / ENCODER)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (shutil.rmtree, "There is no folder"),
        (remove(ENCODER), r"encoder-model\.onnx is missing in"),
        (remove(JOINT), r"decoder_joint-model\.onnx is missing in"),
        (remove("vocab.txt"), r"vocab\.txt is missing in"),
        (remove("config.json"), r"config\.json is missing in"),
        (truncate(ENCODER), r"encoder-model\.fp16\.onnx cannot be loaded: it is cut off or damaged"),
        (truncate(JOINT), r"decoder_joint-model\.fp16\.onnx cannot be loaded: it is cut off or damaged"),
        (write(ENCODER, ""), "is empty"),
        (write(ENCODER, "version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"),
        (write("config.json", "{"), "is not JSON"),
        (write("config.json", "[]"), "is not a JSON object"),
        (write("config.json", config(model_type="nemo-conformer-aed")), "names the architecture"),
        (write("config.json", config(model_type="nemo-conformer-rnnt")), "not belong to one RNNT model"),
        (write("config.json", config(features_size=80)), "takes 128 mel bands, but config.json says 80"),
        (write("config.json", config(features_size="many")), "not a whole number"),
        (write("vocab.txt", "one 0\ntwo 2\n"), "is not a vocabulary"),
        (write("vocab.txt", "one 0\n<blk> 1\n"), "do not belong to one TDT"),
        (
            write("vocab.txt", "".join(f"p{n} {n}\n" for n in range(200)) + "<blk> 200\n"),
            "do not belong to one TDT",
        ),
        (swap, "is not the encoder of a NeMo model"),
    ],
)
def test_a_model_that_cannot_be_used_says_why_and_what_to_do(
    copy: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    spoil(copy)
    with pytest.raises(ModelUnavailable, match=reason) as refused:
        ParakeetOnnx(copy)
    assert refused.value.install == "echoic models get parakeet-tdt-0.6b-v3-onnx"
