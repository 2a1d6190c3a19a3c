"""Replacing misheard words by those that were meant: whole words, literally, in one pass.

A text is cut into atoms: runs of letters and digits, runs of white space, and single signs. What is to be
found is kept whole, with the lengths there are by their first letter: making that costs next to nothing, and
what a text costs does not grow with how much may be found in it. At each atom the longest that begins there
and ends with an atom is taken, and the search goes on behind it: what was put in is never looked at again.
Borders of words are those of Unicode's default rules where words are parted by spaces; in writing without
spaces every letter has borders.
Source: Unicode Standard Annex 29, https://www.unicode.org/reports/tr29/ (simplified).
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from types import MappingProxyType

#: Signs that belong to the word they stand at: C++, C#, snake_case.
_WORD_CHARACTERS = "_+#\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
#: Blocks of writing without spaces between words: Thai to Lao, Burmese, Khmer, kana, Han.
_UNSPACED_SCRIPTS = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
#: Kinds of characters: letter, digit, space, what may stand inside a number, other sign, a word by itself.
_LETTER, _DIGIT, _SPACE, _POINT, _PUNCTUATION, _UNSPACED_LETTER = "wd .-l"
#: An atom, in kinds: a word (a point between two digits is inside it), white space, or one character.
_ATOM_PATTERN = re.compile(r"[wd]+(?:(?<=d)\.(?=d)[wd]+)*| +|.")


class _CharacterKinds(dict[int, str]):
    """The kind of each character, for ``str.translate``; those that are not in it are found anew."""

    def __missing__(self, code: int) -> str:
        return _classify_character(chr(code))


def _classify_character(character: str) -> str:
    if character.isspace():
        return _SPACE
    if any(first <= ord(character) <= last for first, last in _UNSPACED_SCRIPTS):
        return _UNSPACED_LETTER
    if character.isdecimal():
        return _DIGIT
    if (
        character.isalnum()
        or character in _WORD_CHARACTERS
        or unicodedata.category(character).startswith("M")
    ):
        return _LETTER
    return _POINT if character in ".," else _PUNCTUATION


_CHARACTER_KINDS: Mapping[int, str] = MappingProxyType(
    _CharacterKinds({code: _classify_character(chr(code)) for code in range(128)})
)


@dataclass(frozen=True, slots=True)
class _Atom:
    """A piece of a text: its place, its kind by its first character, and its text as it is compared."""

    start: int
    end: int
    kind: str
    text: str

    @property
    def is_word(self) -> bool:
        return self.kind in (_LETTER, _DIGIT)

    @property
    def is_sign(self) -> bool:
        return self.kind in (_PUNCTUATION, _POINT)


@dataclass(frozen=True, slots=True)
class Edit:
    """Words that others take the place of.

    Attributes:
        first: The first that goes.
        end: The one after the last that goes.
        words: What comes instead, one at least; none of them is empty or holds white space.
    """

    first: int
    end: int
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Match:
    start: int
    end: int
    meant: str


class _AtomizedText:
    """A text's atoms as they are compared, joined again.

    Attributes:
        atoms: In order.
        text: Of all of them.
        starts: Where each starts in it.
        ends: By where an atom ends in it, which.
    """

    __slots__ = ("atoms", "ends", "starts", "text")

    def __init__(self, atoms: Sequence[_Atom]) -> None:
        self.atoms = atoms
        self.text = "".join(atom.text for atom in atoms)
        borders = list(accumulate((len(atom.text) for atom in atoms), initial=0))
        self.starts = borders[:-1]
        self.ends = {end: number for number, end in enumerate(borders[1:])}


class ReplacementTable:
    """What is heard and what was meant by it.

    Args:
        replacements: By what is heard. Neither is empty; white space counts as one space.
        case_sensitive: Whether capitals must be as they are written.
    """

    def __init__(self, replacements: Mapping[str, str], *, case_sensitive: bool = False) -> None:
        self._case_sensitive = case_sensitive
        self._replacements: dict[str, str] = {}
        lengths: dict[str, set[int]] = {}
        for heard, text in replacements.items():
            key = self._fold_case(" ".join(heard.split()))
            self._replacements[key] = text
            lengths.setdefault(key[:1], set()).add(len(key))
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths.items()}
        self._phrases = sorted(key for key in self._replacements if " " in key)

    def split_atoms(self, text: str) -> _AtomizedText:
        """Return a text's atoms as they are compared here."""
        kinds = text.translate(_CHARACTER_KINDS)
        spans = (match.span() for match in _ATOM_PATTERN.finditer(kinds))
        return _AtomizedText(
            [
                _Atom(first, end, kinds[first], self._normalize_part(text[first:end], kinds[first]))
                for first, end in spans
            ]
        )

    def find_longest_match(self, cut: _AtomizedText, at: int) -> tuple[int, str] | None:
        """Return up to where the longest goes that begins at an atom, and what was meant; None: none does."""
        atoms = cut.atoms
        if not _is_start(atoms, at):
            return None
        start = cut.starts[at]
        for length in self._lengths.get(cut.text[start : start + 1], ()):
            last = cut.ends.get(start + length)
            if last is not None and _is_end(atoms, last):
                meant = self._replacements.get(cut.text[start : start + length])
                if meant is not None:
                    return last + 1, " ".join(meant.split())
        return None

    def may_continue(self, cut: _AtomizedText, at: int) -> bool:
        """Return whether a phrase may begin at an atom that goes on behind the text's last word."""
        begun = cut.text[cut.starts[at] :] + " "
        place = bisect_right(self._phrases, begun)  # no phrase ends with a space, so none is just this
        known = place < len(self._phrases) and self._phrases[place].startswith(begun)
        return known and _is_start(cut.atoms, at)

    @property
    def has_phrases(self) -> bool:
        """Whether something of several words is to be found."""
        return bool(self._phrases)

    def __len__(self) -> int:
        return len(self._replacements)

    def _normalize_part(self, text: str, kind: str) -> str:
        return " " if kind == _SPACE else self._fold_case(text)

    def _fold_case(self, text: str) -> str:
        if text.isascii():
            return text if self._case_sensitive else text.lower()
        text = unicodedata.normalize("NFC", text)
        return text if self._case_sensitive else unicodedata.normalize("NFC", text.casefold())


class Replacements:
    """Glossaries one over the other: the longest words count, and of equally long ones the first glossary's.

    Args:
        glossaries: All with capitals treated alike.
    """

    def __init__(self, *glossaries: ReplacementTable) -> None:
        self._tables = tuple(one for one in glossaries if len(one))

    def __bool__(self) -> bool:
        return bool(self._tables)

    def replace_text(self, text: str) -> str:
        """Return a text with what was meant in place of what was heard; all around stays as it is."""
        return _apply_matches(text, self._find_matches(text), 0, len(text))

    def find_edits(self, words: Sequence[str]) -> list[Edit]:
        """Return which of the words others take the place of; joined by spaces they are the text's.

        Args:
            words: A text's, parted at its spaces. What stands around a match in its words stays in the edit.
        """
        text = " ".join(words)
        ends = list(accumulate((len(word) + 1 for word in words), initial=0))
        edits: list[Edit] = []
        for first, end, matches in _group_by_words(self._find_matches(text), ends):
            new = _apply_matches(text, matches, ends[first], ends[end] - 1)
            edits.append(Edit(first, end, tuple(new.split())))
        return edits

    @property
    def has_phrases(self) -> bool:
        """Whether something of several words is to be found."""
        return any(one.has_phrases for one in self._tables)

    def count_finished_words(self, words: Sequence[str]) -> int:
        """Return the first word that cannot be said before it is known what follows; their number if all can.

        Args:
            words: As for ``find_edits``; there may be more to come.
        """
        text = " ".join(words)
        cut = self._split_atoms(text)
        matches: list[_Match] = []
        for at, match in self._walk_matches(cut):
            if match is not None:
                matches.append(match)
            if any(one.may_continue(cut, at) for one in self._tables):
                return _find_word(text, cut.atoms[at].start, matches)
        return len(words)

    def _find_matches(self, text: str) -> list[_Match]:
        return [match for _, match in self._walk_matches(self._split_atoms(text)) if match is not None]

    def _split_atoms(self, text: str) -> _AtomizedText:
        return self._tables[0].split_atoms(text) if self._tables else _AtomizedText(())

    def _walk_matches(self, cut: _AtomizedText) -> Iterator[tuple[int, _Match | None]]:
        """Yield each atom at which something may begin, and what does."""
        atoms = cut.atoms
        at = 0
        while at < len(atoms):
            ways = [way for one in self._tables if (way := one.find_longest_match(cut, at)) is not None]
            end, meant = max(ways, key=lambda way: way[0], default=(at + 1, ""))
            yield at, _Match(atoms[at].start, atoms[end - 1].end, meant) if ways else None
            at = end


def _is_start(atoms: Sequence[_Atom], at: int) -> bool:
    """Return whether words may begin with an atom: no sign that stands at a word begins one."""
    return not (at and atoms[at].is_sign and atoms[at - 1].is_word)


def _is_end(atoms: Sequence[_Atom], at: int) -> bool:
    """Return whether words may end with an atom: no word goes on behind its sign."""
    return not (atoms[at].is_sign and at + 1 < len(atoms) and atoms[at + 1].is_word)


def _find_word(text: str, place: int, matches: Sequence[_Match]) -> int:
    """Return the number of the word that holds a place, or of the first in a match that reaches into it."""
    for match in reversed(matches):
        start = text.rfind(" ", 0, place) + 1
        if match.end > start:
            place = min(place, match.start)
    return text.count(" ", 0, place)


def _apply_matches(text: str, matches: Iterable[_Match], start: int, end: int) -> str:
    """Return ``text[start:end]`` with its matches replaced."""
    parts: list[str] = []
    for match in matches:
        parts += (text[start : match.start], match.meant)
        start = match.end
    return "".join((*parts, text[start:end]))


def _group_by_words(matches: Iterable[_Match], ends: Sequence[int]) -> list[tuple[int, int, list[_Match]]]:
    """Return runs of words, from the first to the one after the last, and the matches that lie in each.

    Args:
        matches: In order.
        ends: Where each word begins in the text, and one more: two words are one space apart.
    """
    runs: list[tuple[int, int, list[_Match]]] = []
    word = 0
    for match in matches:
        while ends[word + 1] <= match.start:
            word += 1
        first = word
        while ends[word + 1] < match.end:
            word += 1
        if runs and runs[-1][1] > first:
            begun, _, before = runs.pop()
            runs.append((begun, word + 1, [*before, match]))
        else:
            runs.append((first, word + 1, [match]))
    return runs
