"""Tests of the recognition pipeline: vocabulary in windows, finals and partials."""

from __future__ import annotations

from typing import Literal

import pytest

from echoic.engines.scripted import LOCAL_AGREEMENT, STATEFUL, ScriptedEngine, draw_words
from echoic.interfaces.engine import EngineRequirements, ModelRequest, OpenedModel
from echoic.session.config import StreamConfig
from echoic.session.session import Session
from echoic.text.vocabulary import Hotword, Vocabulary, VocabularyEntries
from support.session_driver import SessionDriver, build_silence, filter_frames, frame_texts
from support.simple_engines import TimedScripted, build_fixed_engine


def build_driver(
    text: str = "hello",
    vocabulary: Vocabulary | None = None,
    terms: Literal["none", "prompt", "boost"] = "none",
) -> SessionDriver:
    def resolve(_: ModelRequest) -> OpenedModel:
        return OpenedModel("fixed", EngineRequirements("overlap", sample_rate=None, hotword_support=terms))

    defaults = StreamConfig(vocabulary=vocabulary or Vocabulary())
    return SessionDriver(build_fixed_engine(text), Session(defaults=defaults), model_resolver=resolve)


def set_phrases(
    driver: SessionDriver, *, chunk: float = 0.8, overlap: float = 0.0, **replacements: str
) -> SessionDriver:
    table = {heard.replace("_", " "): text for heard, text in replacements.items()}
    driver.send(
        {
            "type": "config",
            "chunk_duration": chunk,
            "overlap_duration": overlap,
            "vocabulary": {"replacements": table},
        }
    )
    return driver


def test_entries_of_the_server_apply_without_a_config() -> None:
    stream = build_driver("iot", Vocabulary(VocabularyEntries((), {"IOT": "IoT"})))
    assert frame_texts(stream.push_audio(build_silence(2.0))) == ["IoT"]


def test_a_config_replaces_words_only_of_later_segments() -> None:
    stream = build_driver("one")
    stream.send({"type": "config", "vocabulary": {"replacements": {"one": "1"}}})
    stream.push_audio(build_silence(1.0))
    frames = stream.send({"type": "config", "vocabulary": {}})
    assert frame_texts(frames) == ["1"]
    assert frame_texts(stream.push_audio(build_silence(2.0))) == ["one"]


def test_every_window_carries_hotwords_and_prompt() -> None:
    stream = build_driver(terms="boost")
    frames = stream.send({"type": "config", "vocabulary": {"terms": ["Zarathustra"]}})
    assert filter_frames(frames, "warning") == []
    stream.push_audio(build_silence(4.0))
    options = {decode.window.options for decode in stream.requested_decodes}
    assert len(options) == 1
    (option,) = options
    assert option.hotwords.terms == (Hotword("Zarathustra"),)
    assert option.prompt == "Domain terms: Zarathustra."


@pytest.mark.parametrize(
    "engine",
    [TimedScripted(), ScriptedEngine(STATEFUL), ScriptedEngine(LOCAL_AGREEMENT)],
    ids=lambda e: e.requirements.strategy,
)
@pytest.mark.parametrize("chunk", [0.7, 0.8, 0.9, 1.0, 1.2, 5.0])
def test_a_phrase_is_replaced_across_finals(engine: ScriptedEngine, chunk: float) -> None:
    stream = set_phrases(
        SessionDriver(engine), chunk=chunk, overlap=0.4, two_three="23", four="4", three_four_five="345"
    )
    stream.push_audio(draw_words(["one", "two", "three", "four", "five", "two"]))
    (transcript,) = filter_frames(stream.send({"type": "commit"}), "full_transcript")
    assert transcript["text"] == "one 23 4 five two"


def test_the_start_of_a_phrase_is_held_until_the_next_final() -> None:
    stream = set_phrases(SessionDriver(TimedScripted()), two_three="23")
    assert frame_texts(stream.push_audio(draw_words(["one", "two"]))) == ["one"]
    assert frame_texts(stream.push_audio(draw_words(["four", "one"]))) == ["two four one"]


def test_a_held_phrase_is_emitted_after_a_second_of_silence() -> None:
    stream = set_phrases(SessionDriver(TimedScripted()), two_three="23")
    assert frame_texts(stream.push_audio(draw_words(["one", "two"]))) == ["one"]
    assert frame_texts(stream.push_audio(build_silence(0.8))) == []
    assert frame_texts(stream.push_audio(build_silence(0.8))) == ["two"]
    assert frame_texts(stream.push_audio(build_silence(0.8))) == []


def test_a_commit_emits_held_words_without_new_audio() -> None:
    stream = set_phrases(SessionDriver(TimedScripted()), two_three="23")
    stream.push_audio(draw_words(["one", "two"]))
    final, transcript = stream.send({"type": "commit"})
    assert (final["text"], final["segment_start"], final["segment_end"]) == ("two", 0.8, 0.8)
    assert transcript["text"] == "one two"
    assert [frame["type"] for frame in stream.send({"type": "commit"})] == ["full_transcript"]


def test_emitting_held_words_decodes_nothing() -> None:
    stream = set_phrases(build_driver("one two"), chunk=2.0, overlap=0.5, two_three="23")
    assert frame_texts(stream.push_audio(build_silence(2.0))) == ["one"]
    decodes = len(stream.requested_decodes)
    assert frame_texts(stream.send({"type": "commit"})[:1]) == ["two"]
    assert len(stream.requested_decodes) == decodes


def test_a_partial_contains_held_words() -> None:
    stream = set_phrases(SessionDriver(TimedScripted()), two_three="23")
    stream.send({"type": "config", "partial_interval": 0.1, "min_partial_duration": 0.1})
    frames = stream.push_audio(draw_words(["one", "two"])) + stream.push_audio(draw_words(["three"]))
    assert filter_frames(frames, "partial")[-1]["text"] == "23"
