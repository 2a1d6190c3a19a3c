"""Contextual biasing: favours hotwords in the greedy search of a transducer, with a trie of their spellings.

The trie holds every spelling of a term in the model's pieces. If the next token of a term is less likely than
the likeliest token, but by no more than the bias of the term, the search *guesses* that the term was spoken:
it follows the trie, and the deficit of each further token counts against the same bias. If the term is
completed, the guess is confirmed. Otherwise the guess is reverted with all its tokens, and the search
continues with the original token at the position of the guess: a partly matched term leaves no trace.

The bias grows with the matched letters, quickly at first, up to a factor of three thousand in probability, so
a long term is not found everywhere. A blank stays a blank: no term is found where the model recognises
nothing.
Sources: Zhao et al., "Shallow-Fusion End-to-End Contextual Biasing", Interspeech 2019 (trie scores
that are given back); Andrusenko et al., "TurboBias", https://arxiv.org/abs/2508.07014 (greedy transducers,
blanks kept). Reverting guesses is our own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import exp
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from echoic.engines.parakeet.decoder import EncoderFrames
from echoic.engines.parakeet.transducer import (
    GreedySearch,
    JointOutput,
    TransducerState,
    compute_probability,
)
from echoic.text.vocabulary import Hotword, Hotwords

#: The largest bias in nats with a boost of 1, and the letters after which it reaches two thirds.
#: Source: ``tools/benchmarks/hotwords.py``.
MAX_BIAS, BIAS_RISE_LETTERS = 8.0, 3.0

_NO_TOKENS, _NO_BIASES = np.zeros(0, np.int64), np.zeros(0, np.float32)


@dataclass(slots=True, eq=False)
class TrieNode:
    """A prefix of one or more terms."""

    #: The bias of the prefix in nats.
    bias: float = 0.0
    #: Whether a term ends here.
    is_term_end: bool = False
    #: The tokens that continue the prefix, int64, shape ``(n,)``.
    next_tokens: NDArray[np.int64] = field(default_factory=lambda: _NO_TOKENS)
    #: The bias after each of these tokens, float32, shape ``(n,)``.
    next_biases: NDArray[np.float32] = field(default_factory=lambda: _NO_BIASES)
    #: The node after each of these tokens.
    next_nodes: tuple[TrieNode, ...] = ()


class TermTrie:
    """The spellings of terms in a model's pieces.

    Args:
        hotwords: The terms.
        piece_index: The pieces of the model.
    """

    def __init__(self, hotwords: Hotwords, piece_index: PieceIndex) -> None:
        self.root = TrieNode()
        nodes = {"": self.root}
        branches: dict[str, dict[int, TrieNode]] = {}
        for hotword in hotwords.terms:
            for spelling in _list_spellings(hotword.term) if hotword.boost else ():
                _add_spelling(spelling, hotword.boost, piece_index, nodes, branches)
        for prefix, following in branches.items():
            node = nodes[prefix]
            node.next_nodes = tuple(following.values())
            node.next_tokens = np.fromiter(following, np.int64, len(following))
            biases = (after.bias for after in node.next_nodes)
            node.next_biases = np.fromiter(biases, np.float32, len(following))


def _add_spelling(
    spelling: str,
    boost: float,
    piece_index: PieceIndex,
    nodes: dict[str, TrieNode],
    branches: dict[str, dict[int, TrieNode]],
) -> None:
    """Add a spelling to the nodes (by prefix), and to the branches of each prefix (by token)."""
    for start, end, token in piece_index.iterate_pieces(spelling):
        prefix = spelling[:end]
        node = nodes.get(prefix) or nodes.setdefault(prefix, TrieNode())
        node.bias = max(node.bias, boost * MAX_BIAS * (1 - exp((1 - end) / BIAS_RISE_LETTERS)))
        branches.setdefault(spelling[:start], {})[token] = node
    if spelling in nodes:
        nodes[spelling].is_term_end = True


def _list_spellings(term: str) -> list[str]:
    """Return a term as written, in lower case, and with a capital first letter."""
    forms = (term, term.lower(), term[:1].upper() + term[1:])
    return [f" {form}" for form in dict.fromkeys(forms)]


class PieceIndex:
    """The pieces of a model, by their text.

    Args:
        pieces: The vocabulary as text, a leading space at the start of a word; empty pieces are ignored.
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        self._ids_by_piece = {piece: number for number, piece in enumerate(pieces) if piece}
        self._max_piece_length = max(map(len, self._ids_by_piece), default=0)

    def iterate_pieces(self, text: str) -> Iterator[tuple[int, int, int]]:
        """Yield start, end and number of each piece that is part of a complete spelling of ``text``."""
        size = len(text)
        pieces_at: list[list[tuple[int, int]]] = [[] for _ in range(size)]
        spellable = {size}
        for start in reversed(range(size)):
            for end in range(start + 1, min(size, start + self._max_piece_length) + 1):
                if end in spellable and (number := self._ids_by_piece.get(text[start:end])) is not None:
                    pieces_at[start].append((end, number))
            if pieces_at[start]:
                spellable.add(start)
        reached = {0}
        for start in range(size):
            if start in reached:
                for end, number in pieces_at[start]:
                    reached.add(end)
                    yield start, end, number


class TermTrieCache:
    """A cache of tries; equal hotwords share one trie, which is freed with the last of them.

    A trie is built outside the lock: two threads that first need the same trie may both build it, and keep
    one.

    Args:
        pieces: The vocabulary of the model as text.
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        self._piece_index = PieceIndex(pieces)
        self._by_hotwords: WeakKeyDictionary[Hotwords, TermTrie] = WeakKeyDictionary()
        self._by_terms: WeakValueDictionary[tuple[Hotword, ...], TermTrie] = WeakValueDictionary()
        self._lock = threading.Lock()

    def get_trie(self, hotwords: Hotwords) -> TermTrie | None:
        """Return the trie of the hotwords, or None without any."""
        if not hotwords:
            return None
        with self._lock:
            trie = self._by_hotwords.get(hotwords)
            if trie is not None:
                return trie
            trie = self._by_terms.get(hotwords.terms)
        trie = trie or TermTrie(hotwords, self._piece_index)
        with self._lock:
            trie = self._by_terms.setdefault(hotwords.terms, trie)
            self._by_hotwords[hotwords] = trie
            return trie


@dataclass(frozen=True, slots=True)
class TermBias:
    """The hotwords of one lane (implements ``Bias``)."""

    #: The spellings of the hotwords.
    trie: TermTrie
    #: The end of the frames to commit; later frames only confirm or reject a guess.
    commit_end: int

    def build_search(self, frames: EncoderFrames, state: TransducerState, max_symbols: int) -> BiasedSearch:
        """Return a search that favours the hotwords."""
        return BiasedSearch(frames, state, max_symbols, self)


@dataclass(slots=True)
class _TermGuess:
    """A guess that a term was spoken: the state of the search before it, and its deficit."""

    position: int
    symbols_at_frame: int
    emitted_count: int
    last_token: int
    predictor_state: object
    #: The original token: its number, duration, probability and predictor state.
    alternative: tuple[int, int, float, object]
    #: How much less likely the guess is than the likeliest tokens, in nats.
    deficit: float


class BiasedSearch(GreedySearch):
    """The greedy search through one lane that favours hotwords.

    Args:
        frames: The encoder frames of the lane, with those after ``bias.commit_end``.
        state: The state before the first frame.
        max_symbols: The most tokens at one frame.
        bias: The hotwords.
    """

    def __init__(
        self, frames: EncoderFrames, state: TransducerState, max_symbols: int, bias: TermBias
    ) -> None:
        super().__init__(frames, state, max_symbols)
        self._frame_count, self._commit_end = self._end, bias.commit_end
        self._end = bias.commit_end
        self._root = bias.trie.root
        self._trie = bias.trie
        progress = state.bias_state
        self._node = progress[1] if isinstance(progress, tuple) and progress[0] is self._trie else self._root
        self._guess: _TermGuess | None = None

    def is_finished(self) -> bool:
        """Return whether all frames are decoded; reverts a guess that the frames did not confirm."""
        if self._position >= self._end and self._guess is not None:
            self._revert_guess(self._guess)
        return self._position >= self._end

    def to_state(self) -> TransducerState:
        """Return the state at ``commit_end``."""
        progress = None if self._node is self._root else (self._trie, self._node)
        return TransducerState(
            self.lane.last_token, self.lane.predictor_state, self._position - self._commit_end, progress
        )

    def emit_best_token(self, joint_output: JointOutput, lane: int, offset: int) -> None:
        """Emit the likeliest token, or the token of a term whose deficit is within its bias."""
        likeliest = joint_output.best_tokens[lane][offset]
        scores = joint_output.get_scores(lane, offset)
        node, token = self._find_biased_token(scores, likeliest)
        duration = joint_output.durations[lane][offset]
        probability = joint_output.get_probability(lane, offset)
        state = joint_output.get_predictor_state(lane)
        if node is None:
            if self._guess is not None:
                self._revert_guess(self._guess)
                return
            self._node = self._root
            self.emit_token(likeliest, duration, probability, state)
            return
        if token != likeliest and self._guess is None:
            self._begin_guess((likeliest, duration, probability, state))
        if self._guess is not None:
            self._guess.deficit += float(scores[likeliest] - scores[token])
        self._node = node
        if token != likeliest:
            probability = compute_probability(scores, token)
        self.emit_token(token, duration, probability, state)
        if node.is_term_end:
            self._guess, self._end = None, self._commit_end

    def _find_biased_token(self, scores: NDArray[np.float32], likeliest: int) -> tuple[TrieNode | None, int]:
        """Return the node and the token of the best matching term, or None and the likeliest token."""
        deficit = 0.0 if self._guess is None else self._guess.deficit
        best: tuple[float, TrieNode | None, int] = (float(scores[likeliest]), None, likeliest)
        for node in self._list_start_nodes():
            if len(node.next_tokens):
                biased = scores[node.next_tokens] + node.next_biases - deficit
                index = int(biased.argmax())
                if biased[index] > best[0]:
                    best = float(biased[index]), node.next_nodes[index], int(node.next_tokens[index])
        return best[1], best[2]

    def _list_start_nodes(self) -> Iterable[TrieNode]:
        """Return the nodes that may continue: a guess continues only its own term."""
        if self._guess is not None or self._node is self._root:
            return (self._node,)
        return (self._node, self._root)

    def _begin_guess(self, alternative: tuple[int, int, float, object]) -> None:
        self._guess = _TermGuess(
            self._position,
            self._symbols_at_frame,
            len(self.emitted_tokens),
            self.lane.last_token,
            self.lane.predictor_state,
            alternative,
            deficit=0.0,
        )
        self._end = self._frame_count

    def _revert_guess(self, guess: _TermGuess) -> None:
        """Restore the search before a guess, and emit the original token."""
        self._guess, self._end = None, self._commit_end
        self._position, self._symbols_at_frame = guess.position, guess.symbols_at_frame
        del self.emitted_tokens[guess.emitted_count :]
        self.lane.last_token, self.lane.predictor_state = guess.last_token, guess.predictor_state
        self._node = self._find_node_after(guess.alternative[0])
        self.emit_token(*guess.alternative)

    def _find_node_after(self, token: int) -> TrieNode:
        """Return the node after the first token of a term, or the root."""
        indexes = np.flatnonzero(self._root.next_tokens == token)
        return self._root.next_nodes[int(indexes[0])] if len(indexes) else self._root
