from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from echoic.session.output_queue import Transcript


def test_texts_are_joined_by_single_spaces() -> None:
    transcript = Transcript()
    for text in ("Good morning", "", "everyone."):
        transcript.add(text)
    assert transcript.text == "Good morning everyone."


def test_taking_it_begins_a_new_one() -> None:
    transcript = Transcript()
    transcript.add("one")
    assert transcript.take_text() == "one"
    assert transcript.take_text() == ""
    transcript.add("two")
    assert transcript.text == "two"


@given(st.lists(st.lists(st.from_regex(r"\w+", fullmatch=True)).map(" ".join)))
def test_no_word_is_lost_or_put_in(texts: list[str]) -> None:
    transcript = Transcript()
    for text in texts:
        transcript.add(text)
    assert transcript.text.split() == " ".join(texts).split()
