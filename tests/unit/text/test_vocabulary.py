from __future__ import annotations

import json

import pytest

from echoic.text.vocabulary import (
    MAX_REPLACEMENTS,
    MAX_TERM_LENGTH,
    MAX_TERMS,
    MAX_TOTAL_TERM_CHARACTERS,
    Hotword,
    Vocabulary,
    VocabularyEntries,
    VocabularyError,
    VocabularyPolicy,
    parse_replacements,
    parse_terms,
    parse_vocabulary,
)


def names(terms: tuple[Hotword, ...]) -> list[str]:
    return [one.term for one in terms]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Acme\nPhasor\nAcme\nXJ-12\n", ["Acme", "Phasor", "XJ-12"]),
        ("\ufeff  IoT  Sensor Hub \r\n\r\nC++\r\n", ["IoT Sensor Hub", "C++"]),
        ('["Alpha", "Beta", "Alpha", 5]', ["Alpha", "Beta", "5"]),
        ('{"terms": ["Alpha"], "since": 2020}', ["Alpha"]),
        ("", []),
        ("[]", []),
    ],
)
def test_a_file_of_terms_is_lines_or_json(text: str, terms: list[str]) -> None:
    assert names(parse_terms(text)) == terms


def test_a_term_may_have_a_boost() -> None:
    found = parse_terms('["a", {"term": "b", "boost": 2}, {"term": "c"}]')
    assert found == (Hotword("a"), Hotword("b", 2.0), Hotword("c"))


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ('{"mispell": "misspell", "XJ12": "XJ-12", "five": 5}', None),
        ("colour=color\nIOT,IoT\n", {"colour": "color", "IOT": "IoT"}),
        ("a, b = c, d\n\n x == y \n", {"a, b": "c, d", "x": "= y"}),
        ("", {}),
    ],
)
def test_a_file_of_replacements_is_a_json_object_or_lines(text: str, pairs: dict[str, str] | None) -> None:
    expected = {key: str(value) for key, value in json.loads(text).items()} if pairs is None else pairs
    assert parse_replacements(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, ", "JSON"),
        ('{"words": []}', "JSON list of terms"),
        ('{"terms": "secret"}', "terms must be a list"),
        ('["ok", null]', "terms[1] must be text"),
        ('["ok", ["secret"]]', "terms[1] must be text"),
        ('[{"term": "secret", "boost": "high"}]', "terms[0].boost must be a number from 0 to 10"),
        ('[{"term": "secret", "boost": true}]', "terms[0].boost must be"),
        ('[{"boost": 1}]', "terms[0].term must be text"),
        ("ok\n" + "secret" * MAX_TERM_LENGTH, "line 2 must be text of 1 to 200"),
        ("ok\nsecret\x00", "line 2 must be text"),
        ("\n".join(f"secret{n}" for n in range(MAX_TERMS + 1)), f"at most {MAX_TERMS} terms"),
        (
            "\n".join(f"secret{n:{MAX_TERM_LENGTH - 6}}".replace(" ", "x") for n in range(101)),
            f"at most {MAX_TOTAL_TERM_CHARACTERS} characters in all",
        ),
    ],
)
def test_an_invalid_term_is_named_by_its_location_only(text: str, said: str) -> None:
    with pytest.raises(VocabularyError) as caught:
        parse_terms(text)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "JSON"),
        ('["secret"]', "object"),
        ("ok=fine\nsecret", "line 2 must be heard=meant or heard,meant"),
        ("secret=", "line 1 must be text"),
        ("=secret", "line 1 must be text"),
        ('{"secret": ""}', "replacements[0] must be text"),
        ('{"a": "b", "secret": ["x"]}', "replacements[1] must be text"),
        (
            "\n".join(f"secret{n}=x" for n in range(MAX_REPLACEMENTS + 1)),
            f"at most {MAX_REPLACEMENTS} replacements",
        ),
    ],
)
def test_an_invalid_replacement_is_named_by_location_only(text: str, said: str) -> None:
    with pytest.raises(VocabularyError) as caught:
        parse_replacements(text)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_entries_of_the_session_come_before_the_servers() -> None:
    house = Vocabulary(
        VocabularyEntries((Hotword("acme"), Hotword("beta", 2.0)), {"a": "house", "b": "house"})
    )
    first = house.with_session_entries(
        parse_vocabulary({"terms": ["gamma", {"term": "beta"}], "replacements": {"a": "own"}})
    )
    assert first.hotwords.terms == (Hotword("gamma"), Hotword("beta"), Hotword("acme"))
    assert first.prompt == "Domain terms: gamma, beta, acme."
    assert first.replacements.replace_text("a b") == "own house"
    second = first.with_session_entries(parse_vocabulary({"replacements": {"b": "own"}}))
    assert names(second.hotwords.terms) == ["acme", "beta"]
    assert second.replacements.replace_text("a b") == "house own"
    assert second.with_session_entries(VocabularyEntries()) == house


def test_a_prompt_has_at_most_64_terms() -> None:
    wish = VocabularyEntries(tuple(Hotword(f"t{number}") for number in range(70)))
    told = Vocabulary(wish, VocabularyPolicy("Say {terms}!")).prompt
    assert told == f"Say {', '.join(f't{number}' for number in range(64))}!"
    assert Vocabulary(wish, VocabularyPolicy(None)).prompt is None
    assert Vocabulary().prompt is None


def test_replacements_can_be_switched_off() -> None:
    off = Vocabulary(
        VocabularyEntries((), {"a": "b"}), VocabularyPolicy(replaces=False)
    ).with_session_entries(VocabularyEntries((), {"c": "d"}))
    assert not off.replacements


def test_case_sensitivity_applies_to_session_entries() -> None:
    strict = Vocabulary(policy=VocabularyPolicy(case_sensitive=True)).with_session_entries(
        VocabularyEntries((), {"IOT": "IoT"})
    )
    assert strict.replacements.replace_text("iot IOT") == "iot IoT"


def test_vocabularies_compare_by_value_hotwords_by_identity() -> None:
    one, other = (Vocabulary(VocabularyEntries((Hotword("a"),))) for _ in range(2))
    assert one == other
    assert one.hotwords != other.hotwords
    assert one.with_session_entries(VocabularyEntries((), {"a": "b"})) != one
