"""Moonshine tiny (English), the embedded default: a small model, fast on one core, with weights from pip.

The weights are those that moonshine-voice 0.0.73 ships (Moonshine AI, MIT). They run on plain onnxruntime.
The package itself is located but never imported, because its import loads native libraries of its own.
Source: Jeffries et al., "Moonshine: Speech Recognition for Live Transcription and Voice Commands",
https://arxiv.org/abs/2410.15608; limits on tokens: https://github.com/moonshine-ai/moonshine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoic.engines.onnx_runtime import load_cpu_session
from echoic.engines.token_loops import remove_loop
from echoic.engines.windows import check_sample_rate, is_silent
from echoic.errors import ModelUnavailable
from echoic.interfaces.engine import EngineRequirements, Hypothesis, Window, build_text_hypothesis

NAME = "moonshine-tiny-en"
INSTALL = "pip install moonshine-voice==0.0.73"
MODEL_FILES = ("encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin")

SAMPLE_RATE = 16_000
LAYERS, HEADS, HEAD_SIZE = 6, 8, 36
BEGIN_TOKEN, END_TOKEN = 1, 2
#: Limit on tokens: more than English speech needs. On unintelligible audio the decoder would loop forever.
TOKENS_PER_SECOND = 6.5
MIN_TOKENS = 4
#: Samples of the shortest window that is decoded: 0.1 s (the encoder itself needs 0.06 s).
MIN_SAMPLES = SAMPLE_RATE // 10
#: Seconds of the longest window that the model decodes well.
MAX_WINDOW_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class MoonshineAvailability:
    """Whether the model can be loaded."""

    is_available: bool
    #: What is missing, as a sentence; None if the model is available.
    reason: str | None = None
    #: The command that installs it; None if the model is available.
    install: str | None = None


def find_packaged_folder() -> Path | None:
    """Return the folder of the weights in the package moonshine-voice, or None if it is not installed."""
    spec = find_spec("moonshine_voice")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "assets" / "tiny-en"


def inspect_weights(folder: Path | None = None) -> MoonshineAvailability:
    """Return whether all weights are in ``folder`` (default: in the package), without loading them."""
    folder = folder or find_packaged_folder()
    if folder is None:
        return _build_unavailable("The package moonshine-voice, which ships the weights, is not installed.")
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        return _build_unavailable(f"Missing weights: {', '.join(missing)}.")
    return MoonshineAvailability(is_available=True)


class Moonshine:
    """Moonshine tiny for English on onnxruntime (implements ``Engine``).

    Args:
        folder: The folder of the weights. If None, those in the package moonshine-voice are used.
        max_concurrency: The most ``decode`` calls at the same time; each uses one core.

    Raises:
        ModelUnavailable: A file is missing.
    """

    name = NAME
    languages = ("en",)
    #: On a CPU a batch is no cheaper than single windows.
    max_batch_size = 1
    requirements = EngineRequirements(
        strategy="local_agreement", sample_rate=SAMPLE_RATE, max_window_seconds=MAX_WINDOW_SECONDS
    )

    def __init__(self, folder: Path | None = None, max_concurrency: int = 2) -> None:
        availability = inspect_weights(folder)
        folder = folder or find_packaged_folder()
        if not availability.is_available or folder is None:
            raise ModelUnavailable(
                NAME, availability.reason or "Its weights are missing.", availability.install
            )
        self.max_concurrency = max_concurrency
        self._encoder = load_cpu_session(folder / MODEL_FILES[0])
        self._decoder = load_cpu_session(folder / MODEL_FILES[1])
        outputs = [output.name for output in self._decoder.get_outputs()]
        self._first_outputs = outputs
        self._later_outputs = [name for name in outputs if ".encoder." not in name]
        self._pieces = parse_pieces((folder / MODEL_FILES[2]).read_bytes())

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return the words of each window; digital silence and less than 0.1 s have none.

        Raises:
            ValueError: A window is not at 16 kHz.
        """
        return [self._decode_window(window) for window in windows]

    def close(self) -> None:
        """Release the weights."""
        del self._encoder, self._decoder

    def _decode_window(self, window: Window) -> Hypothesis:
        check_sample_rate(window, SAMPLE_RATE, "Moonshine")
        audio = np.ascontiguousarray(window.audio, dtype=np.float32)
        if is_silent(audio, MIN_SAMPLES):
            return Hypothesis()
        return build_text_hypothesis(render_text(self._generate_tokens(audio), self._pieces))

    def _generate_tokens(self, audio: NDArray[np.float32]) -> list[int]:
        """Return the tokens of a greedy search, without begin and end."""
        limit = max(MIN_TOKENS, int(len(audio) / SAMPLE_RATE * TOKENS_PER_SECOND))
        mask = np.ones((1, len(audio)), dtype=np.int64)
        (encoded,) = self._encoder.run(None, {"input_values": audio[np.newaxis], "attention_mask": mask})
        feed: dict[str, NDArray[np.generic]] = {
            "encoder_hidden_states": encoded,
            "encoder_attention_mask": mask,
            "use_cache_branch": np.array([False]),
            **_build_empty_cache(),
        }
        tokens: list[int] = []
        token = BEGIN_TOKEN
        for _ in range(limit):
            feed["input_ids"] = np.array([[token]], dtype=np.int64)
            token = self._predict_token(feed, self._later_outputs if tokens else self._first_outputs)
            if token == END_TOKEN:
                return tokens
            tokens.append(token)
        return remove_loop(tokens)

    def _predict_token(self, feed: dict[str, NDArray[np.generic]], outputs: list[str]) -> int:
        """Return the next token, and store its keys and values in ``feed`` (the encoder's only once)."""
        results = dict(zip(outputs, self._decoder.run(outputs, feed), strict=True))
        token = int(results.pop("logits")[0, -1].argmax())
        for name, value in results.items():
            feed[name.replace("present", "past_key_values")] = value
        feed["use_cache_branch"] = np.array([True])
        return token


def parse_pieces(data: bytes) -> tuple[bytes, ...]:
    """Return the vocabulary of ``tokenizer.bin``: pieces in UTF-8, each after its length.

    A length of 128 or more takes two bytes: ``128 + low``, then the multiple of 128. An unused id has
    length 0.
    """
    pieces: list[bytes] = []
    position = 0
    while position < len(data):
        length = data[position]
        position += 1
        if length >= 128:  # noqa: PLR2004  # the high bit is set: a second byte follows
            length += 128 * data[position] - 128
            position += 1
        pieces.append(data[position : position + length])
        position += length
    return tuple(pieces)


def render_text(tokens: Sequence[int], pieces: Sequence[bytes]) -> str:
    """Return the text of ``tokens`` without control pieces such as ``<s>``."""
    spelled = (pieces[token] for token in tokens)
    text = b"".join(piece for piece in spelled if not _is_control_piece(piece))
    return text.decode("utf-8", errors="ignore").replace("\N{LOWER ONE EIGHTH BLOCK}", " ").strip()


def _build_unavailable(reason: str) -> MoonshineAvailability:
    return MoonshineAvailability(is_available=False, reason=reason, install=INSTALL)


def _is_control_piece(piece: bytes) -> bool:
    return piece.startswith(b"<") and piece.endswith(b">") and len(piece) > 2  # noqa: PLR2004  # "<>" is text


def _build_empty_cache() -> dict[str, NDArray[np.generic]]:
    empty: NDArray[np.generic] = np.zeros((1, HEADS, 0, HEAD_SIZE), dtype=np.float32)
    return {
        f"past_key_values.{layer}.{side}.{part}": empty
        for layer in range(LAYERS)
        for side in ("decoder", "encoder")
        for part in ("key", "value")
    }
