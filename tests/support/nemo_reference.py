"""NeMo's own recogniser, the reference for echoic's; the import needs NeMo and takes seconds.

Its features have no dither and no padding. Tokens come from NeMo's preprocessor, encoder and greedy
decoding.
"""

from __future__ import annotations

import json
import logging
import warnings
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
import sentencepiece
import torch

logging.getLogger("nemo_logger").setLevel(logging.CRITICAL)
logging.getLogger("nv_one_logger").setLevel(logging.CRITICAL)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from nemo.collections.asr.models import ASRModel, EncDecHybridRNNTCTCBPEModel
    from nemo.utils import logging as nemo_logging
    from omegaconf import OmegaConf

nemo_logging.setLevel(logging.CRITICAL)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from nemo.collections.asr.parts.utils.rnnt_utils import Hypothesis
    from numpy.typing import NDArray

    Wrapped = Callable[..., Any]

NEMO_MODULES = "nemo.collections.asr.modules"
#: The ratio of frames with a token in a model of random weights: about that of real models.
TOKEN_FRAME_RATIO = 0.3


class ModelShape(NamedTuple):
    """The sizes of a Parakeet."""

    width: int
    layers: int
    heads: int
    decoder_width: int
    decoder_layers: int
    channels: int
    mel_bands: int
    vocabulary_size: int
    scales_input: bool = False
    durations: tuple[int, ...] = (0, 1, 2, 3, 4)


#: Like the 0.6B, and like the 110M without durations; both small.
SMALL_TDT_SHAPE = ModelShape(
    width=96,
    layers=3,
    heads=4,
    decoder_width=80,
    decoder_layers=2,
    channels=32,
    mel_bands=128,
    vocabulary_size=96,
)
SMALL_RNNT_SHAPE = ModelShape(
    96,
    3,
    4,
    decoder_width=80,
    decoder_layers=1,
    channels=32,
    mel_bands=80,
    vocabulary_size=96,
    scales_input=True,
    durations=(),
)
#: The 0.6B itself.
FULL_TDT_SHAPE = ModelShape(
    1024, 24, 8, decoder_width=640, decoder_layers=2, channels=256, mel_bands=128, vocabulary_size=1024
)


class ReferenceResult(NamedTuple):
    """What NeMo makes of a recording: tokens, the frame at which each was emitted, and what led there."""

    features: NDArray[np.float32]
    encoded: NDArray[np.float32]
    tokens: list[int]
    frames: list[int]


def suppress_warnings(function: Wrapped) -> Wrapped:
    """Return ``function`` without its warnings, which are about training and export."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # whatever it is
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args, **kwargs)

    return wrapped


@suppress_warnings
def restore_model(file: Path) -> ASRModel:
    """Return NeMo's recogniser as NeMo restores it."""
    return _freeze_model(ASRModel.restore_from(str(file), map_location="cpu"))


@suppress_warnings
def transcribe_audio(
    model: ASRModel, audio: NDArray[np.float32], head: str = "transducer"
) -> ReferenceResult:
    """Return what ``model`` makes of a recording at 16 kHz, by one of its heads."""
    with torch.inference_mode():
        features, sizes = model.preprocessor(
            input_signal=torch.from_numpy(audio.copy())[None], length=torch.tensor([audio.size])
        )
        encoded, lengths = model.encoder(audio_signal=features, length=sizes)
        if head == "ctc":
            result = model.ctc_decoding.ctc_decoder_predictions_tensor(
                model.ctc_decoder(encoder_output=encoded), lengths, return_hypotheses=True
            )
        else:
            result = model.decoding.rnnt_decoder_predictions_tensor(encoded, lengths, return_hypotheses=True)
    tokens, frames = (
        _collapse_ctc(result[0], len(model.joint.vocabulary))
        if head == "ctc"
        else _to_timed_tokens(result[0])
    )
    return ReferenceResult(
        features[0, :, : int(sizes[0])].numpy(),
        encoded[0, :, : int(lengths[0])].T.numpy(),
        tokens,
        frames,
    )


@suppress_warnings
def transcribe_with_times(
    file: Path, recordings: Sequence[NDArray[np.float32]]
) -> list[list[tuple[str, float]]]:
    """Return the result of NeMo's ``transcribe``: pieces, and their starts in seconds.

    NeMo lengthens recordings of less than a second. Its ``transcribe`` leaves a model ready for training,
    so the model is restored for this call.
    """
    result = restore_model(file).transcribe(
        [audio.copy() for audio in recordings], timestamps=True, verbose=False
    )
    return [[(piece["char"][0], piece["start"]) for piece in one.timestamp["char"]] for one in result]


@suppress_warnings
def build_random_model(
    folder: Path, shape: ModelShape, audio: NDArray[np.float32], seed: int = 0
) -> ASRModel:
    """Return a hybrid model of random weights that emits various tokens for ``audio``.

    Raw random weights emit one token only, so the joint network's weights are drawn again around the mean of
    the encoder's frames, and the blank is made as likely as it is in speech.
    """
    torch.manual_seed(seed)
    model = _freeze_model(
        EncDecHybridRNNTCTCBPEModel(
            cfg=OmegaConf.create(_build_config(shape, _train_tokenizer(folder, shape)))
        )
    )
    encoded = torch.from_numpy(transcribe_audio(model, audio).encoded)
    mean, spread = encoded.mean(0), float((encoded - encoded.mean(0)).pow(2).mean().sqrt())
    joint, blank = model.joint, len(model.joint.vocabulary)
    last, head = joint.joint_net[-1], model.ctc_decoder.decoder_layers[0]
    with torch.no_grad():
        joint.enc.weight.normal_(0, 2 / spread / shape.width**0.5)
        joint.enc.bias.copy_(-(joint.enc.weight @ mean))
        joint.pred.weight.normal_(0, 4 / shape.decoder_width**0.5)
        last.weight.normal_(0, 0.3)
        last.bias.normal_(0, 0.05)
        head.weight.normal_(0, 1 / spread / shape.width**0.5)
        head.bias.copy_(-(head.weight[:, :, 0] @ mean))
        result, _ = model.decoder.predict(None, None, add_sos=False, batch_size=1)
        _make_sparse(last.bias, joint.joint(encoded[None], result)[0, :, 0], blank)
        _make_sparse(head.bias, model.ctc_decoder(encoder_output=encoded.T[None])[0], blank)
    return model


@suppress_warnings
def export_model(model: ASRModel, folder: Path, head: str = "transducer") -> Path:
    """Export ``model`` by NeMo's own export into ``folder``, in the layout of onnx-asr, and return that."""
    folder.mkdir()
    if head == "ctc":
        model.set_export_config({"decoder_type": "ctc"})
    model.export(str(folder / "model.onnx"), check_trace=False, onnx_opset_version=17, verbose=False)
    _gather_weights(folder)
    vocabulary = [*model.joint.vocabulary, "<blk>"]
    lines = "".join(f"{piece} {number}\n" for number, piece in enumerate(vocabulary))
    (folder / "vocab.txt").write_text(lines, "utf-8")
    kind = "ctc" if head == "ctc" else "tdt" if model.joint.num_extra_outputs else "rnnt"
    result = {
        "model_type": f"nemo-conformer-{kind}",
        "features_size": model.cfg.preprocessor.features,
        "subsampling_factor": 8,
    }
    (folder / "config.json").write_text(json.dumps(result), "utf-8")
    return folder


@suppress_warnings
def save_model(model: ASRModel, folder: Path) -> Path:
    """Save ``model`` as NeMo does and return the file."""
    model.save_to(str(folder / "model.nemo"))
    return folder / "model.nemo"


def _to_timed_tokens(result: Hypothesis) -> tuple[list[int], list[int]]:
    times = result.timestamp["timestep"] if isinstance(result.timestamp, dict) else result.timestamp
    return [int(token) for token in result.y_sequence], [int(frame) for frame in times]


def _collapse_ctc(result: Hypothesis, blank: int) -> tuple[list[int], list[int]]:
    """Return tokens and frames of a CTC head's output, without blanks and repetitions."""
    best = [int(token) for token in result.y_sequence]
    first = [
        (token, frame)
        for frame, (before, token) in enumerate(pairwise([blank, *best]))
        if token not in {before, blank}
    ]
    return [token for token, _ in first], [frame for _, frame in first]


def _freeze_model(model: ASRModel) -> ASRModel:
    model.eval()
    model.freeze()
    model.preprocessor.featurizer.dither = 0.0
    model.preprocessor.featurizer.pad_to = 0
    return model


def _make_sparse(biases: torch.Tensor, scores: torch.Tensor, blank: int) -> None:
    """Raise the blank's bias until it wins as many frames as in speech."""
    ahead = scores[:, :blank].max(1).values - scores[:, blank]
    biases[blank] += ahead.quantile(1 - TOKEN_FRAME_RATIO)


def _gather_weights(folder: Path) -> None:
    """Put weights that the export of a large model scatters over files into one file beside each graph."""
    scattered = [file for file in folder.iterdir() if file.suffix != ".onnx"]
    if not scattered:
        return
    graphs = {file: onnx.load(file) for file in folder.glob("*.onnx")}
    for file in scattered:
        file.unlink()
    for file, graph in graphs.items():
        onnx.save(graph, file, save_as_external_data=True, location=f"{file.name}.data")


def _train_tokenizer(folder: Path, shape: ModelShape) -> Path:
    """Train a vocabulary of letters and their pairs into ``folder``: what it means does not matter."""
    chance = np.random.default_rng(0)
    letters = [chr(0x4E00 + number) for number in range(shape.vocabulary_size // 2)]
    words = ["".join(chance.choice(letters, 6)) for _ in range(20 * shape.vocabulary_size)]
    (folder / "text").write_text("\n".join(" ".join(words[at : at + 9]) for at in range(0, len(words), 9)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=shape.vocabulary_size,
        model_type="bpe",
        character_coverage=1.0,
        bos_id=-1,
        eos_id=-1,
        unk_id=0,
        minloglevel=2,
    )
    reader = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    pieces = [reader.id_to_piece(number) for number in range(1, shape.vocabulary_size)]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", "utf-8")
    return folder


def _build_config(shape: ModelShape, tokenizer: Path) -> dict[str, object]:
    durations = list(shape.durations)
    decoding: dict[str, object] = {"strategy": "greedy_batch", "greedy": {"max_symbols": 10}}
    loss: dict[str, object] = {"loss_name": "pytorch"}
    if durations:
        decoding |= {"model_type": "tdt", "durations": durations}
        loss = {"loss_name": "tdt_pytorch", "tdt_pytorch_kwargs": {"durations": durations, "sigma": 0.02}}
    return {
        "sample_rate": 16_000,
        "log_prediction": False,
        "model_defaults": {
            "enc_hidden": shape.width,
            "pred_hidden": shape.decoder_width,
            "joint_hidden": shape.decoder_width,
            "tdt_durations": durations,
        },
        "tokenizer": {"dir": str(tokenizer), "type": "bpe"},
        "preprocessor": {
            "_target_": f"{NEMO_MODULES}.AudioToMelSpectrogramPreprocessor",
            "sample_rate": 16_000,
            "normalize": "per_feature",
            "window_size": 0.025,
            "window_stride": 0.01,
            "window": "hann",
            "features": shape.mel_bands,
            "n_fft": 512,
            "frame_splicing": 1,
        },
        "encoder": _build_encoder_config(shape),
        "decoder": {
            "_target_": f"{NEMO_MODULES}.RNNTDecoder",
            "normalization_mode": None,
            "blank_as_pad": True,
            "prednet": {
                "pred_hidden": shape.decoder_width,
                "pred_rnn_layers": shape.decoder_layers,
                "dropout": 0.1,
            },
        },
        "joint": {
            "_target_": f"{NEMO_MODULES}.RNNTJoint",
            "log_softmax": None,
            "jointnet": {"joint_hidden": shape.decoder_width, "activation": "relu", "dropout": 0.1},
            "num_extra_outputs": len(durations),
        },
        "decoding": decoding,
        "loss": loss,
        "aux_ctc": {
            "ctc_loss_weight": 0.3,
            "decoder": {
                "_target_": f"{NEMO_MODULES}.ConvASRDecoder",
                "feat_in": None,
                "num_classes": -1,
                "vocabulary": [],
            },
            "decoding": {"strategy": "greedy"},
        },
        "optim": {"name": "adamw", "lr": 1e-3},
    }


def _build_encoder_config(shape: ModelShape) -> dict[str, object]:
    return {
        "_target_": f"{NEMO_MODULES}.ConformerEncoder",
        "feat_in": shape.mel_bands,
        "n_layers": shape.layers,
        "d_model": shape.width,
        "use_bias": shape.scales_input,
        "subsampling": "dw_striding",
        "subsampling_factor": 8,
        "subsampling_conv_channels": shape.channels,
        "self_attention_model": "rel_pos",
        "n_heads": shape.heads,
        "att_context_size": [-1, -1],
        "xscaling": shape.scales_input,
        "conv_kernel_size": 9,
        "conv_norm_type": "batch_norm",
    }
