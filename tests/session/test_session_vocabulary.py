"""A vocabulary in a session: what is said of it, and what it does to finals and partials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echoic.session.config import StreamConfig
from echoic.session.core import Session
from echoic.session.effects import ModelAnswer
from echoic.session.window import WindowNeeds
from echoic.text.vocabulary import Hotword, Style, Vocabulary, Wish
from support.play import Play, kind, texts, zeros
from support.speakers import saying

if TYPE_CHECKING:
    from typing import Literal

    from echoic.session.effects import ModelRequest


def play(
    text: str = "hello",
    vocabulary: Vocabulary | None = None,
    terms: Literal["none", "prompt", "boost"] = "none",
) -> Play:
    def model(_: ModelRequest) -> ModelAnswer:
        return ModelAnswer("parrot", WindowNeeds("plain", sample_rate=None, terms=terms))

    defaults = StreamConfig(vocabulary=vocabulary or Vocabulary())
    return Play(saying(text), Session(defaults=defaults), model=model)


def warned(frames: list[dict[str, object]]) -> list[object]:
    return [frame["code"] for frame in kind(frames, "warning")]


def test_finals_partials_and_the_transcript_say_what_was_meant() -> None:
    stream = play("the phase or")
    stream.send({"type": "config", "vocabulary": {"replacements": {"phase or": "Phasor"}}})
    (partial,) = stream.hear(zeros(1.5))
    final, transcript = stream.send({"type": "commit"})
    assert [one["text"] for one in (partial, final, transcript)] == ["the Phasor"] * 3


def test_what_the_server_brings_holds_without_a_config() -> None:
    stream = play("iot", Vocabulary(Wish((), {"IOT": "IoT"})))
    assert texts(stream.hear(zeros(2.0))) == ["IoT"]


def test_a_segment_that_was_heard_before_a_config_is_said_in_the_words_before_it() -> None:
    stream = play("one")
    stream.send({"type": "config", "vocabulary": {"replacements": {"one": "1"}}})
    stream.hear(zeros(1.0))
    frames = stream.send({"type": "config", "vocabulary": {}})
    assert texts(frames) == ["1"]
    assert texts(stream.hear(zeros(2.0))) == ["one"]


def test_terms_and_prompt_travel_with_every_window() -> None:
    stream = play(terms="boost")
    frames = stream.send({"type": "config", "vocabulary": {"terms": ["Zarathustra"]}})
    assert warned(frames) == []
    stream.hear(zeros(4.0))
    options = {decode.window.options for decode in stream.decodes}
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
    assert texts(stream.hear(zeros(2.0))) == ["1"]


def test_nobody_is_warned_of_what_only_the_server_asked_for() -> None:
    assert warned(play(vocabulary=Vocabulary(Wish((Hotword("a"),)))).send({"type": "config"})) == []


def test_a_model_that_reads_prompts_cannot_listen_where_prompts_are_switched_off() -> None:
    asked: dict[str, object] = {"type": "config", "vocabulary": {"terms": ["a"]}}
    assert warned(play(terms="prompt").send(asked)) == []
    off = play(vocabulary=Vocabulary(style=Style(None)), terms="prompt")
    assert warned(off.send(asked)) == ["vocabulary_unavailable"]


def test_it_is_told_where_replacements_are_switched_off() -> None:
    stream = play("one", Vocabulary(style=Style(replaces=False)))
    frames = stream.send({"type": "config", "vocabulary": {"replacements": {"one": "1"}}})
    assert warned(frames) == ["vocabulary_unavailable"]
    assert texts(stream.hear(zeros(2.0))) == ["one"]


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
    assert texts(stream.hear(zeros(2.0))) == ["1"]
