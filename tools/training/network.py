"""Builds a very small FastConformer with a TDT and a CTC head, in the layout of the large ones."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from nemo.collections.asr.models import EncDecHybridRNNTCTCBPEModel
from omegaconf import OmegaConf

DURATIONS = (0, 1, 2, 3, 4)
BANDS = 128
#: Samples between two frames of the encoder: 8 steps of 10 ms.
FRAME = 1_280
_WIDTH, _LAYERS, _MEMORY, _JOINT, _CHANNELS = 144, 4, 160, 160, 32
_DROPOUT = 0.0


def build_config(pieces: Path) -> dict[str, object]:
    """Return NeMo's configuration; ``pieces`` is the tokenizer's folder."""
    durations = list(DURATIONS)
    return {
        "sample_rate": 16_000,
        "compute_eval_loss": False,
        "log_prediction": False,
        "skip_nan_grad": False,
        "model_defaults": {
            "enc_hidden": _WIDTH,
            "pred_hidden": _MEMORY,
            "joint_hidden": _JOINT,
            "tdt_durations": durations,
            "num_tdt_durations": len(durations),
        },
        "tokenizer": {"dir": str(pieces), "type": "bpe"},
        "preprocessor": {
            "_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor",
            "sample_rate": 16_000,
            "normalize": "per_feature",
            "window_size": 0.025,
            "window_stride": 0.01,
            "window": "hann",
            "features": BANDS,
            "n_fft": 512,
            "frame_splicing": 1,
            "dither": 1e-5,
            "pad_to": 0,
        },
        "spec_augment": {
            "_target_": "nemo.collections.asr.modules.SpectrogramAugmentation",
            "freq_masks": 1,
            "time_masks": 0,
            "freq_width": 16,
            "time_width": 0.05,
        },
        "encoder": _build_encoder_config(),
        "decoder": {
            "_target_": "nemo.collections.asr.modules.RNNTDecoder",
            "normalization_mode": None,
            "random_state_sampling": False,
            "blank_as_pad": True,
            "prednet": {
                "pred_hidden": _MEMORY,
                "pred_rnn_layers": 1,
                "t_max": None,
                "dropout": _DROPOUT,
            },
        },
        "joint": {
            "_target_": "nemo.collections.asr.modules.RNNTJoint",
            "log_softmax": None,
            "preserve_memory": False,
            "fuse_loss_wer": False,
            "fused_batch_size": 4,
            "jointnet": {"joint_hidden": _JOINT, "activation": "relu", "dropout": _DROPOUT},
            "num_extra_outputs": len(durations),
        },
        "decoding": {
            "strategy": "greedy_batch",
            "model_type": "tdt",
            "durations": durations,
            "greedy": {"max_symbols": 10},
        },
        "aux_ctc": {
            "ctc_loss_weight": 0.3,
            "use_cer": False,
            "ctc_reduction": "mean_batch",
            "decoder": {
                "_target_": "nemo.collections.asr.modules.ConvASRDecoder",
                "feat_in": None,
                "num_classes": -1,
                "vocabulary": [],
            },
            "decoding": {"strategy": "greedy"},
        },
        "loss": {
            "loss_name": "tdt_pytorch",
            "tdt_pytorch_kwargs": {"durations": durations, "sigma": 0.02},
        },
        "optim": {"name": "adamw", "lr": 1e-3},
    }


def _build_encoder_config() -> dict[str, object]:
    return {
        "_target_": "nemo.collections.asr.modules.ConformerEncoder",
        "feat_in": BANDS,
        "feat_out": -1,
        "n_layers": _LAYERS,
        "d_model": _WIDTH,
        "use_bias": False,
        "subsampling": "dw_striding",
        "subsampling_factor": 8,
        "subsampling_conv_channels": _CHANNELS,
        "causal_downsampling": False,
        "reduction": None,
        "reduction_position": None,
        "reduction_factor": 1,
        "ff_expansion_factor": 4,
        "self_attention_model": "rel_pos",
        "n_heads": 4,
        "att_context_size": [-1, -1],
        "att_context_style": "regular",
        "xscaling": False,
        "untie_biases": True,
        "pos_emb_max_len": 1_000,  # 80 s; written into the ONNX graph
        "conv_kernel_size": 9,
        "conv_norm_type": "batch_norm",
        "conv_context_size": None,
        "dropout": _DROPOUT,
        "dropout_pre_encoder": _DROPOUT,
        "dropout_emb": 0.0,
        "dropout_att": _DROPOUT,
        "stochastic_depth_drop_prob": 0.0,
        "stochastic_depth_mode": "linear",
        "stochastic_depth_start_layer": 1,
    }


def build_model(pieces: Path, seed: int = 0) -> EncDecHybridRNNTCTCBPEModel:
    """Return an untrained model."""
    logging.getLogger("nemo_logger").setLevel(logging.ERROR)
    torch.manual_seed(seed)
    return EncDecHybridRNNTCTCBPEModel(cfg=OmegaConf.create(build_config(pieces)))
