"""Terms that a transducer listens for while it decodes greedily: a tree of their spellings, and guesses.

The tree holds every way to spell a term in the model's own pieces. Where the next token of a term is less
likely than the likeliest token, but by no more than the term is favoured, the decoder *guesses* that the term
was said: it goes on in the tree, and what each further token lacks is taken from the same credit. If the
term is said to its end the guess was right. Else it is taken back, tokens and all, and the decoder goes on
from where it guessed with what it would have said: so a term that was half heard leaves nothing behind.

What a term is favoured by grows with what is said of it, quickly at first, and never beyond what makes it
three thousand times as likely: a long term is not heard everywhere. A blank stays a blank: no term is heard
where the model hears nothing.
Sources: Zhao et al., "Shallow-Fusion End-to-End Contextual Biasing", Interspeech 2019 (scores by a tree that
are given back); Andrusenko et al., "TurboBias", https://arxiv.org/abs/2508.07014 (greedy transducers, blanks
kept). Taking guesses back is our own.
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
from echoic.engines.parakeet.transducer import GreedySearch, JointOutput, TransducerState
from echoic.text.vocabulary import Hotword, Hotwords

#: Nats that a term is favoured by at most with a boost of 1, and letters after which it is two thirds of it.
#: Source: ``benchmarks/hotwords.py``.
MAX_BIAS, BIAS_RISE_LETTERS = 8.0, 3.0


_NO_TOKENS, _NO_BIASES = np.zeros(0, np.int64), np.zeros(0, np.float32)


@dataclass(slots=True, eq=False)
class TrieNode:
    """What was said of some terms.

    Attributes:
        bias: Nats that they are favoured by so far.
        is_term_end: Whether one of them ends here.
        next_tokens: What may be said next, int64, shape ``(n,)``.
        next_biases: ``bias`` after each of those, float32, shape ``(n,)``.
        next_nodes: The nodes after each.
    """

    bias: float = 0.0
    is_term_end: bool = False
    next_tokens: NDArray[np.int64] = field(default_factory=lambda: _NO_TOKENS)
    next_biases: NDArray[np.float32] = field(default_factory=lambda: _NO_BIASES)
    next_nodes: tuple[TrieNode, ...] = ()


class TermTrie:
    """The spellings of terms in a model's pieces.

    Args:
        hotwords: The terms.
        piece_index: The model's, a leading space where a word starts.
    """

    def __init__(self, hotwords: Hotwords, piece_index: PieceIndex) -> None:
        self.root = TrieNode()
        nodes = {"": self.root}
        ways: dict[str, dict[int, TrieNode]] = {}
        for one in hotwords.terms:
            for spelling in _list_spellings(one.term) if one.boost else ():
                _add_spelling(spelling, one.boost, piece_index, nodes, ways)
        for said, after in ways.items():
            node = nodes[said]
            node.next_nodes = tuple(after.values())
            node.next_tokens = np.fromiter(after, np.int64, len(after))
            node.next_biases = np.fromiter((one.bias for one in node.next_nodes), np.float32, len(after))


def _add_spelling(
    spelling: str,
    boost: float,
    piece_index: PieceIndex,
    nodes: dict[str, TrieNode],
    branches: dict[str, dict[int, TrieNode]],
) -> None:
    """Add a spelling to the nodes by what was said, and to the ways from each by their tokens."""
    for start, end, token in piece_index.iterate_pieces(spelling):
        said = spelling[:end]
        node = nodes.get(said) or nodes.setdefault(said, TrieNode())
        node.bias = max(node.bias, boost * MAX_BIAS * (1 - exp((1 - end) / BIAS_RISE_LETTERS)))
        branches.setdefault(spelling[:start], {})[token] = node
    if spelling in nodes:
        nodes[spelling].is_term_end = True


def _list_spellings(term: str) -> list[str]:
    """Return a term as it is written, without capitals, and as a sentence's beginning."""
    forms = (term, term.lower(), term[:1].upper() + term[1:])
    return [f" {form}" for form in dict.fromkeys(forms)]


class PieceIndex:
    """A model's pieces by what they spell.

    Args:
        pieces: By their numbers; empty ones spell nothing.
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        self._ids_by_piece = {piece: number for number, piece in enumerate(pieces) if piece}
        self._max_piece_length = max(map(len, self._ids_by_piece), default=0)

    def iterate_pieces(self, text: str) -> Iterator[tuple[int, int, int]]:
        """Yield start, end and number of each piece in any way to spell a text from its start to its end."""
        size = len(text)
        after: list[list[tuple[int, int]]] = [[] for _ in range(size)]
        good = {size}
        for start in reversed(range(size)):
            for end in range(start + 1, min(size, start + self._max_piece_length) + 1):
                if end in good and (number := self._ids_by_piece.get(text[start:end])) is not None:
                    after[start].append((end, number))
            if after[start]:
                good.add(start)
        reached = {0}
        for start in range(size):
            if start in reached:
                for end, number in after[start]:
                    reached.add(end)
                    yield start, end, number


class TermTrieCache:
    """The trees of the vocabularies in use; equal ones share one, which goes with the last of them.

    A tree is made while others look theirs up: two that want the same for the first time at once both make
    it, and keep one.

    Args:
        pieces: The model's.
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        self._piece_index = PieceIndex(pieces)
        self._by_hotwords: WeakKeyDictionary[Hotwords, TermTrie] = WeakKeyDictionary()
        self._by_terms: WeakValueDictionary[tuple[Hotword, ...], TermTrie] = WeakValueDictionary()
        self._lock = threading.Lock()

    def get_trie(self, hotwords: Hotwords) -> TermTrie | None:
        """Return the tree of some terms; None: there are none."""
        if not hotwords:
            return None
        with self._lock:
            tree = self._by_hotwords.get(hotwords)
            if tree is not None:
                return tree
            tree = self._by_terms.get(hotwords.terms)
        tree = tree or TermTrie(hotwords, self._piece_index)
        with self._lock:
            tree = self._by_terms.setdefault(hotwords.terms, tree)
            self._by_hotwords[hotwords] = tree
            return tree


@dataclass(frozen=True, slots=True)
class TermBias:
    """What a lane listens for (``transducer.Favour``).

    Attributes:
        trie: The terms.
        commit_end: Frames of the lane that are to be said; those after it only tell how a guess ends.
    """

    trie: TermTrie
    commit_end: int

    def build_search(self, frames: EncoderFrames, state: TransducerState, max_symbols: int) -> BiasedSearch:
        """Return the lane's walk."""
        return BiasedSearch(frames, state, max_symbols, self)


@dataclass(slots=True)
class _TermGuess:
    """Where a guess began, what would have been said there, and what the guess lacks so far in nats."""

    position: int
    symbols_at_frame: int
    emitted_count: int
    last_token: int
    predictor_state: object
    alternative: tuple[int, int, float, object]
    deficit: float


class BiasedSearch(GreedySearch):
    """A lane that listens for terms on its way through its frames.

    Args:
        frames: The lane's, those after its edge too.
        to_state: Where it stands.
        max_symbols: As in ``Transducer``.
        bias: What it listens for.
    """

    def __init__(
        self, frames: EncoderFrames, state: TransducerState, max_symbols: int, bias: TermBias
    ) -> None:
        super().__init__(frames, state, max_symbols)
        self._frame_count, self._commit_end = self._end, bias.commit_end
        self._end = bias.commit_end
        self._root = bias.trie.root
        self._trie = bias.trie
        place = state.bias_state
        self._node = place[1] if isinstance(place, tuple) and place[0] is self._trie else self._root
        self._guess: _TermGuess | None = None

    def is_finished(self) -> bool:
        """Return whether it is over; a guess that the frames do not bear out is taken back first."""
        if self._position >= self._end and self._guess is not None:
            self._revert_guess(self._guess)
        return self._position >= self._end

    def to_state(self) -> TransducerState:
        """Return where it stands at its edge."""
        place = None if self._node is self._root else (self._trie, self._node)
        return TransducerState(
            self.lane.last_token, self.lane.predictor_state, self._position - self._commit_end, place
        )

    def emit_best_token(self, joint_output: JointOutput, lane: int, offset: int) -> None:
        """Emit the likeliest token, or one of a term's that lacks no more than the term is favoured by."""
        likeliest = joint_output.best_tokens[lane][offset]
        scores = joint_output.get_scores(lane, offset)
        node, token = self._find_biased_token(scores, likeliest)
        said = (likeliest, joint_output.durations[lane][offset], joint_output.get_probability(lane, offset))
        memory = joint_output.get_predictor_state(lane)
        if node is None:
            if self._guess is not None:
                self._revert_guess(self._guess)
                return
            self._node = self._root
            self.emit_token(*said, memory)
            return
        if token != likeliest and self._guess is None:
            self._begin_guess((*said, memory))
        if self._guess is not None:
            self._guess.deficit += float(scores[likeliest] - scores[token])
        self._node = node
        probability = said[2] if token == likeliest else _compute_probability(scores, token)
        self.emit_token(token, said[1], probability, memory)
        if node.is_term_end:
            self._guess, self._end = None, self._commit_end

    def _find_biased_token(self, scores: NDArray[np.float32], likeliest: int) -> tuple[TrieNode | None, int]:
        """Return the node and token of a term that go on here, or None: no term does."""
        lacks = 0.0 if self._guess is None else self._guess.deficit
        best: tuple[float, TrieNode | None, int] = (float(scores[likeliest]), None, likeliest)
        for node in self._list_start_nodes():
            if len(node.next_tokens):
                favoured = scores[node.next_tokens] + node.next_biases - lacks
                place = int(favoured.argmax())
                if favoured[place] > best[0]:
                    best = float(favoured[place]), node.next_nodes[place], int(node.next_tokens[place])
        return best[1], best[2]

    def _list_start_nodes(self) -> Iterable[TrieNode]:
        """Return the nodes that may be gone on from: a guess goes on with its term only."""
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
        """Go on from where a guess began with what would have been said there."""
        self._guess, self._end = None, self._commit_end
        self._position, self._symbols_at_frame = guess.position, guess.symbols_at_frame
        del self.emitted_tokens[guess.emitted_count :]
        self.lane.last_token, self.lane.predictor_state = guess.last_token, guess.predictor_state
        self._node = self._find_node_after(guess.alternative[0])
        self.emit_token(*guess.alternative)

    def _find_node_after(self, token: int) -> TrieNode:
        """Return the node after a token that begins a term, or the root."""
        found = np.flatnonzero(self._root.next_tokens == token)
        return self._root.next_nodes[int(found[0])] if len(found) else self._root


def _compute_probability(scores: NDArray[np.float32], token: int) -> float:
    return float(1.0 / np.exp(scores - scores[token]).sum())
