from __future__ import annotations

import time
import tracemalloc
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.text.replacements import Edit, Replacements, ReplacementTable


def replaced(text: str, table: dict[str, str], *, case_sensitive: bool = False) -> str:
    return Replacements(ReplacementTable(table, case_sensitive=case_sensitive)).replace_text(text)


def edited(words: list[str], replacements: Replacements) -> list[str]:
    said: list[str] = []
    done = 0
    for edit in replacements.find_edits(words):
        said += [*words[done : edit.first], *edit.words]
        done = edit.end
    return said + words[done:]


@pytest.mark.parametrize(
    ("table", "text", "becomes"),
    [
        # the semantics of where the settings come from
        (
            {"IOT": "IoT", "color": "colour"},
            "The new IOT device improves color accuracy.",
            "The new IoT device improves colour accuracy.",
        ),
        ({"mispell": "misspell"}, "this is a mispell", "this is a misspell"),
        ({"XJ12": "XJ-12"}, "the xj12, twice: XJ12", "the XJ-12, twice: XJ-12"),
        ({"phase or": "phasor"}, "a phase or two; phase order", "a phasor two; phase order"),
        # one pass: what was put in is not looked at again
        ({"a": "b", "b": "a"}, "a b a", "b a b"),
        ({"new york": "york new", "york": "x"}, "new york york", "york new x"),
        # the longest counts
        ({"phase": "X", "phase or": "phasor"}, "phase or phase", "phasor X"),
        ({"a b c": "1", "b c d": "2"}, "a b c d", "1 d"),
        # punctuation at the edges of the text to find
        ({"C++": "cpp"}, "I like C++, c++; not C++11 (C++).", "I like cpp, cpp; not C++11 (cpp)."),
        ({"C": "sea"}, "C, C++ and C# C.", "sea, C++ and C# sea."),
        ({".NET": "dot net"}, "ASP.NET .NET, .Net", "ASP.NET dot net, dot net"),
        ({"α-helix": "alpha helix"}, "the Α-Helix of α-helixes", "the alpha helix of α-helixes"),  # noqa: RUF001  # Greek
        # whole words, whatever the writing
        ({"art": "X"}, "art party smart art's art-house Art", "X party smart X's X-house X"),
        ({"caf": "X"}, "caf\u00e9 cafe\u0301 caf", "caf\u00e9 cafe\u0301 X"),
        ({"caf\u00e9": "bar"}, "cafe\u0301, CAF\u00c9", "bar, bar"),
        ({"straße": "road"}, "STRASSE Straße Straßen", "road road Straßen"),
        ({"हिन": "X"}, "हिन्दी हिन", "हिन्दी X"),
        ({"5": "five"}, "3.5 5 5. 1,500 5,", "3.5 five five. 1,500 five,"),
        ({"東京": "Tokyo"}, "今東京は", "今Tokyoは"),
        # literal text, not a pattern
        ({"x": r"\1 \g<0> $1 {0}"}, "x", r"\1 \g<0> $1 {0}"),
        ({"a.c": "X", "d?": "Y"}, "abc a.c d d?", "abc X d Y"),
        # white space
        ({"new  york": " NYC\n city "}, "in new york\tnew\n york", "in NYC city\tNYC city"),
        ({}, "as it is", "as it is"),
        ({"x": "y"}, "", ""),
    ],
)
def test_whole_words_are_replaced_in_one_pass(table: dict[str, str], text: str, becomes: str) -> None:
    assert replaced(text, table) == becomes


def test_case_matters_if_case_sensitive() -> None:
    table = {"IOT": "IoT", "color": "colour"}
    assert replaced("IOT iot Color color", table, case_sensitive=True) == "IoT iot Color colour"


def test_the_longest_match_wins_then_the_first_table() -> None:
    both = Replacements(
        ReplacementTable({"a": "own", "x y": "own"}), ReplacementTable({"a": "house", "x y z": "house"})
    )
    assert both.replace_text("a; x y; x y z") == "own; own; house"


def test_an_edit_covers_whole_words() -> None:
    replacements = Replacements(ReplacementTable({"phase or": "phasor", "a": "b c d"}))
    assert replacements.find_edits(["(phase", "or)", "is", "a/a,", "a"]) == [
        Edit(0, 2, ("(phasor)",)),
        Edit(3, 4, ("b", "c", "d/b", "c", "d,")),
        Edit(4, 5, ("b", "c", "d")),
    ]


def test_matches_in_the_same_word_are_one_edit() -> None:
    replacements = Replacements(ReplacementTable({"a b": "x", "c d": "y"}))
    assert replacements.find_edits(["a", "b/c", "d", "e"]) == [Edit(0, 3, ("x/y",))]


def test_replacements_without_entries_are_false() -> None:
    assert not Replacements()
    assert not Replacements(ReplacementTable({}), ReplacementTable({}))
    assert Replacements(ReplacementTable({"a": "b"}))


text = st.text("aAbB+.-\u0301é5 京", min_size=1, max_size=6).filter(str.strip)
table = st.text("xyYz !", min_size=1, max_size=6).filter(str.strip)
tables = st.dictionaries(text, table, max_size=6)
words = st.lists(st.text("aAbBcé+.,-'5京\u0301", min_size=1, max_size=5), max_size=12)


@given(words, tables, tables, st.booleans())
def test_edits_and_replaced_text_agree(
    said: list[str],
    own: dict[str, str],
    house: dict[str, str],
    case: bool,  # drawn  # noqa: FBT001  # drawn
) -> None:
    replacements = Replacements(
        ReplacementTable(own, case_sensitive=case), ReplacementTable(house, case_sensitive=case)
    )
    assert " ".join(edited(said, replacements)) == replacements.replace_text(" ".join(said))


@given(words, tables)
def test_edits_are_ordered_disjoint_and_not_empty(said: list[str], table: dict[str, str]) -> None:
    last = 0
    for edit in Replacements(ReplacementTable(table)).find_edits(said):
        assert last <= edit.first < edit.end <= len(said)
        assert edit.words
        assert all(word and not any(map(str.isspace, word)) for word in edit.words)
        last = edit.end


@given(words, tables)
def test_replacing_twice_changes_nothing_more(said: list[str], table: dict[str, str]) -> None:
    """What is put in is of letters that are not looked for; only signs around it could join with it."""
    apart = {key: value for key, value in table.items() if not any(sign in key for sign in "+.- \u0301")}
    once = replaced(" ".join(said), apart)
    assert replaced(once, apart) == once


@given(st.lists(st.sampled_from(["art", "arts", "smart", "a", "ART"]), max_size=9))
def test_parts_of_words_are_not_replaced(said: list[str]) -> None:
    expected = ["X" if word in ("art", "ART") else word for word in said]
    assert replaced(" ".join(said), {"art": "X"}).split() == expected


@pytest.mark.parametrize("signs", ["!?-;:*()", "一丁七丈三上下不"])
def test_long_entries_take_little_memory_and_time(signs: str) -> None:
    drawn = Random(1)  # noqa: S311  # reproducible, not a secret
    table = {"".join(drawn.choices(signs, k=200)): "x" for _ in range(4_800)}
    tracemalloc.start()
    try:
        Replacements(ReplacementTable(table))
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
    began = time.process_time()
    replacements = Replacements(ReplacementTable(table))
    assert time.process_time() - began < 0.5
    text = next(iter(table))
    assert replacements.replace_text(f"{text[:100]} {text} {text[1:]}") == f"{text[:100]} x {text[1:]}"


def test_ten_thousand_entries_cost_as_much_as_one() -> None:
    said = ["so", "that", "is", "what", "we", "said", "about", "it", "all", "and", "no", "more"]
    one, many = (
        Replacements(ReplacementTable({f"word{number} heard": "meant" for number in range(count)}))
        for count in (1, 10_000)
    )

    def seconds(replacements: Replacements) -> float:
        best = float("inf")
        for _ in range(20):
            began = time.process_time()
            for _ in range(20):
                replacements.find_edits(said)
            best = min(best, time.process_time() - began)
        return best

    assert seconds(many) < 3 * seconds(one)


@pytest.mark.parametrize(
    ("table", "words", "first"),
    [
        ({"new york": "NYC"}, "in new", 1),
        ({"new york": "NYC"}, "in New", 1),
        ({"new york": "NYC"}, "in new.", 2),
        ({"new york": "NYC"}, "new york", 2),
        ({"new york": "NYC"}, "renew", 1),
        ({"new york": "NYC", "new york city": "the city"}, "to new york", 1),
        ({"a b c": "x"}, "a b", 0),
        ({"a b": "x", "b c": "y"}, "a b", 2),
        ({"new york": "NYC", "new": "novel"}, "in new", 1),
        ({"c + +": "C++"}, "in c +", 1),
        ({"york new": "x", "in re": "y", "new york": "z"}, "york re-new", 1),
        ({"york re": "x", "new york": "z"}, "york re-new", 0),
        ({"art house": "x"}, "state-of-the-art", 0),
        ({"new": "x"}, "in new", 2),
        ({}, "in new", 2),
    ],
)
def test_words_are_held_where_a_phrase_may_start(table: dict[str, str], words: str, first: int) -> None:
    assert Replacements(ReplacementTable(table)).count_finished_words(words.split()) == first


def test_words_are_held_for_phrases_of_all_tables() -> None:
    both = Replacements(ReplacementTable({"a": "b"}), ReplacementTable({"new york": "NYC"}))
    assert (both.has_phrases, both.count_finished_words(["new"])) == (True, 0)
    strict = Replacements(ReplacementTable({"New York": "NYC"}, case_sensitive=True))
    assert (strict.count_finished_words(["new"]), strict.count_finished_words(["New"])) == (1, 0)
    assert not Replacements(ReplacementTable({"a": "new york"})).has_phrases


@given(
    st.lists(st.sampled_from(["a", "b", "c", "a-b", "b.", "A"]), max_size=12),
    st.dictionaries(st.sampled_from(["a", "a b", "b a", "a b c", "c c a", "b. a"]), st.just("x"), max_size=4),
    st.integers(0, 12),
)
def test_finished_words_do_not_depend_on_later_words(
    words: list[str], table: dict[str, str], cut: int
) -> None:
    replacements = Replacements(ReplacementTable(table))
    first = replacements.count_finished_words(words[:cut])
    assert edited(words[:first], replacements) + edited(words[first:], replacements) == edited(
        words, replacements
    )
