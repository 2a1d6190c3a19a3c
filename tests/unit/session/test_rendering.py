"""Tests of the frames that a session builds."""

from __future__ import annotations

from dataclasses import fields
from typing import Literal

import pytest
from msgspec import UNSET

from echoic.interfaces.engine import EngineRequirements, OpenedModel
from echoic.protocol.frames import Configured
from echoic.session.config import Capabilities, DiarizationOptions, StreamConfig
from echoic.session.decoding.strategy import TimedWord
from echoic.session.rendering import build_configured, build_warnings, join_words
from echoic.text.vocabulary import Hotword, Vocabulary, VocabularyEntries, VocabularyPolicy

TERMS = VocabularyEntries(terms=(Hotword("Zarathustra"),))
REPLACEMENTS = VocabularyEntries(replacements={"one": "1"})


def build_model(
    hotword_support: Literal["none", "prompt", "boost"] = "none", languages: tuple[str, ...] = ()
) -> OpenedModel:
    requirements = EngineRequirements("overlap", hotword_support=hotword_support)
    return OpenedModel("small", requirements, languages=languages)


def list_warnings(config: StreamConfig, model: OpenedModel) -> list[str]:
    return [warning.code for warning in build_warnings(config, model, Capabilities(), is_new_model=False)]


def test_words_are_joined_by_single_spaces() -> None:
    assert join_words([TimedWord("good"), TimedWord("morning")]) == "good morning"


def test_the_status_repeats_the_settings() -> None:
    config = StreamConfig(
        sample_rate=8_000, channels=2, audio_format="s16le", language="en", partial_interval=0.7
    )
    status = build_configured(config, build_model(), Capabilities(), ("zoom",))
    names = {field.name for field in fields(Configured)} & {field.name for field in fields(StreamConfig)}
    computed = {"model_variant", "diarization", "insights", "resumable"}
    for name in names - computed:
        assert getattr(status, name) == getattr(config, name), name
    assert (status.model_variant, status.active_model, status.ignored) == ("standard", "small", ("zoom",))
    assert (status.diarization, status.insights, status.resumable) == (False, False, UNSET)


def test_the_status_denies_unavailable_features() -> None:
    config = StreamConfig(word_timestamps=True, diarization=DiarizationOptions())
    status = build_configured(config, build_model(), Capabilities(), ())
    assert (status.word_timestamps, status.diarization) == (False, False)
    available = build_configured(config, build_model(), Capabilities(diarization=None), ())
    assert available.diarization is True


@pytest.mark.parametrize(
    ("language", "languages", "is_warned"),
    [
        ("de", ("en",), True),
        ("en", ("en",), False),
        ("en-GB", ("en",), False),
        ("EN_us", ("en",), False),
        (None, ("en",), False),
        ("de", (), False),
    ],
)
def test_an_unsupported_language_is_warned_about(
    language: str | None, languages: tuple[str, ...], *, is_warned: bool
) -> None:
    codes = list_warnings(StreamConfig(language=language), build_model(languages=languages))
    assert codes == (["language_unsupported"] if is_warned else [])


def test_missing_features_are_warned_about_in_order() -> None:
    config = StreamConfig(word_timestamps=True, diarization=DiarizationOptions(store_audio=True))
    assert list_warnings(config, build_model()) == [
        "diarization_unavailable",
        "audio_persistence_unavailable",
        "word_timestamps_unavailable",
    ]


def test_a_fallback_is_warned_about_only_for_a_new_model() -> None:
    model = OpenedModel("small", EngineRequirements("overlap"), fallback_reason="It stands in.")
    (warning,) = build_warnings(StreamConfig(), model, Capabilities(), is_new_model=True)
    assert (warning.code, warning.original_model, warning.active_model) == (
        "model_fallback",
        "parakeet",
        "small",
    )
    assert list_warnings(StreamConfig(), model) == []


@pytest.mark.parametrize(
    ("support", "template", "is_warned"),
    [
        ("none", "Terms: {terms}.", True),
        ("prompt", "Terms: {terms}.", False),
        ("prompt", None, True),
        ("boost", None, False),
    ],
)
def test_terms_are_warned_about_if_the_model_cannot_use_them(
    support: Literal["none", "prompt", "boost"], template: str | None, *, is_warned: bool
) -> None:
    vocabulary = Vocabulary(policy=VocabularyPolicy(template), session=TERMS)
    codes = list_warnings(StreamConfig(vocabulary=vocabulary), build_model(support))
    assert codes == (["vocabulary_unavailable"] if is_warned else [])


def test_replacements_that_are_switched_off_are_warned_about() -> None:
    vocabulary = Vocabulary(policy=VocabularyPolicy(replaces=False), session=REPLACEMENTS)
    assert list_warnings(StreamConfig(vocabulary=vocabulary), build_model()) == ["vocabulary_unavailable"]
    assert not vocabulary.replacements


def test_entries_of_the_server_cause_no_warning() -> None:
    assert list_warnings(StreamConfig(vocabulary=Vocabulary(TERMS)), build_model()) == []
