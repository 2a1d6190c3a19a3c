from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.text.agreed_text import AgreedText, Words


def words(text: str) -> Words:
    return tuple(text.split())


def build_text(emitted: str) -> AgreedText:
    text = AgreedText()
    text.close_utterance(words(emitted))
    return text


def test_a_word_is_emitted_when_both_decodes_agree() -> None:
    text = AgreedText()
    assert text.add_hypothesis(words("And so my fell"), words("And so, my")) == words("And so my")
    assert text.emitted == words("And so my")


def test_nothing_is_emitted_without_an_earlier_decode() -> None:
    assert AgreedText().add_hypothesis(words("And so"), None) == ()


def test_emitted_words_are_not_emitted_again() -> None:
    text = AgreedText()
    text.add_hypothesis(words("And so my fell"), words("And so"))
    assert text.add_hypothesis(words("And so my fellow Americans"), words("and so my fellow a")) == words(
        "my fellow"
    )


def test_case_and_punctuation_do_not_count() -> None:
    text = AgreedText()
    assert text.add_hypothesis(words("It was: the best."), words("it was the Best,")) == words(
        "It was: the best."
    )


def test_a_disagreement_is_skipped_after_four_equal_words() -> None:
    text = AgreedText()
    before = words("gallege being cut by a")
    assert text.add_hypothesis(before, words("galley being cut")) == ()
    now, probe = words("gallege being cut by a knife or"), words("galleach being cut by a knife")
    assert text.add_hypothesis(now, probe) == words("gallege being cut by a")
    assert text.close_utterance(words("galley being cut by a knife")) == words("knife")


def test_words_after_a_disagreement_need_the_last_decode_too() -> None:
    text = AgreedText()
    text.add_hypothesis(words("gallege"), None)
    assert text.add_hypothesis(words("gallege being cut by a"), words("galleach being cut by a")) == ()


def test_the_close_emits_the_rest() -> None:
    text = build_text("It was the")
    assert text.close_utterance(words("It was the best of times.")) == words("best of times.")
    assert text.emitted == words("It was the best of times.")


@pytest.mark.parametrize(
    ("emitted", "whole", "rest"),
    [
        ("think Mr. Hell", "think Mr. Hale, you have", "you have"),
        ("by a law,", "My Allah, replied the", "replied the"),
        ("right into using", "right into reducing such", "such"),
        ("who resides in", "who recited the first", "the first"),
        ("a b c", "a c d", "d"),
        ("a c", "a b c d", "d"),
        ("one two", "one", ""),
        ("one", "", ""),
        ("", "one two", "one two"),
        ("no no", "no no no", "no"),
    ],
)
def test_a_changed_decode_is_aligned_to_the_emitted_words(emitted: str, whole: str, rest: str) -> None:
    assert build_text(emitted).close_utterance(words(whole)) == words(rest)


@pytest.mark.parametrize(("most", "emitted"), [(None, "a b c"), (9, "a b c"), (2, "a b"), (1, "a"), (0, "")])
def test_a_limit_delays_words_until_the_close(most: int | None, emitted: str) -> None:
    text = AgreedText()
    assert text.add_hypothesis(words("a b c d"), words("a b c x"), most) == words(emitted)
    assert text.emitted + text.close_utterance(words("a b c d e")) == words("a b c d e")


def test_emitted_words_count_towards_the_limit() -> None:
    text = build_text("a b")
    assert text.add_hypothesis(words("a b c d e"), words("a b c d e"), 3) == words("c")
    assert text.add_hypothesis(words("a b c d e"), words("a b c d e"), 1) == ()


def test_words_beyond_emits_nothing() -> None:
    text = build_text("It was")
    assert text.words_beyond(words("It was the best")) == words("the best")
    assert text.words_beyond(words("It was the best")) == words("the best")
    assert text.emitted == words("It was")


texts = st.lists(st.sampled_from(["a", "b", "c"]), max_size=8).map(tuple)


@given(st.lists(st.tuples(texts, st.none() | texts)), texts)
def test_emitted_words_are_the_sum_of_the_results(
    growing: list[tuple[Words, Words | None]], whole: Words
) -> None:
    text = AgreedText()
    emitted: Words = ()
    for decode, probe in growing:
        emitted += text.add_hypothesis(decode, probe)
        assert text.emitted == emitted
    assert text.emitted == emitted
    emitted += text.close_utterance(whole)
    assert text.emitted == emitted


@given(
    st.lists(st.integers(min_value=0, max_value=99), unique=True).map(lambda n: tuple(map(str, n))), st.data()
)
def test_consistent_decodes_give_every_word_once(whole: Words, data: st.DataObject) -> None:
    text = AgreedText()
    for end in sorted(data.draw(st.lists(st.integers(min_value=0, max_value=len(whole))))):
        text.add_hypothesis(whole[:end], whole[: data.draw(st.integers(min_value=0, max_value=end))])
    text.close_utterance(whole)
    assert text.emitted == whole


def test_words_emitted_beyond_a_split_start_the_next_utterance() -> None:
    text = AgreedText()
    heard = ("we", "play", "back", "audio", "this", "tool", "allows")
    assert text.add_hypothesis((*heard, "you"), heard) == heard
    until_the_cut = ("We", "play", "back", "audio.")
    assert text.close_utterance(until_the_cut) == ()
    assert text.find_words_after_split(until_the_cut) == ("this", "tool", "allows")
    following = AgreedText(text.find_words_after_split(until_the_cut))
    assert following.words_beyond(("This", "tool", "allows", "you", "to")) == ("you", "to")


def test_an_utterance_that_ended_at_a_pause_has_no_surplus() -> None:
    text = AgreedText()
    text.add_hypothesis(("one", "two", "three"), ("one", "two"))
    text.close_utterance(("one", "two", "three", "four"))
    assert text.find_words_after_split(("one", "two", "three", "four")) == ()
