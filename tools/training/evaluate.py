"""Measures the accuracy of a checkpoint on speech that it was not trained with."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tools.training.network import FRAME, build_model
from tools.training.sentences import draw_grammar_sentence, draw_random_words
from tools.training.voices import SAMPLE_RATE, Synthesiser, draw_voice
from tools.training.windows import TrainingWindow, cut_window, draw_speech, to_window

if TYPE_CHECKING:
    from nemo.collections.asr.models import EncDecHybridRNNTCTCBPEModel
    from nemo.collections.asr.parts.utils.rnnt_utils import Hypothesis


#: A seed that training never uses.
_SEED = 77_000_000
_BATCH = 20


@dataclass(frozen=True, slots=True)
class ModelTranscript:
    """The words of a window and, if known, the time in seconds at which each is complete."""

    words: tuple[str, ...]
    times: tuple[float, ...]


def count_edits(said: Sequence[str], meant: Sequence[str]) -> int:
    """Return the number of insertions, deletions and substitutions of words."""
    row = list(range(len(said) + 1))
    for number, word in enumerate(meant, 1):
        before, row[0] = row[:], number
        for place, other in enumerate(said, 1):
            row[place] = min(before[place] + 1, row[place - 1] + 1, before[place - 1] + (word != other))
    return row[-1]


def compute_error_rate(said: Sequence[ModelTranscript], heard: Sequence[TrainingWindow]) -> float:
    """Return the word error rate in percent."""
    wrong = sum(
        count_edits(one.words, [word.text for word in window.words])
        for one, window in zip(said, heard, strict=True)
    )
    return 100 * wrong / max(1, sum(len(window.words) for window in heard))


def transcribe_windows(
    model: EncDecHybridRNNTCTCBPEModel, heard: Sequence[TrainingWindow], head: str = "rnnt"
) -> list[ModelTranscript]:
    """Transcribe each window with one head: ``rnnt`` or ``ctc`` (without times)."""
    with torch.no_grad():
        return [
            said
            for place in range(0, len(heard), _BATCH)
            for said in _transcribe_batch(model, heard[place : place + _BATCH], head)
        ]


def _transcribe_batch(
    model: EncDecHybridRNNTCTCBPEModel, part: Sequence[TrainingWindow], head: str
) -> list[ModelTranscript]:
    sizes = torch.tensor([len(one.audio) for one in part])
    audio = torch.zeros(len(part), int(sizes.max()))
    for number, one in enumerate(part):
        audio[number, : sizes[number]] = torch.from_numpy(one.audio)
    features, counts = model.preprocessor(input_signal=audio, length=sizes)
    encoded, lengths = model.encoder(audio_signal=features, length=counts)
    if head == "ctc":
        letters = model.ctc_decoder(encoder_output=encoded)
        found = model.ctc_decoding.ctc_decoder_predictions_tensor(letters, lengths)
        return [ModelTranscript(tuple(one.text.split()), ()) for one in found]
    found = model.decoding.rnnt_decoder_predictions_tensor(encoded, lengths, return_hypotheses=True)
    return [_to_transcript(model, one) for one in found]


def _to_transcript(model: EncDecHybridRNNTCTCBPEModel, hypothesis: Hypothesis) -> ModelTranscript:
    pieces = model.tokenizer.ids_to_tokens([int(number) for number in hypothesis.y_sequence])
    frames = hypothesis.timestamp
    times: list[float] = []
    for piece, frame in zip(pieces, frames, strict=True):
        if piece.startswith("▁") or not times:
            times.append(0.0)
        times[-1] = int(frame) * FRAME / SAMPLE_RATE
    words = tuple(hypothesis.text.split())
    return ModelTranscript(words, tuple(times) if len(times) == len(words) else ())


def draw_test_windows(count: int = 200) -> dict[str, list[TrainingWindow]]:
    """Return the test windows: ``count`` of each kind, or a fraction of it."""
    synthesiser, chance = Synthesiser(), random.Random(_SEED)

    def alone(words: Sequence[str]) -> TrainingWindow:
        return to_window(synthesiser.synthesise_words(words, draw_voice(chance)))

    tapes = [draw_speech(synthesiser, chance, 8) for _ in range(count // 4)]
    return {
        "sentences of the grammar": [alone(draw_grammar_sentence(chance)) for _ in range(count)],
        "words in any order": [alone(draw_random_words(chance)) for _ in range(count // 2)],
        "several sentences, 8 s and more": tapes,
        "2 s cut out of those anywhere": [
            cut_window(tape, 2 * SAMPLE_RATE, chance) for tape in tapes for _ in range(4)
        ],
        "20 s and more": [draw_speech(synthesiser, chance, 20) for _ in range(count // 10)],
    }


def measure_lateness(said: Sequence[ModelTranscript], heard: Sequence[TrainingWindow]) -> list[float]:
    """Return how many seconds after its end each word is said, of the windows that are heard rightly."""
    return [
        time - word.end / SAMPLE_RATE
        for one, window in zip(said, heard, strict=True)
        if one.words == tuple(word.text for word in window.words) and len(one.times) == len(one.words)
        for time, word in zip(one.times, window.words, strict=True)
    ]


def print_report(model: EncDecHybridRNNTCTCBPEModel, count: int = 200) -> None:
    """Print the word error rates of both heads and the delays of words."""
    for name, windows in draw_test_windows(count).items():
        transducer = transcribe_windows(model, windows)
        ctc = transcribe_windows(model, windows, "ctc")
        delays = sorted(measure_lateness(transducer, windows)) or [math.nan]
        tail = len(delays) // 20
        print(
            f"{name}: {len(windows)} windows, TDT {compute_error_rate(transducer, windows):.2f} %, "
            f"CTC {compute_error_rate(ctc, windows):.2f} %; "
            f"emitted {delays[len(delays) // 2]:.2f} s after the end, "
            f"{delays[tail]:.2f} to {delays[-1 - tail]:.2f} (5 to 95 %)",
            flush=True,
        )


def load_checkpoint(folder: Path) -> EncDecHybridRNNTCTCBPEModel:
    """Load the last checkpoint in ``folder`` for evaluation."""
    model = build_model(folder / "pieces").eval()
    model.load_state_dict(torch.load(folder / "checkpoint.pt")["model"])
    model.preprocessor.featurizer.dither = 0.0
    return model
