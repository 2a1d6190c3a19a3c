"""Whisper on faster-whisper, with weights that packages ship; ``make test-extras``."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tools.benchmarks.decoding import CachingEngine, stream_through_session
from tools.benchmarks.recordings import filter_by_name, find_speech_folder, load_recordings

pytest.importorskip("faster_whisper", reason="faster-whisper is not installed: make test-extras")

from echoic.engines.models import build_standard_registry
from echoic.engines.settings import EngineSettings
from echoic.engines.silero import SileroModel
from echoic.engines.whisper import MAX_PIECE_SAMPLES, Whisper, WhisperOptions
from echoic.errors import ModelUnavailable
from echoic.evaluate.metrics import count_word_errors
from echoic.evaluate.normalize import normalize_text
from echoic.evaluate.offline import transcribe_offline
from echoic.interfaces.engine import DecodeOptions, ModelRequest, Window
from echoic.media import read_audio
from echoic.session.config import StreamConfig
from echoic.session.session import Session
from support.session_driver import SessionDriver, filter_frames, frame_texts
from support.whisper_models import BASE, TINY_ENGLISH, fetch_weights, write_whisper_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from echoic.interfaces.engine import Hypothesis, Token
    from tools.benchmarks.recordings import BenchmarkRecording

pytestmark = pytest.mark.timeout(600)
SPEECH = find_speech_folder()
COMMANDS = Path(__file__).parents[2] / "fixtures" / "commands"
real_speech = pytest.mark.skipif(SPEECH is None, reason="no recordings: ECHOIC_SPEECH names no folder")


@pytest.fixture(scope="module")
def tiny() -> Iterator[Whisper]:
    engine = Whisper(fetch_weights(TINY_ENGLISH), "whisper-tiny.en")
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def base() -> Iterator[Whisper]:
    engine = Whisper(fetch_weights(BASE))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def silero() -> SileroModel:
    return SileroModel()


def window(audio: NDArray[np.float32], language: str | None = None, *, last: bool = True) -> Window:
    samples = np.ascontiguousarray(audio, np.float32)
    samples.flags.writeable = False
    options = DecodeOptions(language)
    return Window(
        samples,
        16_000,
        0.0,
        left_context=0,
        new_samples=len(samples),
        right_context=0,
        is_last=last,
        options=options,
    )


def join_text(hypothesis: Hypothesis) -> str:
    return "".join(token.text for token in hypothesis.volatile).strip()


def list_volatile(hypotheses: list[Hypothesis]) -> list[tuple[Token, ...]]:
    return [hypothesis.volatile for hypothesis in hypotheses]


def read_commands() -> dict[str, NDArray[np.float32]]:
    """Return the sounds of the spoken read_commands by what they say, in a fixed order."""
    files = sorted(COMMANDS.glob("*.flac"))
    return {file.stem.replace("-", " "): np.concatenate(list(read_audio(file, 16_000))) for file in files}


def find_recordings(*prefixes: str) -> list[BenchmarkRecording]:
    assert SPEECH is not None
    return filter_by_name(load_recordings(SPEECH), *prefixes)


def test_a_sentence_is_transcribed(tiny: Whisper) -> None:
    [hypothesis] = tiny.decode([window(read_commands()["what time is it in tokyo"])])
    assert join_text(hypothesis) == "What time is it in Tokyo?"
    assert (hypothesis.committed, hypothesis.state) == ((), None)


def test_every_word_has_a_time_and_a_confidence(tiny: Whisper) -> None:
    audio = read_commands()["what time is it in tokyo"]
    quiet = np.zeros(16_000, np.float32)
    [hypothesis] = tiny.decode([window(np.concatenate([quiet, audio, quiet]))])
    starts = [token.start or 0.0 for token in hypothesis.volatile]
    ends = [start + (token.duration or 0.0) for start, token in zip(starts, hypothesis.volatile, strict=True)]
    assert starts == sorted(starts)
    assert starts[1] > 0.9
    assert 0 <= starts[0] < ends[-1] < 3.1
    assert all(0 <= (token.confidence or 0.0) <= 1 for token in hypothesis.volatile)
    assert max(token.confidence or 0.0 for token in hypothesis.volatile) > 0.9


@pytest.mark.parametrize("last", [True, False])
def test_noise_and_silence_give_no_text(tiny: Whisper, *, last: bool) -> None:
    chance = np.random.default_rng(0)
    times = np.arange(80_000) / 16_000
    noises = [
        np.zeros(80_000),
        np.zeros(0),
        chance.standard_normal(80_000) * 0.05,
        chance.standard_normal(80_000) * 0.001,
        np.cumsum(chance.standard_normal(80_000)) * 0.003,
        0.2 * np.sin(2 * np.pi * 50 * times),
    ]
    hypothesis = tiny.decode([window(noise.astype(np.float32), last=last) for noise in noises])
    assert [join_text(one) for one in hypothesis] == [""] * len(noises)


def test_more_than_thirty_seconds_are_decoded_in_pieces(tiny: Whisper) -> None:
    audio = np.zeros(MAX_PIECE_SAMPLES + 40_000, np.float32)
    command = read_commands()["what time is it in tokyo"]
    audio[1_000 : 1_000 + len(command)] = command
    audio[-len(command) :] = command
    [hypothesis] = tiny.decode([window(audio)])
    words = normalize_text(join_text(hypothesis))
    assert words == normalize_text("what time is it in tokyo") * 2
    assert (hypothesis.volatile[-1].start or 0.0) > 30.0


def test_another_sample_rate_is_rejected(tiny: Whisper) -> None:
    with pytest.raises(ValueError, match="16000 Hz"):
        tiny.decode(
            [
                Window(
                    np.ones(8_000, np.float32), 8_000, 0.0, left_context=0, new_samples=8_000, right_context=0
                )
            ]
        )


def test_the_languages_are_those_of_the_model(tiny: Whisper, base: Whisper) -> None:
    assert tiny.languages == ("en",)
    assert {"en", "de", "ja"} <= set(base.languages)


def test_the_language_is_hinted_or_detected(base: Whisper) -> None:
    audio = read_commands()["what time is it in london"]
    without, english, region, unknown, german = (
        join_text(base.decode([window(audio, hint)])[0]) for hint in (None, "en", "en-US", "tlh", "de")
    )
    assert normalize_text(without) == normalize_text("what time is it in london")
    assert without == english == region == unknown
    assert german != english


def test_a_prompt_affects_only_its_own_window() -> None:
    engine = Whisper(fetch_weights(BASE))
    sound = window(read_commands()["call carol now"], "en")
    prompt = "Call Karol now. Call Phrank now."
    told = replace(sound, options=DecodeOptions("en", prompt=prompt))
    before, after, again = engine.decode([sound, told, sound])
    assert "Karol" in join_text(after)
    assert "Karol" not in join_text(before)
    assert list_volatile([before]) == list_volatile([again])
    assert engine.requirements.hotword_support == "prompt"
    engine.close()


def test_a_prompt_in_the_options_changes_spelling() -> None:
    audio = read_commands()["call carol now"]
    folder = fetch_weights(BASE)
    told = Whisper(folder, options=WhisperOptions(prompt="Call Karol now. Call Phrank now."))
    untold = Whisper(folder, options=WhisperOptions(prompt=" "))
    assert "Karol" in join_text(told.decode([window(audio, "en")])[0])
    assert "Carol" in join_text(untold.decode([window(audio, "en")])[0])
    told.close()
    untold.close()


def test_broken_weights_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="broken") as refused:
        Whisper(write_whisper_folder(tmp_path / "made up"), "whisper-tiny.en")
    assert refused.value.install == "echoic models get whisper-tiny.en"
    folder = write_whisper_folder(tmp_path / "cut off")
    whole = (fetch_weights(TINY_ENGLISH) / "model.bin").read_bytes()
    (folder / "model.bin").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelUnavailable, match="broken"):
        Whisper(folder)


def test_the_registry_loads_the_folder_in_the_settings(tiny: Whisper, tmp_path: Path) -> None:
    folder = fetch_weights(TINY_ENGLISH)
    registry = build_standard_registry(EngineSettings(models_dir=tmp_path, whisper_model=str(folder)))
    choice = registry.resolve_model(ModelRequest("whisper-1", "standard"), fallback=False)
    engine = registry.load_engine(choice.model_id)
    [row] = [row for row in registry.describe_models() if row.id == choice.model_id]
    assert (row.available, row.word_timestamps) == (True, engine.requirements.has_word_times)
    audio = window(read_commands()["what time is it in tokyo"])
    assert engine.decode([audio]) == tiny.decode([audio])
    engine.close()


def test_a_session_gives_each_command_once_with_its_time(tiny: Whisper, silero: SileroModel) -> None:
    sentences = ("what time is it in tokyo", "please stop the timer", "what time is it in london")
    audio: list[NDArray[np.float32]] = []
    for sentence in sentences:
        audio += [np.zeros(16_000, np.float32), read_commands()[sentence]]
    audio.append(np.zeros(32_000, np.float32))
    play = SessionDriver(tiny, Session(silero.build_detector, StreamConfig(word_timestamps=True)))
    play.push_in_messages(np.concatenate(audio), [1_600] * 200)
    finals = filter_frames(play.frames, "final")
    assert normalize_text(" ".join(frame_texts(finals))) == normalize_text(" ".join(sentences))
    starts = [word["start"] for final in finals for word in final["words"]]  # type: ignore[attr-defined]
    assert starts == sorted(starts)
    for final in finals:
        words: Any = final["words"]
        assert " ".join(word["word"] for word in words) == final["text"]
        assert all(a["end"] <= b["start"] <= b["end"] <= final["segment_end"] for a, b in pairwise(words))
    assert starts[0] == pytest.approx(1.0, abs=0.3)


@real_speech
@pytest.mark.speech
@pytest.mark.parametrize("name", ["long_dev_1688", "long_dev_2609"])
def test_streaming_costs_few_words_and_few_decodes(tiny: Whisper, silero: SileroModel, name: str) -> None:
    """Measured: 0.3 points and 0.7 decodes a second with partials; a naive join is tens of points."""
    [recording] = find_recordings(name)
    audio, engine = recording.load_audio(), Counting(tiny)
    whole = transcribe_offline(engine, silero.build_detector, audio).text
    engine.decoded = 0
    played = stream_through_session(engine, silero, audio, 0.1, partials=True)
    gap = (
        count_word_errors(recording.reference, " ".join(played.texts)).rate
        - count_word_errors(recording.reference, whole).rate
    )
    assert gap < 2.0
    assert engine.decoded < 0.9 * len(audio) / 16_000
    assert stream_through_session(engine, silero, audio, 0.5, partials=False).finals == played.finals


class Counting(CachingEngine):
    decoded = 0

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        self.decoded += len(windows)
        return super().decode(windows)
