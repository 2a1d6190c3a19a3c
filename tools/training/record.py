"""Makes test recordings that a model transcribes without error: sentences by both heads, talks by TDT."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import soundfile

from tools.training.evaluate import load_checkpoint, transcribe_windows
from tools.training.export import round_weights
from tools.training.voices import SAMPLE_RATE, Synthesiser, draw_voice
from tools.training.windows import TrainingWindow, draw_speech, to_window

if TYPE_CHECKING:
    from nemo.collections.asr.models import EncDecHybridRNNTCTCBPEModel


_SEED = 99_000_000
_TRIES = 40
_SENTENCES = (
    "no",
    "call carol now",
    "turn off the bathroom alarm",
    "add cheese and bread to the shopping list",
    "please stop the timer",
    "call frank on wednesday",
    "what time is it in tokyo",
    "turn on the garage lights",
    "set a timer for eight hundred and forty two seconds",
    "close the garage door",
    "meet emma in berlin on thursday at seventeen",
    "zero three nine nine one seven",
)
#: Seconds of each talk, at least.
_TALKS = (22.0, 28.0, 34.0)


def record_tests(trained: Path, folder: Path) -> None:
    """Write ``texts.json`` (sentences), ``talks.json`` (20 to 40 s) and their recordings into ``folder``."""
    model = round_weights(load_checkpoint(trained))
    synthesiser, chance = Synthesiser(), random.Random(_SEED)
    folder.mkdir(parents=True, exist_ok=True)

    def sentence(text: str) -> Callable[[], TrainingWindow]:
        return lambda: to_window(synthesiser.synthesise_words(text.split(), draw_voice(chance)))

    def talk(seconds: float) -> Callable[[], TrainingWindow]:
        return lambda: draw_speech(synthesiser, chance, seconds)

    sentences = [_draw_recognised(model, sentence(text), ("rnnt", "ctc")) for text in _SENTENCES]
    talks = [_draw_recognised(model, talk(seconds), ("rnnt",)) for seconds in _TALKS]
    _write_recordings(folder, "texts", sentences)
    _write_recordings(folder, "talks", talks)


def _draw_recognised(
    model: EncDecHybridRNNTCTCBPEModel, draw: Callable[[], TrainingWindow], heads: tuple[str, ...]
) -> TrainingWindow:
    """Return the first one that all these heads transcribe without error.

    Raises:
        RuntimeError: None of many was.
    """
    for _ in range(_TRIES):
        heard = draw()
        meant = tuple(word.text for word in heard.words)
        if all(transcribe_windows(model, [heard], head)[0].words == meant for head in heads):
            return heard
    raise RuntimeError("The model hears nothing of this rightly.")


def _write_recordings(folder: Path, table: str, recordings: list[TrainingWindow]) -> None:
    rows = []
    for number, heard in enumerate(recordings):
        name = f"{table}-{number:02}.flac"
        soundfile.write(folder / name, heard.audio, SAMPLE_RATE, subtype="PCM_16")
        rows.append({"audio": name, "text": " ".join(word.text for word in heard.words)})
    (folder / f"{table}.json").write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
