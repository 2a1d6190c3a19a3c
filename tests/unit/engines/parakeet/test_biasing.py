"""Listening for terms, by a network that is a table."""

from __future__ import annotations

import gc
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.engines.parakeet.biasing import PieceIndex, TermBias, TermTrie, TermTrieCache
from echoic.engines.parakeet.transducer import LogitsJointOutput, Transducer
from echoic.text.vocabulary import Hotword, Hotwords

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from echoic.engines.parakeet.decoder import EmittedToken
    from echoic.engines.parakeet.transducer import DecoderLane, TransducerState

    Frames = NDArray[np.float32]

PIECES = (" a", "b", "c", " x", "y", " ab", "")
A, B, C, X, Y, AB, _ = range(7)
BLANK = len(PIECES)
DURATIONS = (0, 1, 2)


class EchoNetwork:
    """A network that scores each frame as the frame itself says, and counts what it is asked.

    A frame holds the scores of all tokens and the blank; each lasts one frame. It remembers the tokens said.
    """

    def __init__(self) -> None:
        self.call_count = 0

    def build_initial_state(self) -> tuple[int, ...]:
        return ()

    def score_frames(self, frames: Sequence[Frames], lanes: Sequence[DecoderLane]) -> LogitsJointOutput:
        self.call_count += 1
        most = max(len(one) for one in frames)
        logits = np.zeros((len(lanes), most, BLANK + 1 + len(DURATIONS)), np.float32)
        for place, one in zip(logits, frames, strict=True):
            place[: len(one), : BLANK + 1] = one
        logits[:, :, BLANK + 2] = 1.0
        memories = [(*lane.predictor_state, lane.last_token) for lane in lanes]  # type: ignore[misc]  # ``start`` made it
        return LogitsJointOutput(logits, BLANK, DURATIONS, lambda number: memories[number])


def frame(likeliest: int, **lacks: float) -> Frames:
    """Return a frame that says a token; others lack so much, by their names here."""
    scores = np.full(BLANK + 1, -30.0, np.float32)
    scores[likeliest] = 0.0
    for name, value in lacks.items():
        scores[{"a": A, "b": B, "c": C, "x": X, "y": Y, "ab": AB}[name]] = -value
    return scores


def sound(*frames: Frames) -> Frames:
    return np.stack(frames)


def tree(*terms: str | Hotword) -> TermTrie:
    words = tuple(Hotword(one) if isinstance(one, str) else one for one in terms)
    return TermTrie(Hotwords(words), PieceIndex(PIECES))


def decoded(
    frames: Frames, terms: TermTrie | None, edge: int | None = None, state: TransducerState | None = None
) -> tuple[list[EmittedToken], TransducerState]:
    decoder = Transducer(EchoNetwork(), BLANK)
    boost = None if terms is None else TermBias(terms, len(frames) if edge is None else edge)
    [answer] = decoder.decode([frames], [state or decoder.initial_state], [boost])
    return answer


def spelled(emissions: Sequence[EmittedToken]) -> str:
    return "".join(PIECES[one.token_id] for one in emissions)


def test_a_term_that_lacks_little_is_heard() -> None:
    frames = sound(frame(X, a=2.0), frame(Y, b=1.0))
    assert spelled(decoded(frames, None)[0]) == " xy"
    heard, state = decoded(frames, tree("ab"))
    assert spelled(heard) == " ab"
    assert [one.frame for one in heard] == [0, 1]
    assert heard[0].probability == pytest.approx(np.exp(-2.0) / (1 + np.exp(-2.0)), rel=1e-3)
    assert (state.last_token, state.predictor_state) == (B, (BLANK, A))


def test_a_term_that_lacks_much_is_not() -> None:
    frames = sound(frame(X, a=12.0), frame(Y, b=0.5))
    assert spelled(decoded(frames, tree("ab"))[0]) == " xy"


def test_what_a_term_lacks_adds_up() -> None:
    frames = sound(frame(X, a=2.0), frame(Y, b=1.8), frame(Y, c=1.5))
    assert spelled(decoded(frames, tree("ab"))[0]) == " aby"
    assert spelled(decoded(frames, tree("abc"))[0]) == " xyy"
    assert spelled(decoded(frames, tree(Hotword("abc", 2.0)))[0]) == " abc"


def test_a_boost_of_zero_is_none() -> None:
    frames = sound(frame(X, a=0.1), frame(Y, b=0.1))
    assert spelled(decoded(frames, tree(Hotword("ab", 0.0)))[0]) == " xy"


def test_a_term_that_is_half_heard_leaves_nothing_behind() -> None:
    frames = sound(frame(X, a=1.0), frame(Y, b=1.0), frame(X), frame(BLANK), frame(Y))
    plain, terms = decoded(frames, None), tree("abc")
    heard, state = decoded(frames, terms)
    assert heard == plain[0]
    assert (state.last_token, state.predictor_state, state.frames_to_skip) == (
        plain[1].last_token,
        plain[1].predictor_state,
        plain[1].frames_to_skip,
    )


def test_a_guess_is_taken_back_where_the_frames_end() -> None:
    frames = sound(frame(X, a=1.0), frame(BLANK))
    assert spelled(decoded(frames, tree("ab"))[0]) == " x"


def test_frames_behind_the_edge_tell_how_a_guess_ends_and_are_passed_over_if_it_was_right() -> None:
    frames = sound(frame(X, a=1.0), frame(BLANK), frame(Y, b=1.0), frame(Y))
    heard, state = decoded(frames, tree("ab"), edge=2)
    assert spelled(heard) == " ab"
    assert state.frames_to_skip == 1
    assert spelled(decoded(frames[2:], tree("ab"), state=state)[0]) == "y"
    wrong = sound(frame(X, a=1.0), frame(BLANK), frame(Y), frame(Y))
    heard, state = decoded(wrong, tree("ab"), edge=2)
    assert (spelled(heard), state.frames_to_skip) == (" x", 0)


def test_without_a_guess_nothing_behind_the_edge_is_said() -> None:
    frames = sound(frame(X), frame(Y), frame(Y))
    heard, state = decoded(frames, tree("ab"), edge=1)
    assert (spelled(heard), state.frames_to_skip) == (" x", 0)


def test_what_was_said_of_a_term_is_carried_on() -> None:
    terms = tree("ab")
    first, state = decoded(sound(frame(A)), terms)
    then, _ = decoded(sound(frame(Y, b=3.0)), terms, state=state)
    assert spelled([*first, *then]) == " ab"
    other, _ = decoded(sound(frame(Y, b=3.0)), tree("xb"), state=state)
    assert spelled(other) == "y"


def test_where_the_model_hears_nothing_no_term_is_heard() -> None:
    frames = sound(frame(BLANK, a=0.1), frame(BLANK, b=0.1))
    assert decoded(frames, tree("ab"))[0] == []


def test_every_way_to_spell_a_term_is_one() -> None:
    assert spelled(decoded(sound(frame(X, ab=2.0)), tree("ab"))[0]) == " ab"
    assert spelled(decoded(sound(frame(X, a=2.0), frame(Y, b=1.0)), tree("ab"))[0]) == " ab"


@pytest.mark.parametrize("term", ["AB", "Ab", "ab"])
def test_a_model_without_capitals_hears_a_term_that_is_written_with_them(term: str) -> None:
    assert spelled(decoded(sound(frame(X, a=1.0), frame(Y, b=1.0)), tree(term))[0]) == " ab"


def test_a_term_that_the_pieces_cannot_spell_is_passed_over() -> None:
    assert len(tree("ab~", "qq").root.next_tokens) == 0


def test_a_term_may_be_several_words() -> None:
    frames = sound(frame(X, a=2.0), frame(Y, x=2.0), frame(B, y=1.0))
    assert spelled(decoded(frames, tree("a xy"))[0]) == " a xy"


def test_a_tree_is_made_once_and_kept_as_long_as_its_terms_are() -> None:
    trees = TermTrieCache(PIECES)
    words = Hotwords((Hotword("ab"),))
    assert trees.get_trie(words) is trees.get_trie(words)
    assert trees.get_trie(Hotwords()) is None
    del words
    gc.collect()
    assert len(trees._by_hotwords) == 0  # noqa: SLF001  # what is forgotten can be seen nowhere else


def test_equal_terms_of_two_sessions_share_a_tree() -> None:
    trees = TermTrieCache(PIECES)
    one, other, apart = (Hotwords((Hotword("ab", boost),)) for boost in (1.0, 1.0, 2.0))
    assert trees.get_trie(one) is trees.get_trie(other)
    assert trees.get_trie(apart) is not trees.get_trie(one)
    kept = trees.get_trie(other)
    del one
    gc.collect()
    assert trees.get_trie(other) is kept


frames_drawn = st.integers(0, 2**20).map(
    lambda seed: np.random.default_rng(seed).normal(0, 3, (24, BLANK + 1)).astype(np.float32)
)
terms_drawn = st.lists(st.sampled_from(["ab", "abc", "a x", "xy", "bc", "xyb ab"]), max_size=3)


@given(frames_drawn, terms_drawn, st.lists(st.integers(0, 24), max_size=4))
def test_frames_in_pieces_say_what_they_say_in_one_go_if_each_piece_sees_what_follows(
    frames: Frames, drawn: list[str], cuts: list[int]
) -> None:
    terms = tree(*drawn)
    at_once, end = decoded(frames, terms)
    state, heard = None, []
    for first, last in pairwise([0, *sorted(cuts), 24]):
        emissions, state = decoded(frames[first:], terms, edge=last - first, state=state)
        heard += [(one.token_id, one.frame + first) for one in emissions]
    assert heard == [(one.token_id, one.frame) for one in at_once]
    assert state is not None
    assert (state.last_token, state.predictor_state) == (end.last_token, end.predictor_state)


@given(st.lists(st.tuples(frames_drawn, terms_drawn), max_size=4))
def test_lanes_together_say_what_each_says_alone(drawn: list[tuple[Frames, list[str]]]) -> None:
    decoder = Transducer(EchoNetwork(), BLANK)
    boosts = [TermBias(tree(*terms), 20) if terms else None for _, terms in drawn]
    lanes = [frames for frames, _ in drawn]
    together = decoder.decode(lanes, [decoder.initial_state] * len(lanes), boosts)
    for lane, boost, (heard, state) in zip(lanes, boosts, together, strict=True):
        [(alone, end)] = decoder.decode([lane], [decoder.initial_state], [boost])
        assert heard == alone
        assert (state.last_token, state.predictor_state, state.frames_to_skip) == (
            end.last_token,
            end.predictor_state,
            end.frames_to_skip,
        )


@given(frames_drawn)
def test_terms_that_nobody_can_say_change_nothing(frames: Frames) -> None:
    assert decoded(frames, tree("~", "q"))[0] == decoded(frames, None)[0]
