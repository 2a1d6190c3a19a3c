from __future__ import annotations

import sys
import wave
from typing import TYPE_CHECKING

import numpy as np
import pytest

from echoic.engines.moonshine import (
    Moonshine,
    find_packaged_folder,
    inspect_weights,
    parse_pieces,
    render_text,
)
from echoic.errors import ModelUnavailable
from echoic.interfaces.engine import Hypothesis, Window

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RATE = 16_000

pytestmark = pytest.mark.skipif(
    not inspect_weights().is_available, reason="moonshine-voice has no wheel for this system"
)


@pytest.fixture(scope="module")
def engine() -> Moonshine:
    return Moonshine(max_concurrency=2)


@pytest.fixture(scope="module")
def beckett() -> NDArray[np.float32]:
    folder = find_packaged_folder()
    assert folder is not None
    with wave.open(str(folder.parent / "beckett.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        return samples.astype(np.float32) / np.float32(32768)


def window(audio: NDArray[np.float32], rate: int = RATE) -> Window:
    return Window(audio, rate, start=0.0, left_context=0, new_samples=len(audio), right_context=0)


def join_tokens(hypothesis: Hypothesis) -> str:
    return "".join(token.text for token in hypothesis.volatile).strip()


def test_a_clip_is_transcribed(engine: Moonshine, beckett: NDArray[np.float32]) -> None:
    (hypothesis,) = engine.decode([window(beckett)])
    assert (
        join_tokens(hypothesis) == "Ever tried, ever failed, no matter, try again, fail again, fail better."
    )
    assert hypothesis.committed == ()


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.05, 0.5, 5.0])
def test_digital_silence_has_no_text(engine: Moonshine, seconds: float) -> None:
    assert engine.decode([window(np.zeros(int(seconds * RATE), dtype=np.float32))]) == [Hypothesis()]


def test_a_window_below_a_tenth_of_a_second_has_no_text(
    engine: Moonshine, beckett: NDArray[np.float32]
) -> None:
    assert engine.decode([window(beckett[20_000:21_000])]) == [Hypothesis()]


def test_windows_from_a_tenth_of_a_second_are_decoded(
    engine: Moonshine, beckett: NDArray[np.float32]
) -> None:
    for size in (1600, 1601, 2000, 3333):
        assert len(engine.decode([window(beckett[20_000 : 20_000 + size])])) == 1


def test_another_sample_rate_is_rejected(engine: Moonshine) -> None:
    with pytest.raises(ValueError, match="48000"):
        engine.decode([window(np.zeros(48_000, dtype=np.float32), rate=48_000)])


def test_the_requirements_are_whole_utterances(engine: Moonshine) -> None:
    assert engine.name == "moonshine-tiny-en"
    assert (
        engine.requirements.strategy,
        engine.requirements.sample_rate,
        engine.requirements.max_window_seconds,
    ) == (
        "local_agreement",
        RATE,
        20.0,
    )
    assert engine.max_concurrency == 2


def test_the_package_is_not_imported(engine: Moonshine) -> None:
    assert engine.max_batch_size == 1
    assert "moonshine_voice" not in sys.modules


def test_missing_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.bin").write_bytes(b"")
    availability = inspect_weights(tmp_path)
    assert not availability.is_available
    assert availability.reason == "Missing weights: encoder_model.ort, decoder_model_merged.ort."
    assert availability.install == "pip install moonshine-voice==0.0.73"
    with pytest.raises(ModelUnavailable, match="encoder_model"):
        Moonshine(tmp_path)


def test_pieces_are_read_by_their_lengths() -> None:
    long = b"x" * 130
    data = b"\x03<s>" + b"\x00" + b"\x02hi" + bytes([130, 1]) + long
    assert parse_pieces(data) == (b"<s>", b"", b"hi", long)


def test_pieces_spell_text_across_bytes() -> None:
    pieces = (b"<s>", "\u2581caf".encode(), b"\xc3", b"\xa9", "\u2581<>".encode())
    assert render_text([0, 1, 2, 3, 4], pieces) == "café <>"
