"""Parakeet by onnxruntime and by NeMo's modules, held against what NeMo itself says."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
import pytest

if find_spec("nemo") is None:
    pytest.skip("NeMo is not installed: make test-extras", allow_module_level=True)

from echoic.engines.features import LogMel
from echoic.engines.parakeet import Tuning
from echoic.engines.parakeet_files import piece_text
from echoic.engines.parakeet_nemo import ParakeetNemo, Torch
from echoic.engines.parakeet_nemo_files import look_at
from echoic.engines.parakeet_onnx import ParakeetOnnx
from support import nemo_reference as nemo
from support.pieces import in_pieces, in_place
from support.tiny_parakeet import FOLDER, ctc_folder, nemo_file, recordings, whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from echoic.engines.parakeet import Parakeet
    from echoic.engines.parakeet_nemo_files import Head

pytestmark = pytest.mark.timeout(1_800)
#: Contexts that cover every recording here.
COVERED = Tuning(left_context=60.0, right_context=60.0)
FRAME = 0.08
HEADS: tuple[Head, Head] = ("transducer", "ctc")
SHAPES = {"tdt": nemo.SMALL_TDT, "rnnt": nemo.SMALL_RNNT}
#: The 0.6B takes minutes, and 12 GB of memory and of disk.
if os.environ.get("ECHOIC_TRUE_SHAPE"):
    SHAPES["true-tdt"] = nemo.TRUE_TDT
SENTENCES = [audio for audio, _ in recordings()]
LONG = np.concatenate(SENTENCES[2:5])


class Models:
    """One model: as NeMo restores it, and what both engines load, one at a time."""

    def __init__(self, file: Path, folders: Mapping[Head, Path]) -> None:
        self.file, self.folders = file, folders
        self.reference = nemo.restored(file)
        self._pieces = [piece_text(piece) for piece in self.reference.joint.vocabulary]

    def engine(self, name: str, head: Head) -> Parakeet:
        if name == "onnx":
            return ParakeetOnnx(self.folders[head], COVERED)
        return ParakeetNemo(self.file, COVERED, Torch(head=head))

    def expected(self, audio: NDArray[np.float32], head: Head) -> list[tuple[str, float]]:
        heard = nemo.hear(self.reference, audio, head)
        assert audio is not LONG or len(set(heard.tokens)) > 5, "few tokens prove little"
        placed = zip(heard.tokens, heard.frames, strict=True)
        return [
            (self._pieces[token], round(frame * FRAME, 4)) for token, frame in placed if self._pieces[token]
        ]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "ctc").mkdir()
    return Models(nemo_file(folder), {"transducer": FOLDER, "ctc": ctc_folder(folder / "ctc")})


@pytest.fixture(scope="module", params=["tiny", *SHAPES])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """The trained model, and others of random weights, exported by NeMo."""
    if request.param == "tiny":
        trained: Models = request.getfixturevalue("tiny")
        return trained
    folder = tmp_path_factory.mktemp(request.param)
    model = nemo.random_model(folder, SHAPES[request.param], LONG)
    file = nemo.saved(model, folder)
    folders = {head: nemo.exported(model, folder / head, head) for head in HEADS}
    del model
    return Models(file, folders)


def test_features_are_nemo_s(tiny: Models) -> None:
    made = LogMel(128)(SENTENCES)
    for audio, bands, count in zip(SENTENCES, made.bands, made.frames, strict=True):
        features = nemo.hear(tiny.reference, audio).features
        assert features.shape == (128, count)
        assert np.abs(bands[:, :count] - features).max() < 1e-3


def test_the_encoder_s_frames_are_nemo_s(models: Models) -> None:
    from echoic.engines.parakeet_nemo_modules import NemoEncoder, load  # noqa: PLC0415  # it imports NeMo

    heard = nemo.hear(models.reference, LONG)
    features = LogMel(heard.features.shape[0])([LONG])
    by_torch = NemoEncoder(nemo.quietly(load)(look_at(models.file), Torch())).frames(features).numpy()
    session = ort.InferenceSession(next(models.folders["transducer"].glob("encoder-model*.onnx")))
    feed = {"audio_signal": features.bands, "length": features.frames}
    [by_onnx] = session.run(["outputs"], feed)
    assert np.abs(by_torch[0] - heard.encoded).max() < 1e-4
    assert np.abs(by_onnx[0].T - heard.encoded).max() < 1e-4


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", ["onnx", "nemo"])
def test_tokens_and_times_are_nemo_s(models: Models, name: str, head: Head) -> None:
    sounds = [LONG, *SENTENCES]
    heard = models.engine(name, head).decode([whole(audio) for audio in sounds])
    expected = [models.expected(audio, head) for audio in sounds]
    assert [in_place(one.committed) for one in heard] == expected


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", ["onnx", "nemo"])
def test_a_stream_says_what_is_said_of_the_whole(models: Models, name: str, head: Head) -> None:
    engine = models.engine(name, head)
    for pieces in (2, 7):
        assert in_pieces(engine, whole(LONG), pieces) == models.expected(LONG, head)


def test_tokens_and_times_are_those_of_nemo_s_own_transcripts(tiny: Models) -> None:
    sounds = [audio for audio in SENTENCES if audio.size > 16_000]
    engine = tiny.engine("nemo", "transducer")
    for audio, said in zip(sounds, nemo.transcribed(tiny.file, sounds), strict=True):
        [heard] = engine.decode([whole(audio)])
        spoken = [token for token in heard.committed if token.text.strip()]
        expected = [(piece, start) for piece, start in said if piece]
        assert [token.text.strip() for token in spoken] == [piece for piece, _ in expected]
        assert [token.start for token in spoken] == pytest.approx([start for _, start in expected])
