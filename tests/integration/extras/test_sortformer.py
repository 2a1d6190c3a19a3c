"""Sortformer with NeMo's real classes, small, with random weights: its speakers are arbitrary."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

if find_spec("nemo") is None:
    pytest.skip("NeMo is not installed: make test-extras", allow_module_level=True)

import torch
from omegaconf import OmegaConf

from echoic.diarization import models
from echoic.errors import ModelUnavailable
from echoic.interfaces.diarizer import SpeakerOptions
from support.tones import build_tones, diarize_in_pieces

if TYPE_CHECKING:
    from pathlib import Path

    from echoic.interfaces.diarizer import Diarizer

NEMO = "nemo.collections.asr"
SIZE, INNER = 64, 32
CONFIG = {
    "target": f"{NEMO}.models.sortformer_diar_models.SortformerEncLabelModel",
    "pil_weight": 0.5,
    "ats_weight": 0.5,
    "max_num_of_spks": 4,
    "streaming_mode": True,
    "model_defaults": {"fc_d_model": SIZE, "tf_d_model": INNER},
    "preprocessor": {
        "_target_": f"{NEMO}.modules.AudioToMelSpectrogramPreprocessor",
        "normalize": "NA",
        "sample_rate": 16_000,
        "features": 128,
        "n_fft": 512,
        "window_size": 0.025,
        "window_stride": 0.01,
    },
    "sortformer_modules": {
        "_target_": f"{NEMO}.modules.sortformer_modules.SortformerModules",
        "num_spks": 4,
        "fc_d_model": SIZE,
        "tf_d_model": INNER,
        "spkcache_len": 40,
        "fifo_len": 20,
        "chunk_len": 25,
        "spkcache_update_period": 20,
    },
    "encoder": {
        "_target_": f"{NEMO}.modules.ConformerEncoder",
        "feat_in": 128,
        "n_layers": 1,
        "d_model": SIZE,
        "subsampling": "dw_striding",
        "subsampling_factor": 8,
        "subsampling_conv_channels": 32,
        "ff_expansion_factor": 2,
        "n_heads": 4,
        "conv_kernel_size": 9,
    },
    "transformer_encoder": {
        "_target_": f"{NEMO}.modules.transformer.transformer_encoders.TransformerEncoder",
        "num_layers": 1,
        "hidden_size": INNER,
        "inner_size": 64,
        "num_attention_heads": 4,
    },
    "loss": {"_target_": f"{NEMO}.losses.bce_loss.BCELoss", "weight": None},
    "optim": {"name": "adamw", "lr": 1e-4},
}
TALK = build_tones([(0, 5.0), (None, 1.5), (3, 5.0), (1, 12.0)])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("sortformer") / "tiny.nemo"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations in NeMo's own libraries
        from nemo.collections.asr.models import SortformerEncLabelModel  # noqa: PLC0415  # here, so that its warnings are ignored

        SortformerEncLabelModel(cfg=OmegaConf.create(CONFIG), trainer=None).save_to(str(path))
    return path


@pytest.fixture(scope="module")
def diarizer(file: Path) -> Diarizer:
    return models.load_diarizer("sortformer", file)


def test_speech_has_a_speaker_and_pauses_have_none(diarizer: Diarizer) -> None:
    result = diarize_in_pieces(diarizer, TALK)
    assert result.turns[0].start == pytest.approx(0, abs=0.1)
    assert result.turns[-1].end == pytest.approx(23.5, abs=0.1)
    assert all(one.end <= other.start + 1e-6 for one, other in pairwise(result.turns))
    assert not any(turn.start < 5.6 < turn.end for turn in result.turns)
    assert result.speaker_order[0] == 0


def test_a_state_can_be_continued_twice(diarizer: Diarizer) -> None:
    state = diarize_in_pieces(diarizer, TALK).state
    first, second = (diarize_in_pieces(diarizer, TALK, start=23.5, state=state) for _ in range(2))
    assert first.turns == second.turns
    assert diarizer.finalize(first.state)[0].start == pytest.approx(0, abs=0.1)


def test_the_maximum_of_speakers_is_kept(diarizer: Diarizer) -> None:
    assert {*diarize_in_pieces(diarizer, TALK, options=SpeakerOptions(max_count=1)).speaker_order} == {0}


def test_a_file_without_a_sortformer_is_unavailable(tmp_path: Path) -> None:
    other = tmp_path / "other.nemo"
    other.write_bytes(b"nothing")
    with pytest.raises(ModelUnavailable, match=r"other\.nemo holds no Sortformer"):
        models.load_diarizer("sortformer", other)
