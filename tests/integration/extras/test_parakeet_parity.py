"""Compares Parakeet by onnxruntime and by NeMo's networks with NeMo's own transcription."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
import pytest

if find_spec("nemo") is None:
    pytest.skip("NeMo is not installed: make test-extras", allow_module_level=True)

from echoic.engines.parakeet.engine import ParakeetOptions
from echoic.engines.parakeet.features import LogMelExtractor
from echoic.engines.parakeet.nemo import ParakeetNemo
from echoic.engines.parakeet.nemo_files import TorchOptions, inspect_nemo_model
from echoic.engines.parakeet.onnx import ParakeetOnnx
from echoic.engines.parakeet.onnx_files import render_piece
from support import nemo_reference as nemo
from support.split_decoding import decode_in_pieces, to_absolute_times
from support.tiny_parakeet import (
    TINY_PARAKEET_FOLDER,
    build_whole_window,
    read_recordings,
    write_ctc_folder,
    write_nemo_file,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from echoic.engines.parakeet.engine import Parakeet
    from echoic.engines.parakeet.nemo_files import DecodingHead

pytestmark = pytest.mark.timeout(1_800)
#: Contexts longer than every recording here.
COVERED = ParakeetOptions(left_context=60.0, right_context=60.0)
FRAME = 0.08
HEADS: tuple[DecodingHead, DecodingHead] = ("transducer", "ctc")
SHAPES = {"tdt": nemo.SMALL_TDT_SHAPE, "rnnt": nemo.SMALL_RNNT_SHAPE}
#: The 0.6B model takes minutes, 12 GB of memory and 12 GB of disk.
if os.environ.get("ECHOIC_TRUE_SHAPE"):
    SHAPES["true-tdt"] = nemo.FULL_TDT_SHAPE
SENTENCES = [audio for audio, _ in read_recordings()]
LONG = np.concatenate(SENTENCES[2:5])


class ParityModels:
    """A model as restored by NeMo, and its files for both engines."""

    def __init__(self, file: Path, folders: Mapping[DecodingHead, Path]) -> None:
        self.file, self.folders = file, folders
        self.reference = nemo.restore_model(file)
        self._pieces = [render_piece(piece) for piece in self.reference.joint.vocabulary]

    def load_engine(self, name: str, head: DecodingHead) -> Parakeet:
        if name == "onnx":
            return ParakeetOnnx(self.folders[head], COVERED)
        return ParakeetNemo(self.file, COVERED, TorchOptions(head=head))

    def compute_expected(self, audio: NDArray[np.float32], head: DecodingHead) -> list[tuple[str, float]]:
        result = nemo.transcribe_audio(self.reference, audio, head)
        assert audio is not LONG or len(set(result.tokens)) > 5, "too few different tokens for a comparison"
        pairs = zip(result.tokens, result.frames, strict=True)
        return [
            (self._pieces[token], round(frame * FRAME, 4)) for token, frame in pairs if self._pieces[token]
        ]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ParityModels:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "ctc").mkdir()
    return ParityModels(
        write_nemo_file(folder), {"transducer": TINY_PARAKEET_FOLDER, "ctc": write_ctc_folder(folder / "ctc")}
    )


@pytest.fixture(scope="module", params=["tiny", *SHAPES])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ParityModels:
    """The trained model, and models of random weights exported by NeMo."""
    if request.param == "tiny":
        trained: ParityModels = request.getfixturevalue("tiny")
        return trained
    folder = tmp_path_factory.mktemp(request.param)
    model = nemo.build_random_model(folder, SHAPES[request.param], LONG)
    file = nemo.save_model(model, folder)
    folders = {head: nemo.export_model(model, folder / head, head) for head in HEADS}
    del model
    return ParityModels(file, folders)


def test_features_equal_nemos(tiny: ParityModels) -> None:
    computed = LogMelExtractor(128)(SENTENCES)
    for audio, bands, count in zip(SENTENCES, computed.log_mel, computed.frame_counts, strict=True):
        features = nemo.transcribe_audio(tiny.reference, audio).features
        assert features.shape == (128, count)
        assert np.abs(bands[:, :count] - features).max() < 1e-3


def test_encoder_frames_equal_nemos(models: ParityModels) -> None:
    from echoic.engines.parakeet.nemo_networks import NemoEncoder, load_nemo_model  # noqa: PLC0415  # it imports NeMo

    result = nemo.transcribe_audio(models.reference, LONG)
    features = LogMelExtractor(result.features.shape[0])([LONG])
    by_torch = (
        NemoEncoder(nemo.suppress_warnings(load_nemo_model)(inspect_nemo_model(models.file), TorchOptions()))
        .encode_frames(features)
        .numpy()
    )
    session = ort.InferenceSession(next(models.folders["transducer"].glob("encoder-model*.onnx")))
    feed = {"audio_signal": features.log_mel, "length": features.frame_counts}
    [by_onnx] = session.run(["outputs"], feed)
    assert np.abs(by_torch[0] - result.encoded).max() < 1e-4
    assert np.abs(by_onnx[0].T - result.encoded).max() < 1e-4


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", ["onnx", "nemo"])
def test_tokens_and_times_equal_nemos(models: ParityModels, name: str, head: DecodingHead) -> None:
    recordings = [LONG, *SENTENCES]
    result = models.load_engine(name, head).decode([build_whole_window(audio) for audio in recordings])
    expected = [models.compute_expected(audio, head) for audio in recordings]
    assert [to_absolute_times(one.committed) for one in result] == expected


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", ["onnx", "nemo"])
def test_streaming_gives_the_tokens_of_the_whole(models: ParityModels, name: str, head: DecodingHead) -> None:
    engine = models.load_engine(name, head)
    for pieces in (2, 7):
        assert decode_in_pieces(engine, build_whole_window(LONG), pieces) == models.compute_expected(
            LONG, head
        )


def test_tokens_and_times_equal_nemos_transcribe(tiny: ParityModels) -> None:
    recordings = [audio for audio in SENTENCES if audio.size > 16_000]
    engine = tiny.load_engine("nemo", "transducer")
    for audio, expected_pieces in zip(
        recordings, nemo.transcribe_with_times(tiny.file, recordings), strict=True
    ):
        [result] = engine.decode([build_whole_window(audio)])
        spoken = [token for token in result.committed if token.text.strip()]
        expected = [(piece, start) for piece, start in expected_pieces if piece]
        assert [token.text.strip() for token in spoken] == [piece for piece, _ in expected]
        assert [token.start for token in spoken] == pytest.approx([start for _, start in expected])
