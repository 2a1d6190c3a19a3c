"""A vocabulary in a session: what is said of it, and what it does to finals and partials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from echoic.engines.scripted import LOCAL_AGREEMENT, STATEFUL, ScriptedEngine, draw_words
from echoic.interfaces.engine import EngineRequirements, OpenedModel
from echoic.session.config import StreamConfig
from echoic.session.session import Session
from echoic.text.vocabulary import Hotword, Vocabulary, VocabularyEntries, VocabularyPolicy
from support.play import SessionDriver, build_silence, filter_frames, frame_texts
from support.speakers import TimedScripted, build_fixed_engine

if TYPE_CHECKING:
    from typing import Literal

    from echoic.interfaces.engine import ModelRequest


def play(
    text: str = "hello",
    vocabulary: Vocabulary | None = None,
    terms: Literal["none", "prompt", "boost"] = "none",
) -> SessionDriver:
    def model(_: ModelRequest) -> OpenedModel:
        return OpenedModel("parrot", EngineRequirements("overlap", sample_rate=None, hotword_support=terms))

    defaults = StreamConfig(vocabulary=vocabulary or Vocabulary())
    return SessionDriver(build_fixed_engine(text), Session(defaults=defaults), model_resolver=model)


def warned(frames: list[dict[str, object]]) -> list[object]:
    return [frame["code"] for frame in filter_frames(frames, "warning")]


def test_finals_partials_and_the_transcript_say_what_was_meant() -> None:
    stream = play("the phase or")
    stream.send({"type": "config", "vocabulary": {"replacements": {"phase or": "Phasor"}}})
    (partial,) = stream.push_audio(build_silence(1.5))
    final, transcript = stream.send({"type": "commit"})
    assert [one["text"] for one in (partial, final, transcript)] == ["the Phasor"] * 3


def test_what_the_server_brings_holds_without_a_config() -> None:
    stream = play("iot", Vocabulary(VocabularyEntries((), {"IOT": "IoT"})))
    assert frame_texts(stream.push_audio(build_silence(2.0))) == ["IoT"]


def test_a_segment_that_was_heard_before_a_config_is_said_in_the_words_before_it() -> None:
    stream = play("one")
    stream.send({"type": "config", "vocabulary": {"replacements": {"one": "1"}}})
    stream.push_audio(build_silence(1.0))
    frames = stream.send({"type": "config", "vocabulary": {}})
    assert frame_texts(frames) == ["1"]
    assert frame_texts(stream.push_audio(build_silence(2.0))) == ["one"]


def test_terms_and_prompt_travel_with_every_window() -> None:
    stream = play(terms="boost")
    frames = stream.send({"type": "config", "vocabulary": {"terms": ["Zarathustra"]}})
    assert warned(frames) == []
    stream.push_audio(build_silence(4.0))
    options = {decode.window.options for decode in stream.requested_decodes}
    assert len(options) == 1
    (option,) = options
    assert option.hotwords.terms == (Hotword("Zarathustra"),)
    assert option.prompt == "Domain terms: Zarathustra."


def test_a_model_that_cannot_listen_for_terms_is_told_of_and_replacements_are_made_all_the_same() -> None:
    stream = play("one")
    asked = {"terms": ["Zarathustra"], "replacements": {"one": "1"}}
    frames = stream.send({"type": "config", "vocabulary": asked})
    assert warned(frames) == ["vocabulary_unavailable"]
    assert "parrot cannot listen for terms" in str(frames[0]["message"])
    assert frame_texts(stream.push_audio(build_silence(2.0))) == ["1"]


def test_nobody_is_warned_of_what_only_the_server_asked_for() -> None:
    assert (
        warned(play(vocabulary=Vocabulary(VocabularyEntries((Hotword("a"),)))).send({"type": "config"})) == []
    )


def test_a_model_that_reads_prompts_cannot_listen_where_prompts_are_switched_off() -> None:
    asked: dict[str, object] = {"type": "config", "vocabulary": {"terms": ["a"]}}
    assert warned(play(terms="prompt").send(asked)) == []
    off = play(vocabulary=Vocabulary(policy=VocabularyPolicy(None)), terms="prompt")
    assert warned(off.send(asked)) == ["vocabulary_unavailable"]


def test_it_is_told_where_replacements_are_switched_off() -> None:
    stream = play("one", Vocabulary(policy=VocabularyPolicy(replaces=False)))
    frames = stream.send({"type": "config", "vocabulary": {"replacements": {"one": "1"}}})
    assert warned(frames) == ["vocabulary_unavailable"]
    assert frame_texts(stream.push_audio(build_silence(2.0))) == ["one"]


def test_a_vocabulary_that_is_none_is_named_and_changes_nothing() -> None:
    stream = play("one")
    stream.send({"type": "config", "vocabulary": {"replacements": {"one": "1"}}})
    for bad, field in (
        ({"terms": "a"}, "vocabulary.terms"),
        ({"terms": ["a", ""]}, "vocabulary.terms[1]"),
        ({"replacements": {"a": None}}, "vocabulary.replacements[0]"),
        ("a", "vocabulary"),
    ):
        (error,) = stream.send({"type": "config", "vocabulary": bad})
        assert (error["code"], error["field"]) == ("invalid_config", field)
    assert frame_texts(stream.push_audio(build_silence(2.0))) == ["1"]


def phrases(play: SessionDriver, *, chunk: float = 0.8, overlap: float = 0.0, **meant: str) -> SessionDriver:
    replacements = {heard.replace("_", " "): text for heard, text in meant.items()}
    play.send(
        {
            "type": "config",
            "chunk_duration": chunk,
            "overlap_duration": overlap,
            "vocabulary": {"replacements": replacements},
        }
    )
    return play


@pytest.mark.parametrize(
    "engine",
    [TimedScripted(), ScriptedEngine(STATEFUL), ScriptedEngine(LOCAL_AGREEMENT)],
    ids=lambda e: e.requirements.strategy,
)
@pytest.mark.parametrize("chunk", [0.7, 0.8, 0.9, 1.0, 1.2, 5.0])
def test_a_phrase_is_found_wherever_its_finals_are_parted(engine: ScriptedEngine, chunk: float) -> None:
    stream = phrases(
        SessionDriver(engine), chunk=chunk, overlap=0.4, two_three="23", four="4", three_four_five="345"
    )
    stream.push_audio(draw_words(["one", "two", "three", "four", "five", "two"]))
    (transcript,) = filter_frames(stream.send({"type": "commit"}), "full_transcript")
    assert transcript["text"] == "one 23 4 five two"


def test_the_beginning_of_a_phrase_waits_for_the_next_final() -> None:
    stream = phrases(SessionDriver(TimedScripted()), two_three="23")
    assert frame_texts(stream.push_audio(draw_words(["one", "two"]))) == ["one"]
    assert frame_texts(stream.push_audio(draw_words(["four", "one"]))) == ["two four one"]


def test_it_waits_a_second_if_nothing_is_said() -> None:
    stream = phrases(SessionDriver(TimedScripted()), two_three="23")
    assert frame_texts(stream.push_audio(draw_words(["one", "two"]))) == ["one"]
    assert frame_texts(stream.push_audio(build_silence(0.8))) == []
    assert frame_texts(stream.push_audio(build_silence(0.8))) == ["two"]
    assert frame_texts(stream.push_audio(build_silence(0.8))) == []


def test_a_commit_delivers_it_at_the_very_end_of_a_window_too() -> None:
    stream = phrases(SessionDriver(TimedScripted()), two_three="23")
    stream.push_audio(draw_words(["one", "two"]))
    final, transcript = stream.send({"type": "commit"})
    assert (final["text"], final["segment_start"], final["segment_end"]) == ("two", 0.8, 0.8)
    assert transcript["text"] == "one two"
    assert [frame["type"] for frame in stream.send({"type": "commit"})] == ["full_transcript"]


def test_a_commit_then_decodes_nothing_and_what_repeats_at_the_next_seam_is_still_known() -> None:
    stream = phrases(play("one two"), chunk=2.0, overlap=0.5, two_three="23")
    assert frame_texts(stream.push_audio(build_silence(2.0))) == ["one"]
    decodes = len(stream.requested_decodes)
    assert frame_texts(stream.send({"type": "commit"})[:1]) == ["two"]
    assert len(stream.requested_decodes) == decodes


def test_a_partial_says_what_waits() -> None:
    stream = phrases(SessionDriver(TimedScripted()), two_three="23")
    stream.send({"type": "config", "partial_interval": 0.1, "min_partial_duration": 0.1})
    frames = stream.push_audio(draw_words(["one", "two"])) + stream.push_audio(draw_words(["three"]))
    assert filter_frames(frames, "partial")[-1]["text"] == "23"
