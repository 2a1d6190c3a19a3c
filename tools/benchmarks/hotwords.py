"""Vocabulary: cost of replacements, gain and cost of biasing towards terms.

- Replacements: time to build them and time per final, by their number.
- The tiny Parakeet of the tests in noise (needs espeak-ng): missed terms and other errors, by vocabulary. It
  knows its 125 words equally well, so misses are due to the noise.
- Whisper base on recordings whose rare words are listed (needs the extra whisper and the recordings).
- The decode loop at the true shapes: the cost of a biased lane, and its effect on the lanes beside it.

NVIDIA's trained weights are not available here, so the gain with those is not measured.
"""

from __future__ import annotations

import csv
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoic.engines.parakeet.biasing import TermBias, TermTrie, TermTrieCache
from echoic.engines.parakeet.decoder import TokenDecoder
from echoic.engines.parakeet.onnx import OnnxOptions, ParakeetOnnx, load_onnx_model
from echoic.engines.parakeet.onnx_files import inspect_onnx_folder
from echoic.evaluate.metrics import EditCounts, TermErrors, count_term_errors, count_word_errors
from echoic.evaluate.offline import SAMPLE_RATE
from echoic.interfaces.engine import DecodeOptions, Engine, Window
from echoic.media import read_audio
from echoic.text.replacements import Replacements, ReplacementTable
from echoic.text.vocabulary import Hotword, Hotwords, Vocabulary, VocabularyEntries
from tools.benchmarks import report
from tools.benchmarks.recordings import find_speech_folder
from tools.benchmarks.report import Cell
from tools.benchmarks.true_shapes import build_stub_frames, find_shape_folders, measure_milliseconds

Audio = NDArray[np.float32]

TINY = report.ROOT / "tests" / "fixtures" / "tiny-parakeet"
#: Environment variable with the folder of Whisper's weights; without it they are downloaded as in the tests.
WHISPER = "ECHOIC_WHISPER"
#: Noise levels relative to the speech (root mean square).
_NOISES = (0.5, 0.7, 1.0)
_LANES = 8
_SECONDS = 5.0
_OFTEN = 200


class HotwordCase:
    """A recording with its text and its rare words."""

    def __init__(self, audio: Audio, text: str, rare_words: Sequence[str]) -> None:
        self.audio, self.text, self.rare_words = audio, text, tuple(rare_words)

    def build_vocabulary(self, extra: int | None, others: Sequence[str], chance: random.Random) -> Vocabulary:
        """Return a vocabulary of the rare words and ``extra`` others, shuffled; None: an empty one."""
        if extra is None:
            return Vocabulary()
        words = [
            *self.rare_words,
            *chance.sample([one for one in others if one not in self.rare_words], extra),
        ]
        chance.shuffle(words)
        return Vocabulary(VocabularyEntries(tuple(Hotword(one) for one in words)))


def measure(*, quick: bool) -> None:
    """Measure, print and save."""
    figures: dict[str, object] = {
        "replacements": _measure_replacements(),
        "tiny Parakeet in noise": _measure_tiny_parakeet(quick=quick),
        "Whisper base": _measure_whisper(quick=quick),
        "decode loop": _measure_decode_loop(quick=quick),
        "not shown": "what terms gain with NVIDIA's own weights: there are none here",
    }
    report.save_results("hotwords", figures)


# ---- replacements


def _measure_replacements() -> list[dict[str, Cell]]:
    chance = random.Random(1)  # noqa: S311  # a benchmark's words
    said = ["so", "that", "is", "what", "we", "said", "about", "it", "all", "and", "no", "more"]
    rows: list[list[Cell]] = []
    for count in (1, 100, 10_000):
        table = {f"{_make_up_word(chance)} {_make_up_word(chance)}": "what was meant" for _ in range(count)}
        build = measure_milliseconds({"": partial(ReplacementTable, table)}, 5)[""]
        replacements = Replacements(ReplacementTable(table))
        final = measure_milliseconds({"": partial(_apply_replacements, replacements, said)}, 5)[""]
        rows.append([f"{count:,}", build, 1000 * final / _OFTEN])
    return _print_table(
        "Replacements of two words", ["replacements", "build, ms", "a final of 12 words, µs"], rows
    )


def _apply_replacements(replacements: Replacements, said: Sequence[str]) -> None:
    for _ in range(_OFTEN):
        replacements.find_edits(said)


def _make_up_word(chance: random.Random) -> str:
    return "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=7))


# ---- what is heard


def _measure_tiny_parakeet(*, quick: bool) -> list[dict[str, Cell]]:
    from tools.training import sentences as world  # noqa: PLC0415  # only where espeak-ng is

    known = (*world.NAMES, *world.CITIES, *world.FOODS, *world.DAYS)
    engine = ParakeetOnnx(TINY)
    rows: list[list[Cell]] = []
    for noise in _NOISES[:1] if quick else _NOISES:
        try:
            cases = list(_synthesize_cases(noise, 100 if quick else 400, known))
        except OSError:
            print("  Skipped: espeak-ng is not installed.")
            return []
        rows += _score_cases(engine, f"noise {noise}", cases, known, (None, 0, 4))
    return _print_table("Tiny Parakeet, words in any order in noise", _HEADER, rows)


def _synthesize_cases(noise: float, count: int, known: Sequence[str]) -> Iterator[HotwordCase]:
    from tools.training.sentences import draw_random_words  # noqa: PLC0415  # as above
    from tools.training.voices import Synthesiser, draw_voice  # noqa: PLC0415  # as above

    chance, hiss, voice = random.Random(91), np.random.default_rng(91), Synthesiser()  # noqa: S311  # as above
    for _ in range(count):
        said = draw_random_words(chance)
        speech = np.pad(
            voice.synthesise_words(said, draw_voice(chance)).audio.astype(np.float32) / 2**15, 4000
        )
        loud = float(np.sqrt(np.mean(speech**2)))
        audio = (speech + hiss.normal(0, noise * loud, len(speech))).astype(np.float32)
        yield HotwordCase(audio, " ".join(said), sorted(set(said) & set(known)))


def _measure_whisper(*, quick: bool) -> list[dict[str, Cell]]:
    folder = find_speech_folder()
    if folder is None or find_spec("faster_whisper") is None:
        print("  Skipped: no recordings, or the extra whisper is not installed.")
        return []
    from echoic.engines.whisper import Whisper  # noqa: PLC0415  # only where it is installed

    with (folder / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        found = [row for row in csv.DictReader(file, delimiter="\t") if row["rare_words"]]
    cases = [
        HotwordCase(
            np.concatenate(list(read_audio(folder / row["path"], SAMPLE_RATE))),
            row["reference"],
            json.loads(row["rare_words"]),
        )
        for row in (found[::4] if quick else found)
    ]
    rare = sorted({word for case in cases for word in case.rare_words})
    engine = Whisper(_find_whisper_weights())
    rows = _score_cases(engine, "base", cases, rare, (None, 0, 20) if quick else (None, 0, 20, 60))
    return _print_table("Whisper base, real speech", _HEADER, rows)


def _find_whisper_weights() -> Path:
    if told := os.environ.get(WHISPER):
        return Path(told)
    from support.whisper_models import BASE, fetch_weights  # noqa: PLC0415  # only without that variable

    return fetch_weights(BASE)


_HEADER = ["model", "listens for", "places of rare words", "missed, %", "other words wrong, %", "s of CPU"]


def _score_cases(
    engine: Engine,
    name: str,
    cases: Sequence[HotwordCase],
    others: Sequence[str],
    extras: Sequence[int | None],
) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for extra in extras:
        chance, missed, wrong = random.Random(5), TermErrors(), EditCounts()  # noqa: S311  # as above
        began = time.process_time()
        for case in cases:
            heard = _transcribe_audio(engine, case.audio, case.build_vocabulary(extra, others, chance))
            found, all_of = (
                count_term_errors(case.text, heard, case.rare_words),
                count_word_errors(case.text, heard),
            )
            missed, wrong = missed + found, wrong + all_of
        edits = wrong.substitutions + wrong.deletions + wrong.insertions - missed.missed
        rest = 100 * edits / (wrong.reference_length - missed.occurrences)
        what = "nothing" if extra is None else f"its own and {extra} more" if extra else "its own"
        rows.append([name, what, missed.occurrences, missed.rate, rest, time.process_time() - began])
    return rows


def _transcribe_audio(engine: Engine, audio: Audio, vocabulary: Vocabulary) -> str:
    options = DecodeOptions("en", vocabulary.hotwords, vocabulary.prompt)
    window = Window(
        audio,
        SAMPLE_RATE,
        0.0,
        left_context=0,
        new_samples=len(audio),
        right_context=0,
        is_last=True,
        options=options,
    )
    [hypothesis] = engine.decode([window])
    return "".join(token.text for token in (*hypothesis.committed, *hypothesis.volatile)).strip()


# ---- what it costs


def _measure_decode_loop(*, quick: bool) -> list[dict[str, Cell]]:
    rows: list[list[Cell]] = []
    for folder in find_shape_folders():
        files = inspect_onnx_folder(folder)
        decoder = load_onnx_model(files, OnnxOptions()).decoder
        frames = build_stub_frames(folder, _LANES, _SECONDS)
        ways: dict[str, Callable[[], object]] = {"nothing": partial(_decode_lanes, decoder, frames, {})}
        built: dict[str, TermTrie] = {}
        for count in (20, 1_000):
            words = _make_up_terms(files.pieces, count)
            began = time.process_time()
            tree = TermTrieCache(files.pieces).get_trie(words)
            took = 1000 * (time.process_time() - began)
            if tree is not None:
                built[f"{count:,} terms, {took:.0f} ms to build"] = tree
        for name, tree in built.items():
            ways[f"one of {_LANES} for {name}"] = partial(_decode_lanes, decoder, frames, {0: tree})
            ways[f"all for {name}"] = partial(
                _decode_lanes, decoder, frames, dict.fromkeys(range(_LANES), tree)
            )
        least = measure_milliseconds(ways, 3 if quick else 8)
        rows += [[folder.name, what, took, took / least["nothing"]] for what, took in least.items()]
    header = ["shape", "lanes listen for", "ms", "to nothing"]
    return _print_table(f"Decode loop, {_LANES} lanes of {_SECONDS:g} s", header, rows)


def _decode_lanes(decoder: TokenDecoder, frames: Sequence[Audio], trees: dict[int, TermTrie]) -> object:
    boosts = [TermBias(trees[at], len(lane)) if at in trees else None for at, lane in enumerate(frames)]
    return decoder.decode(frames, [decoder.initial_state] * len(frames), boosts)


def _make_up_terms(pieces: Sequence[str], count: int) -> Hotwords:
    """Return invented terms of four pieces each."""
    chance = random.Random(3)  # noqa: S311  # as above
    first = [one for one in pieces if one.startswith(" ")]
    rest = [one for one in pieces if one and not one.startswith(" ")]
    made = (chance.choice(first) + "".join(chance.choices(rest, k=3)) for _ in range(count))
    return Hotwords(tuple(Hotword(one.strip()) for one in made))


def _print_table(title: str, header: list[str], rows: list[list[Cell]]) -> list[dict[str, Cell]]:
    if rows:
        report.print_table(title, header, rows)
    return [dict(zip(header, row, strict=True)) for row in rows]
