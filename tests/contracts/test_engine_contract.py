"""The contract of engines; every implementation runs all of it."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import pytest

from echoic.engines import moonshine
from echoic.engines.models import build_standard_registry
from echoic.engines.parakeet.engine import ParakeetOptions
from echoic.engines.parakeet.onnx import ParakeetOnnx
from echoic.engines.scripted import LOCAL_AGREEMENT, OVERLAP, STATEFUL, VOCABULARY, ScriptedEngine, draw_words
from echoic.interfaces.engine import DecodeOptions, EngineRequirements, Window
from echoic.text.vocabulary import Hotword, Hotwords
from support.split_decoding import decode_in_pieces, to_absolute_times
from support.tiny_parakeet import TINY_PARAKEET_FOLDER, read_recordings, write_mlx_folder, write_nemo_file
from support.whisper_models import TINY_ENGLISH, fetch_weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from echoic.interfaces.engine import Engine, Hypothesis, Token

RIGHT_CONTEXT = EngineRequirements("stateful", left_context=0.5, right_context=0.4)
#: Contexts that cover every recording of the tiny Parakeet, so that pieces equal the whole.
COVERED = ParakeetOptions(left_context=30.0, right_context=30.0)


@dataclass(frozen=True)
class Case:
    """An engine; ``make`` may write into the given folder, and ``needs`` optional modules."""

    name: str
    make: Callable[[Path], Engine]
    sounds: tuple[NDArray[np.float32], ...]
    needs: tuple[str, ...] = ()


def build_scripted(needs: EngineRequirements) -> Callable[[Path], Engine]:
    return lambda _: ScriptedEngine(needs, max_concurrency=4)


def build_nemo(folder: Path) -> Engine:
    from echoic.engines.parakeet.nemo import ParakeetNemo  # noqa: PLC0415  # not installed everywhere

    return ParakeetNemo(write_nemo_file(folder), COVERED)


def build_mlx(folder: Path) -> Engine:
    from echoic.engines.parakeet.mlx import ParakeetMlx  # noqa: PLC0415  # not installed everywhere

    return ParakeetMlx(write_mlx_folder(folder), COVERED)


def build_whisper(_: Path) -> Engine:
    from echoic.engines.whisper import Whisper, WhisperOptions  # noqa: PLC0415  # not installed everywhere

    return Whisper(
        fetch_weights(TINY_ENGLISH), options=WhisperOptions(partial_context=10.0, final_context=10.0)
    )


def read_speech() -> tuple[NDArray[np.float32], ...]:
    return tuple(audio for audio, _ in read_recordings()[3:7])


def draw_speech() -> tuple[NDArray[np.float32], ...]:
    return tuple(draw_words(VOCABULARY[start : start + 5]) for start in range(0, 20, 5))


def build_vowels() -> tuple[NDArray[np.float32], ...]:
    """Return synthetic sounds of six vowels each, in which an engine recognises some words."""
    return tuple(build_syllables(seed) for seed in (0, 2, 7))


def build_syllables(seed: int, size: int = 4_000, count: int = 6) -> NDArray[np.float32]:
    chance = np.random.default_rng(seed)
    times, pitches = np.arange(size * count) / 16_000, np.fft.rfftfreq(size, 1 / 16_000)
    voice = np.sign(np.sin(2 * np.pi * chance.integers(90, 220) * times)).reshape(count, size)
    low, high = chance.integers(300, 900, (count, 1)), chance.integers(900, 2_500, (count, 1))
    mouth = 1 / (1 + ((pitches - low) / 80) ** 2) + 0.6 / (1 + ((pitches - high) / 120) ** 2)
    sound = np.fft.irfft(np.fft.rfft(voice) * mouth, size) * np.hanning(size)
    return np.asarray(0.3 * sound / np.abs(sound).max(), np.float32).ravel()


CASES = [
    Case("scripted-stateful", build_scripted(STATEFUL), draw_speech()),
    Case("scripted-stateful-ahead", build_scripted(RIGHT_CONTEXT), draw_speech()),
    Case("scripted-local-agreement", build_scripted(LOCAL_AGREEMENT), draw_speech()),
    Case("scripted-overlap", build_scripted(OVERLAP), draw_speech()),
    Case("parakeet-onnx", lambda _: ParakeetOnnx(TINY_PARAKEET_FOLDER, COVERED), read_speech()),
    Case("parakeet-nemo", build_nemo, read_speech(), needs=("torch", "nemo")),
    Case("parakeet-mlx", build_mlx, read_speech(), needs=("mlx", "parakeet_mlx")),
    Case("whisper", build_whisper, read_speech(), needs=("faster_whisper",)),
    Case("moonshine", lambda _: build_standard_registry().load_engine("moonshine-tiny-en"), build_vowels()),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    if chosen.name == "moonshine" and not moonshine.inspect_weights().is_available:
        pytest.skip("its weights are not here")
    if missing := [module for module in chosen.needs if find_spec(module) is None]:
        pytest.skip(f"{' and '.join(missing)} not installed: make test-extras")
    return chosen


@pytest.fixture(scope="module")
def engine(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return case.make(tmp_path_factory.mktemp(case.name))


@pytest.fixture
def windows(case: Case, engine: Engine) -> list[Window]:
    return [build_window(audio, engine) for audio in case.sounds]


def build_window(audio: NDArray[np.float32], engine: Engine) -> Window:
    quiet = audio.copy()
    quiet.flags.writeable = False
    return Window(
        quiet,
        engine.requirements.sample_rate or 16_000,
        0.0,
        left_context=0,
        new_samples=audio.size,
        right_context=0,
        is_last=True,
    )


def list_tokens(hypothesis: Hypothesis) -> tuple[tuple[Token, ...], tuple[Token, ...]]:
    return hypothesis.committed, hypothesis.volatile


def test_it_has_a_name_and_takes_at_least_one_window(engine: Engine) -> None:
    assert engine.name
    assert engine.max_batch_size >= 1
    assert engine.max_concurrency >= 1


def test_no_windows_have_no_hypotheses(engine: Engine) -> None:
    assert engine.decode([]) == []


def test_hypotheses_are_in_order_and_independent_of_the_batch(engine: Engine, windows: list[Window]) -> None:
    alone = [list_tokens(engine.decode([window])[0]) for window in windows]
    assert len(set(alone)) == len(windows), "the sounds must tell windows apart"
    assert [list_tokens(one) for one in engine.decode(windows)] == alone
    backwards = engine.decode(windows[::-1])
    assert [list_tokens(one) for one in backwards] == alone[::-1]
    twice = engine.decode([windows[0], windows[0]])
    assert [list_tokens(one) for one in twice] == [alone[0]] * 2


@pytest.mark.parametrize("seconds", [0.0, 0.001, 1.0])
def test_no_audio_and_silence_give_no_tokens(engine: Engine, seconds: float) -> None:
    silence = build_window(np.zeros(round(16_000 * seconds), np.float32), engine)
    assert [list_tokens(one) for one in engine.decode([silence])] == [((), ())]


def test_read_only_audio_is_accepted_and_not_changed(engine: Engine, windows: list[Window]) -> None:
    before = [window.audio.copy() for window in windows]
    engine.decode(windows)
    for window, audio in zip(windows, before, strict=True):
        assert np.array_equal(window.audio, audio)


def test_times_are_ordered_and_inside_the_window(engine: Engine, windows: list[Window]) -> None:
    for window, hypothesis in zip(windows, engine.decode(windows), strict=True):
        last = 0.0
        for token in (*hypothesis.committed, *hypothesis.volatile):
            if token.start is None:
                assert token.duration is None
                continue
            end = token.start + (token.duration or 0.0)
            assert last <= token.start <= end <= window.audio.size / window.sample_rate + 1e-6
            last = token.start


def test_an_engine_without_state_commits_nothing(engine: Engine, windows: list[Window]) -> None:
    if engine.requirements.strategy == "stateful":
        return
    for hypothesis in engine.decode(windows):
        assert hypothesis.committed == ()
        assert hypothesis.state is None


@pytest.mark.parametrize("pieces", [2, 3, 7, 16])
def test_a_stateful_decode_in_pieces_equals_one_decode(
    engine: Engine, windows: list[Window], pieces: int
) -> None:
    if engine.requirements.strategy != "stateful":
        return
    for window in windows:
        [at_once] = engine.decode([window])
        assert decode_in_pieces(engine, window, pieces) == to_absolute_times(at_once.committed)


def with_hotwords(window: Window, *terms: str) -> Window:
    words = Hotwords(tuple(Hotword(term, 4.0) for term in terms))
    return replace(window, options=DecodeOptions(hotwords=words))


def test_hotwords_affect_only_their_own_window(engine: Engine, windows: list[Window]) -> None:
    if engine.requirements.hotword_support != "boost":
        return
    alone = [list_tokens(engine.decode([window])[0]) for window in windows]
    others = [with_hotwords(window, "carol", "the", "bedroom window") for window in windows]
    mixed = [one for pair in zip(windows, others, strict=True) for one in pair]
    answers = [list_tokens(one) for one in engine.decode(mixed)]
    assert answers[::2] == alone
    assert answers[1::2] == [list_tokens(engine.decode([window])[0]) for window in others]


def test_hotwords_that_are_not_spoken_are_not_found(engine: Engine, windows: list[Window]) -> None:
    if engine.requirements.hotword_support != "boost":
        return
    terms = (Hotword("wednesday"), Hotword("garage"), Hotword("Zarathustra"))
    options = DecodeOptions(hotwords=Hotwords(terms))
    biased = [replace(window, options=options) for window in windows]
    alone = [[token.text for token in one.committed] for one in engine.decode(windows)]
    assert [[token.text for token in one.committed] for one in engine.decode(biased)] == alone


def test_hotwords_raise_recall_in_noise(engine: Engine, windows: list[Window]) -> None:
    if engine.requirements.hotword_support != "boost":
        return
    hits = [0, 0]
    for window in windows:
        for seed in range(6):
            noise = np.random.default_rng(seed).normal(0, 0.05, window.audio.size)
            noisy = replace(window, audio=(window.audio + noise).astype(np.float32))
            clean = list_words(engine.decode([window])[0])
            for number, one in enumerate((noisy, replace(with_hotwords(noisy, *clean), audio=noisy.audio))):
                words = list_words(engine.decode([one])[0])
                hits[number] += sum((Counter(clean) & Counter(words)).values())
    assert hits[1] > hits[0]


def list_words(hypothesis: Hypothesis) -> list[str]:
    return "".join(token.text for token in hypothesis.committed).split()


@pytest.mark.parametrize("pieces", [2, 5, 16])
def test_hotwords_in_pieces_equal_one_decode(engine: Engine, windows: list[Window], pieces: int) -> None:
    if engine.requirements.hotword_support != "boost":
        return
    for window in windows:
        one = with_hotwords(window, "carol", "bedroom", "seven")
        [at_once] = engine.decode([one])
        assert decode_in_pieces(engine, one, pieces) == to_absolute_times(at_once.committed)


def test_concurrent_threads_get_the_same_hypotheses(engine: Engine, windows: list[Window]) -> None:
    alone = [list_tokens(one) for one in engine.decode(windows)]
    together = threading.Barrier(engine.max_concurrency)

    def decode_windows() -> list[tuple[tuple[Token, ...], tuple[Token, ...]]]:
        together.wait(timeout=30)
        return [list_tokens(engine.decode([window])[0]) for window in windows]

    with ThreadPoolExecutor(engine.max_concurrency) as pool:
        answers = [pool.submit(decode_windows) for _ in range(engine.max_concurrency)]
        assert [answer.result() for answer in answers] == [alone] * engine.max_concurrency


def test_it_can_be_closed(case: Case, tmp_path: Path) -> None:
    case.make(tmp_path).close()
