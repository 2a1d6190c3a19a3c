"""Moonshine tiny (English), the embedded default: small, quick on one core, its weights come by pip.

The weights are those that moonshine-voice 0.0.73 ships (Moonshine AI, MIT). They run on plain
onnxruntime; the package itself is found but never imported, because importing it loads native
libraries of its own.
Source: Jeffries et al., "Moonshine: Speech Recognition for Live Transcription and Voice Commands",
https://arxiv.org/abs/2410.15608; limits on tokens: https://github.com/moonshine-ai/moonshine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from echoic.errors import ModelUnavailable
from echoic.interfaces.engine import EngineRequirements, Hypothesis, Window, build_text_hypothesis
from echoic.text.overlap import remove_loop

NAME = "moonshine-tiny-en"
INSTALL = "pip install moonshine-voice==0.0.73"
MODEL_FILES = ("encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin")

SAMPLE_RATE = 16_000
LAYERS, HEADS, HEAD_SIZE = 6, 8, 36
BEGIN_TOKEN, END_TOKEN = 1, 2
#: The decoder loops on audio that it cannot read; English speech needs fewer tokens than this.
TOKENS_PER_SECOND = 6.5
MIN_TOKENS = 4
#: Samples below which there is nothing to read (the encoder itself needs 0.06 s).
MIN_SAMPLES = SAMPLE_RATE // 10
#: The loudest sample of a window that holds nothing: three steps of 16-bit audio.
SILENCE_PEAK = 1e-4
#: Seconds of the longest window it reads well.
MAX_WINDOW_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class MoonshineAvailability:
    """Whether the model can be loaded here.

    Attributes:
        is_available: True if nothing is missing.
        reason: What is missing, in a sentence; None if nothing is.
        install: The command that brings it; None if nothing is missing.
    """

    is_available: bool
    reason: str | None = None
    install: str | None = None


def find_packaged_folder() -> Path | None:
    """Return the folder of the weights inside moonshine-voice, or None without that package."""
    spec = find_spec("moonshine_voice")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "assets" / "tiny-en"


def inspect_weights(folder: Path | None = None) -> MoonshineAvailability:
    """Return whether the weights are in ``folder`` (default: in the package), without loading them."""
    folder = folder or find_packaged_folder()
    if folder is None:
        return _build_unavailable("The package moonshine-voice, which brings its weights, is not installed.")
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        return _build_unavailable(f"Missing among its weights: {', '.join(missing)}.")
    return MoonshineAvailability(is_available=True)


class Moonshine:
    """Moonshine tiny for English, by onnxruntime (``engines.base.Engine``).

    Args:
        folder: Where its files are; None: inside the package moonshine-voice.
        max_concurrency: The most decodes at the same time; each uses one core.

    Raises:
        ModelUnavailable: Something is missing.
    """

    def __init__(self, folder: Path | None = None, max_concurrency: int = 2) -> None:
        found = inspect_weights(folder)
        place = folder or find_packaged_folder()
        if not found.is_available or place is None:
            raise ModelUnavailable(NAME, found.reason or "Its weights are missing.", found.install)
        self._max_concurrency = max_concurrency
        self._encoder = _load_session(place / MODEL_FILES[0])
        self._decoder = _load_session(place / MODEL_FILES[1])
        outputs = [output.name for output in self._decoder.get_outputs()]
        self._first_outputs = outputs
        self._later_outputs = [name for name in outputs if ".encoder." not in name]
        self._pieces = parse_pieces((place / MODEL_FILES[2]).read_bytes())

    @property
    def name(self) -> str:
        """The model's own name."""
        return NAME

    @property
    def requirements(self) -> EngineRequirements:
        """Whole utterances at 16 kHz, 20 s at most."""
        return EngineRequirements(
            strategy="local_agreement", sample_rate=SAMPLE_RATE, max_window_seconds=MAX_WINDOW_SECONDS
        )

    @property
    def languages(self) -> tuple[str, ...]:
        """English only."""
        return ("en",)

    @property
    def max_batch_size(self) -> int:
        """One: on a CPU it is no cheaper to decode windows together."""
        return 1

    @property
    def max_concurrency(self) -> int:
        """The most ``decode`` calls at the same time."""
        return self._max_concurrency

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return the text of each window; digital silence and less than 0.1 s have none.

        Raises:
            ValueError: A window is not at 16 kHz.
        """
        return [self._decode_window(window) for window in windows]

    def close(self) -> None:
        """Release the weights."""
        del self._encoder, self._decoder

    def _decode_window(self, window: Window) -> Hypothesis:
        if window.sample_rate != SAMPLE_RATE:
            raise ValueError(f"Moonshine reads {SAMPLE_RATE} Hz, not {window.sample_rate} Hz.")
        audio = np.ascontiguousarray(window.audio, dtype=np.float32)
        if len(audio) < MIN_SAMPLES or float(np.abs(audio).max()) < SILENCE_PEAK:
            return Hypothesis()
        return build_text_hypothesis(render_text(self._generate_tokens(audio), self._pieces))

    def _generate_tokens(self, audio: NDArray[np.float32]) -> list[int]:
        """Return what the decoder says, most probable token first and only, without begin and end."""
        limit = max(MIN_TOKENS, int(len(audio) / SAMPLE_RATE * TOKENS_PER_SECOND))
        mask = np.ones((1, len(audio)), dtype=np.int64)
        (heard,) = self._encoder.run(None, {"input_values": audio[np.newaxis], "attention_mask": mask})
        feed: dict[str, NDArray[np.generic]] = {
            "encoder_hidden_states": heard,
            "encoder_attention_mask": mask,
            "use_cache_branch": np.array([False]),
            **_build_empty_cache(),
        }
        said: list[int] = []
        token = BEGIN_TOKEN
        for _ in range(limit):
            feed["input_ids"] = np.array([[token]], dtype=np.int64)
            token = self._predict_token(feed, self._later_outputs if said else self._first_outputs)
            if token == END_TOKEN:
                return said
            said.append(token)
        return remove_loop(said)

    def _predict_token(self, feed: dict[str, NDArray[np.generic]], outputs: list[str]) -> int:
        """Return the next token; keep its keys and values in ``feed`` (the encoder's: once)."""
        answer = dict(zip(outputs, self._decoder.run(outputs, feed), strict=True))
        token = int(answer.pop("logits")[0, -1].argmax())
        for name, value in answer.items():
            feed[name.replace("present", "past_key_values")] = value
        feed["use_cache_branch"] = np.array([True])
        return token


def parse_pieces(data: bytes) -> tuple[bytes, ...]:
    """Return the vocabulary of ``tokenizer.bin``: pieces in UTF-8, each after its length.

    A length of 128 or more takes two bytes: ``128 + low``, then how many times 128; 0 is an unused id.
    """
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        length = data[at]
        at += 1
        if length >= 128:  # the bit that says a second byte follows
            length += 128 * data[at] - 128
            at += 1
        pieces.append(data[at : at + length])
        at += length
    return tuple(pieces)


def render_text(tokens: Sequence[int], pieces: Sequence[bytes]) -> str:
    """Return the text that ``tokens`` spell; control pieces such as ``<s>`` are left out."""
    spelled = (pieces[token] for token in tokens)
    kept = b"".join(piece for piece in spelled if not _is_control_piece(piece))
    return kept.decode("utf-8", errors="ignore").replace("\N{LOWER ONE EIGHTH BLOCK}", " ").strip()


def _build_unavailable(reason: str) -> MoonshineAvailability:
    return MoonshineAvailability(is_available=False, reason=reason, install=INSTALL)


def _is_control_piece(piece: bytes) -> bool:
    return piece.startswith(b"<") and piece.endswith(b">") and len(piece) > 2  # "<>" is text


def _load_session(file: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _build_empty_cache() -> dict[str, NDArray[np.generic]]:
    nothing: NDArray[np.generic] = np.zeros((1, HEADS, 0, HEAD_SIZE), dtype=np.float32)
    return {
        f"past_key_values.{layer}.{side}.{part}": nothing
        for layer in range(LAYERS)
        for side in ("decoder", "encoder")
        for part in ("key", "value")
    }
