"""Contextual biasing with a scripted network, and with the tiny Parakeet through a session."""

from __future__ import annotations

import gc
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.engines.parakeet.biasing import PieceIndex, TermBias, TermTrie, TermTrieCache
from echoic.engines.parakeet.onnx import ParakeetOnnx
from echoic.engines.parakeet.transducer import LogitsJointOutput, Transducer
from echoic.session.session import Session
from echoic.text.vocabulary import Hotword, Hotwords
from support.session_driver import Json, SessionDriver, filter_frames, frame_texts
from support.tiny_parakeet import TINY_PARAKEET_FOLDER, read_talks

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
    """A network that takes its scores from the frames, and counts its calls.

    A frame holds the scores of all tokens and the blank; each lasts one frame.
    Its state is the emitted tokens.
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
        memories = [(*lane.predictor_state, lane.last_token) for lane in lanes]
        return LogitsJointOutput(logits, BLANK, DURATIONS, lambda number: memories[number])


def build_scores(likeliest: int, **deficits: float) -> Frames:
    """Return the scores of a frame for its likeliest token, and the deficits of others by name."""
    scores = np.full(BLANK + 1, -30.0, np.float32)
    scores[likeliest] = 0.0
    for name, value in deficits.items():
        scores[{"a": A, "b": B, "c": C, "x": X, "y": Y, "ab": AB}[name]] = -value
    return scores


def stack_scores(*frames: Frames) -> Frames:
    return np.stack(frames)


def build_trie(*terms: str | Hotword) -> TermTrie:
    words = tuple(Hotword(one) if isinstance(one, str) else one for one in terms)
    return TermTrie(Hotwords(words), PieceIndex(PIECES))


def decode_frames(
    frames: Frames,
    terms: TermTrie | None,
    commit_end: int | None = None,
    state: TransducerState | None = None,
) -> tuple[list[EmittedToken], TransducerState]:
    decoder = Transducer(EchoNetwork(), BLANK)
    boost = None if terms is None else TermBias(terms, len(frames) if commit_end is None else commit_end)
    [answer] = decoder.decode([frames], [state or decoder.initial_state], [boost])
    return answer


def join_pieces(emissions: Sequence[EmittedToken]) -> str:
    return "".join(PIECES[one.token_id] for one in emissions)


def test_a_term_with_a_small_deficit_is_found() -> None:
    frames = stack_scores(build_scores(X, a=2.0), build_scores(Y, b=1.0))
    assert join_pieces(decode_frames(frames, None)[0]) == " xy"
    tokens, state = decode_frames(frames, build_trie("ab"))
    assert join_pieces(tokens) == " ab"
    assert [one.frame for one in tokens] == [0, 1]
    assert tokens[0].probability == pytest.approx(np.exp(-2.0) / (1 + np.exp(-2.0)), rel=1e-3)
    assert (state.last_token, state.predictor_state) == (B, (BLANK, A))


def test_a_term_with_a_large_deficit_is_not_found() -> None:
    frames = stack_scores(build_scores(X, a=12.0), build_scores(Y, b=0.5))
    assert join_pieces(decode_frames(frames, build_trie("ab"))[0]) == " xy"


def test_deficits_of_a_term_add_up() -> None:
    frames = stack_scores(build_scores(X, a=2.0), build_scores(Y, b=1.8), build_scores(Y, c=1.5))
    assert join_pieces(decode_frames(frames, build_trie("ab"))[0]) == " aby"
    assert join_pieces(decode_frames(frames, build_trie("abc"))[0]) == " xyy"
    assert join_pieces(decode_frames(frames, build_trie(Hotword("abc", 2.0)))[0]) == " abc"


def test_a_boost_of_zero_has_no_effect() -> None:
    frames = stack_scores(build_scores(X, a=0.1), build_scores(Y, b=0.1))
    assert join_pieces(decode_frames(frames, build_trie(Hotword("ab", 0.0)))[0]) == " xy"


def test_a_partly_matched_term_leaves_no_trace() -> None:
    frames = stack_scores(
        build_scores(X, a=1.0), build_scores(Y, b=1.0), build_scores(X), build_scores(BLANK), build_scores(Y)
    )
    plain, terms = decode_frames(frames, None), build_trie("abc")
    tokens, state = decode_frames(frames, terms)
    assert tokens == plain[0]
    assert (state.last_token, state.predictor_state, state.frames_to_skip) == (
        plain[1].last_token,
        plain[1].predictor_state,
        plain[1].frames_to_skip,
    )


def test_a_guess_is_reverted_at_the_last_frame() -> None:
    frames = stack_scores(build_scores(X, a=1.0), build_scores(BLANK))
    assert join_pieces(decode_frames(frames, build_trie("ab"))[0]) == " x"


def test_later_frames_confirm_or_revert_a_guess() -> None:
    frames = stack_scores(
        build_scores(X, a=1.0), build_scores(BLANK), build_scores(Y, b=1.0), build_scores(Y)
    )
    tokens, state = decode_frames(frames, build_trie("ab"), commit_end=2)
    assert join_pieces(tokens) == " ab"
    assert state.frames_to_skip == 1
    assert join_pieces(decode_frames(frames[2:], build_trie("ab"), state=state)[0]) == "y"
    wrong = stack_scores(build_scores(X, a=1.0), build_scores(BLANK), build_scores(Y), build_scores(Y))
    tokens, state = decode_frames(wrong, build_trie("ab"), commit_end=2)
    assert (join_pieces(tokens), state.frames_to_skip) == (" x", 0)


def test_later_frames_give_no_tokens_without_a_guess() -> None:
    frames = stack_scores(build_scores(X), build_scores(Y), build_scores(Y))
    tokens, state = decode_frames(frames, build_trie("ab"), commit_end=1)
    assert (join_pieces(tokens), state.frames_to_skip) == (" x", 0)


def test_progress_through_a_term_is_part_of_the_state() -> None:
    terms = build_trie("ab")
    first, state = decode_frames(stack_scores(build_scores(A)), terms)
    then, _ = decode_frames(stack_scores(build_scores(Y, b=3.0)), terms, state=state)
    assert join_pieces([*first, *then]) == " ab"
    other, _ = decode_frames(stack_scores(build_scores(Y, b=3.0)), build_trie("xb"), state=state)
    assert join_pieces(other) == "y"


def test_a_blank_is_never_replaced_by_a_term() -> None:
    frames = stack_scores(build_scores(BLANK, a=0.1), build_scores(BLANK, b=0.1))
    assert decode_frames(frames, build_trie("ab"))[0] == []


def test_every_spelling_of_a_term_is_found() -> None:
    assert join_pieces(decode_frames(stack_scores(build_scores(X, ab=2.0)), build_trie("ab"))[0]) == " ab"
    assert (
        join_pieces(
            decode_frames(stack_scores(build_scores(X, a=2.0), build_scores(Y, b=1.0)), build_trie("ab"))[0]
        )
        == " ab"
    )


@pytest.mark.parametrize("term", ["AB", "Ab", "ab"])
def test_a_term_with_capitals_matches_pieces_in_lower_case(term: str) -> None:
    assert (
        join_pieces(
            decode_frames(stack_scores(build_scores(X, a=1.0), build_scores(Y, b=1.0)), build_trie(term))[0]
        )
        == " ab"
    )


def test_a_term_without_a_spelling_is_ignored() -> None:
    assert len(build_trie("ab~", "qq").root.next_tokens) == 0


def test_a_term_may_be_several_words() -> None:
    frames = stack_scores(build_scores(X, a=2.0), build_scores(Y, x=2.0), build_scores(B, y=1.0))
    assert join_pieces(decode_frames(frames, build_trie("a xy"))[0]) == " a xy"


def test_a_trie_is_cached_while_its_hotwords_exist() -> None:
    tries = TermTrieCache(PIECES)
    words = Hotwords((Hotword("ab"),))
    assert tries.get_trie(words) is tries.get_trie(words)
    assert tries.get_trie(Hotwords()) is None
    del words
    gc.collect()
    assert len(tries._by_hotwords) == 0  # noqa: SLF001  # what is forgotten can be seen nowhere else


def test_equal_hotwords_share_a_trie() -> None:
    tries = TermTrieCache(PIECES)
    one, other, apart = (Hotwords((Hotword("ab", boost),)) for boost in (1.0, 1.0, 2.0))
    assert tries.get_trie(one) is tries.get_trie(other)
    assert tries.get_trie(apart) is not tries.get_trie(one)
    kept = tries.get_trie(other)
    del one
    gc.collect()
    assert tries.get_trie(other) is kept


frames_drawn = st.integers(0, 2**20).map(
    lambda seed: np.random.default_rng(seed).normal(0, 3, (24, BLANK + 1)).astype(np.float32)
)
terms_drawn = st.lists(st.sampled_from(["ab", "abc", "a x", "xy", "bc", "xyb ab"]), max_size=3)


@given(frames_drawn, terms_drawn, st.lists(st.integers(0, 24), max_size=4))
def test_pieces_with_all_later_frames_equal_the_whole(
    frames: Frames, drawn: list[str], cuts: list[int]
) -> None:
    terms = build_trie(*drawn)
    at_once, end = decode_frames(frames, terms)
    state, tokens = None, []
    for first, last in pairwise([0, *sorted(cuts), 24]):
        emissions, state = decode_frames(frames[first:], terms, commit_end=last - first, state=state)
        tokens += [(one.token_id, one.frame + first) for one in emissions]
    assert tokens == [(one.token_id, one.frame) for one in at_once]
    assert state is not None
    assert (state.last_token, state.predictor_state) == (end.last_token, end.predictor_state)


@given(st.lists(st.tuples(frames_drawn, terms_drawn), max_size=4))
def test_a_batch_equals_single_lanes(drawn: list[tuple[Frames, list[str]]]) -> None:
    decoder = Transducer(EchoNetwork(), BLANK)
    boosts = [TermBias(build_trie(*terms), 20) if terms else None for _, terms in drawn]
    lanes = [frames for frames, _ in drawn]
    together = decoder.decode(lanes, [decoder.initial_state] * len(lanes), boosts)
    for lane, boost, (tokens, state) in zip(lanes, boosts, together, strict=True):
        [(alone, end)] = decoder.decode([lane], [decoder.initial_state], [boost])
        assert tokens == alone
        assert (state.last_token, state.predictor_state, state.frames_to_skip) == (
            end.last_token,
            end.predictor_state,
            end.frames_to_skip,
        )


@given(frames_drawn)
def test_terms_without_a_spelling_change_nothing(frames: Frames) -> None:
    assert decode_frames(frames, build_trie("~", "q"))[0] == decode_frames(frames, None)[0]


@cache
def load_shared_engine() -> ParakeetOnnx:
    return ParakeetOnnx(TINY_PARAKEET_FOLDER)


def stream_audio(audio: np.ndarray, terms: list[str], size: int = 3_000) -> list[Json]:
    play = SessionDriver(load_shared_engine(), Session())
    play.send({"type": "config", "word_timestamps": True, "vocabulary": {"terms": terms}})
    play.push_in_messages(audio, [size] * (len(audio) // size))
    play.send({"type": "commit"})
    assert filter_frames(play.frames, "warning") == []
    return filter_frames(play.frames, "final")


def add_noise(number: int, seed: int, share: float = 0.6) -> np.ndarray:
    audio = read_talks()[number][0]
    noise = np.random.default_rng(seed).normal(0, share * np.sqrt((audio**2).mean()), audio.size)
    return (audio + noise.astype(np.float32)).astype(np.float32)


def test_a_hotword_is_recognised_in_noise() -> None:
    audio = add_noise(1, 0)
    without, biased = (" ".join(frame_texts(stream_audio(audio, terms))) for terms in ([], ["Wednesday"]))
    assert read_talks()[1][1].count("wednesday") == biased.count("wednesday") == 2
    assert without.count("wednesday") == 1
    assert biased.replace("wednesday", "red") == without.replace("wednesday", "red")


@pytest.mark.parametrize("number", range(3))
def test_hotwords_do_not_change_clear_speech(number: int) -> None:
    audio, text = read_talks()[number]
    terms = ["zarathustra", "carolina", "seventy seven", "kitchen", "radio", "boston"]
    assert " ".join(frame_texts(stream_audio(audio, terms))) == text


def test_times_of_hotwords_are_ordered_within_their_final() -> None:
    terms = sorted(set(read_talks()[0][1].split()))
    last = 0.0
    for final in stream_audio(add_noise(0, 1), terms):
        words = final["words"]
        assert isinstance(words, list)
        assert final["text"] == " ".join(word["word"] for word in words)
        for word in words:
            assert last <= word["start"] + 1e-6
            assert word["start"] <= word["end"] <= float(str(final["segment_end"])) + 1e-6
            last = word["start"]


def test_finals_with_hotwords_do_not_depend_on_message_sizes() -> None:
    audio, terms = add_noise(2, 2), ["garden", "alice", "television", "call frank"]
    assert stream_audio(audio, terms, 3_000) == stream_audio(audio, terms, 40_000)
