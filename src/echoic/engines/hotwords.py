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
from dataclasses import dataclass, field
from math import exp
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from echoic.engines.transducer import TransducerState, Walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from echoic.engines.decoder import Frames
    from echoic.engines.transducer import Verdict
    from echoic.text.vocabulary import Hotword, Hotwords

#: Nats that a term is favoured by at most with a boost of 1, and letters after which it is two thirds of it.
#: Source: ``benchmarks/hotwords.py``.
MOST, SLOPE = 8.0, 3.0


_NO_TOKENS, _NO_CREDITS = np.zeros(0, np.int64), np.zeros(0, np.float32)


@dataclass(slots=True, eq=False)
class Node:
    """What was said of some terms.

    Attributes:
        credit: Nats that they are favoured by so far.
        ends: Whether one of them ends here.
        tokens: What may be said next, int64, shape ``(n,)``.
        credits: ``credit`` after each of those, float32, shape ``(n,)``.
        next: The nodes after each.
    """

    credit: float = 0.0
    ends: bool = False
    tokens: NDArray[np.int64] = field(default_factory=lambda: _NO_TOKENS)
    credits: NDArray[np.float32] = field(default_factory=lambda: _NO_CREDITS)
    next: tuple[Node, ...] = ()


class Tree:
    """The spellings of terms in a model's pieces.

    Args:
        hotwords: The terms.
        pieces: The model's, a leading space where a word starts.
    """

    def __init__(self, hotwords: Hotwords, pieces: Pieces) -> None:
        self.root = Node()
        nodes = {"": self.root}
        ways: dict[str, dict[int, Node]] = {}
        for one in hotwords.terms:
            for spelling in _spellings(one.term) if one.boost else ():
                _add(spelling, one.boost, pieces, nodes, ways)
        for said, after in ways.items():
            node = nodes[said]
            node.next = tuple(after.values())
            node.tokens = np.fromiter(after, np.int64, len(after))
            node.credits = np.fromiter((one.credit for one in node.next), np.float32, len(after))


def _add(
    spelling: str, boost: float, pieces: Pieces, nodes: dict[str, Node], ways: dict[str, dict[int, Node]]
) -> None:
    """Add a spelling to the nodes by what was said, and to the ways from each by their tokens."""
    for start, end, token in pieces.ways(spelling):
        said = spelling[:end]
        node = nodes.get(said) or nodes.setdefault(said, Node())
        node.credit = max(node.credit, boost * MOST * (1 - exp((1 - end) / SLOPE)))
        ways.setdefault(spelling[:start], {})[token] = node
    if spelling in nodes:
        nodes[spelling].ends = True


def _spellings(term: str) -> list[str]:
    """Return a term as it is written, without capitals, and as a sentence's beginning."""
    forms = (term, term.lower(), term[:1].upper() + term[1:])
    return [f" {form}" for form in dict.fromkeys(forms)]


class Pieces:
    """A model's pieces by what they spell.

    Args:
        pieces: By their numbers; empty ones spell nothing.
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        self._numbers = {piece: number for number, piece in enumerate(pieces) if piece}
        self._longest = max(map(len, self._numbers), default=0)

    def ways(self, text: str) -> Iterator[tuple[int, int, int]]:
        """Yield start, end and number of each piece in any way to spell a text from its start to its end."""
        size = len(text)
        after: list[list[tuple[int, int]]] = [[] for _ in range(size)]
        good = {size}
        for start in reversed(range(size)):
            for end in range(start + 1, min(size, start + self._longest) + 1):
                if end in good and (number := self._numbers.get(text[start:end])) is not None:
                    after[start].append((end, number))
            if after[start]:
                good.add(start)
        reached = {0}
        for start in range(size):
            if start in reached:
                for end, number in after[start]:
                    reached.add(end)
                    yield start, end, number


class Trees:
    """The trees of the vocabularies in use; equal ones share one, which goes with the last of them.

    A tree is made while others look theirs up: two that want the same for the first time at once both make
    it, and keep one.

    Args:
        pieces: The model's.
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        self._pieces = Pieces(pieces)
        self._trees: WeakKeyDictionary[Hotwords, Tree] = WeakKeyDictionary()
        self._by_terms: WeakValueDictionary[tuple[Hotword, ...], Tree] = WeakValueDictionary()
        self._lock = threading.Lock()

    def of(self, hotwords: Hotwords) -> Tree | None:
        """Return the tree of some terms; None: there are none."""
        if not hotwords:
            return None
        with self._lock:
            tree = self._trees.get(hotwords)
            if tree is not None:
                return tree
            tree = self._by_terms.get(hotwords.terms)
        tree = tree or Tree(hotwords, self._pieces)
        with self._lock:
            tree = self._by_terms.setdefault(hotwords.terms, tree)
            self._trees[hotwords] = tree
            return tree


@dataclass(frozen=True, slots=True)
class Boost:
    """What a lane listens for (``transducer.Favour``).

    Attributes:
        tree: The terms.
        edge: Frames of the lane that are to be said; those after it only tell how a guess ends.
    """

    tree: Tree
    edge: int

    def walk(self, frames: Frames, state: TransducerState, max_symbols: int) -> BoostedWalk:
        """Return the lane's walk."""
        return BoostedWalk(frames, state, max_symbols, self)


@dataclass(slots=True)
class _Guess:
    """Where a guess began, what would have been said there, and what the guess lacks so far in nats."""

    position: int
    symbols: int
    count: int
    token: int
    memory: object
    emission: tuple[int, int, float, object]
    lacks: float


class BoostedWalk(Walk):
    """A lane that listens for terms on its way through its frames.

    Args:
        frames: The lane's, those after its edge too.
        state: Where it stands.
        max_symbols: As in ``Transducer``.
        boost: What it listens for.
    """

    def __init__(self, frames: Frames, state: TransducerState, max_symbols: int, boost: Boost) -> None:
        super().__init__(frames, state, max_symbols)
        self._all, self._edge = self._size, boost.edge
        self._size = boost.edge
        self._root = boost.tree.root
        self._tree = boost.tree
        place = state.place
        self._node = place[1] if isinstance(place, tuple) and place[0] is self._tree else self._root
        self._guess: _Guess | None = None

    def ended(self) -> bool:
        """Return whether it is over; a guess that the frames do not bear out is taken back first."""
        if self._position >= self._size and self._guess is not None:
            self._take_back(self._guess)
        return self._position >= self._size

    def state(self) -> TransducerState:
        """Return where it stands at its edge."""
        place = None if self._node is self._root else (self._tree, self._node)
        return TransducerState(self.lane.token, self.lane.memory, self._position - self._edge, place)

    def hear(self, verdict: Verdict, lane: int, offset: int) -> None:
        """Emit the likeliest token, or one of a term's that lacks no more than the term is favoured by."""
        likeliest = verdict.tokens[lane][offset]
        scores = verdict.scores(lane, offset)
        node, token = self._favoured(scores, likeliest)
        said = (likeliest, verdict.durations[lane][offset], verdict.probability(lane, offset))
        memory = verdict.memory(lane)
        if node is None:
            if self._guess is not None:
                self._take_back(self._guess)
                return
            self._node = self._root
            self.emit(*said, memory)
            return
        if token != likeliest and self._guess is None:
            self._begin((*said, memory))
        if self._guess is not None:
            self._guess.lacks += float(scores[likeliest] - scores[token])
        self._node = node
        probability = said[2] if token == likeliest else _probability(scores, token)
        self.emit(token, said[1], probability, memory)
        if node.ends:
            self._guess, self._size = None, self._edge

    def _favoured(self, scores: NDArray[np.float32], likeliest: int) -> tuple[Node | None, int]:
        """Return the node and token of a term that go on here, or None: no term does."""
        lacks = 0.0 if self._guess is None else self._guess.lacks
        best: tuple[float, Node | None, int] = (float(scores[likeliest]), None, likeliest)
        for node in self._ways():
            if len(node.tokens):
                favoured = scores[node.tokens] + node.credits - lacks
                place = int(favoured.argmax())
                if favoured[place] > best[0]:
                    best = float(favoured[place]), node.next[place], int(node.tokens[place])
        return best[1], best[2]

    def _ways(self) -> Iterable[Node]:
        """Return the nodes that may be gone on from: a guess goes on with its term only."""
        if self._guess is not None or self._node is self._root:
            return (self._node,)
        return (self._node, self._root)

    def _begin(self, emission: tuple[int, int, float, object]) -> None:
        self._guess = _Guess(
            self._position,
            self._symbols,
            len(self.emissions),
            self.lane.token,
            self.lane.memory,
            emission,
            lacks=0.0,
        )
        self._size = self._all

    def _take_back(self, guess: _Guess) -> None:
        """Go on from where a guess began with what would have been said there."""
        self._guess, self._size = None, self._edge
        self._position, self._symbols = guess.position, guess.symbols
        del self.emissions[guess.count :]
        self.lane.token, self.lane.memory = guess.token, guess.memory
        self._node = self._after(guess.emission[0])
        self.emit(*guess.emission)

    def _after(self, token: int) -> Node:
        """Return the node after a token that begins a term, or the root."""
        found = np.flatnonzero(self._root.tokens == token)
        return self._root.next[int(found[0])] if len(found) else self._root


def _probability(scores: NDArray[np.float32], token: int) -> float:
    return float(1.0 / np.exp(scores - scores[token]).sum())
