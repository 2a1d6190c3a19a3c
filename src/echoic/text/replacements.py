"""Replaces misrecognized words: whole words, literal text, longest match first, in one pass.

A text is split into atoms: runs of letters and digits, runs of white space, and single punctuation marks. A
table maps the text to find to its replacement, and each first letter to the lengths that start with it. So a
table is cheap to build, and the cost of a text does not grow with the size of the table. At each atom the
longest match that ends with an atom is replaced, and the search continues after it; replaced text is not
searched again. Word boundaries follow Unicode's default rules for scripts with spaces; in scripts without
spaces every letter is a word.

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

#: Punctuation that belongs to a word: C++, C#, snake_case.
_WORD_CHARACTERS = "_+#\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
#: Unicode ranges of scripts without spaces between words: Thai to Lao, Burmese, Khmer, kana, Han.
_UNSPACED_SCRIPTS = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
#: Kinds of characters: letter, digit, space, decimal point, other punctuation, letter of an unspaced script.
_LETTER, _DIGIT, _SPACE, _POINT, _PUNCTUATION, _UNSPACED_LETTER = "wd .-l"
#: An atom as kinds: a word (which may contain a point between two digits), white space, or one character.
_ATOM_PATTERN = re.compile(r"[wd]+(?:(?<=d)\.(?=d)[wd]+)*| +|.")


class _CharacterKinds(dict[int, str]):
    """Kinds of characters for ``str.translate``; missing ones are classified on each use."""

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
    """A part of a text that matches start and end with."""

    start: int
    end: int
    kind: str
    """Kind of its first character."""
    text: str
    """Normalized text for comparison."""

    @property
    def is_word(self) -> bool:
        return self.kind in (_LETTER, _DIGIT)

    @property
    def is_punctuation(self) -> bool:
        return self.kind in (_PUNCTUATION, _POINT)


@dataclass(frozen=True, slots=True)
class Edit:
    """A replacement of consecutive words."""

    first: int
    """Index of the first replaced word."""
    end: int
    """Index after the last replaced word."""
    words: tuple[str, ...]
    """The new words: at least one, none empty, none with white space."""


@dataclass(frozen=True, slots=True)
class _Match:
    start: int
    end: int
    replacement: str


class _AtomizedText:
    """A text as normalized atoms, and joined again."""

    __slots__ = ("atoms", "ends", "starts", "text")

    def __init__(self, atoms: Sequence[_Atom]) -> None:
        self.atoms = atoms
        #: The normalized texts of all atoms, joined.
        self.text = "".join(atom.text for atom in atoms)
        borders = list(accumulate((len(atom.text) for atom in atoms), initial=0))
        #: Start of each atom in ``text``.
        self.starts = borders[:-1]
        #: Index of the atom that ends at a position in ``text``.
        self.ends = {end: number for number, end in enumerate(borders[1:])}


class ReplacementTable:
    """A table of replacements by misrecognized text.

    Args:
        replacements: Neither keys nor values are empty; runs of white space count as one space.
        case_sensitive: Whether matches must have the same case.
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
        """Split a text into atoms, normalized for this table."""
        kinds = text.translate(_CHARACTER_KINDS)
        spans = (match.span() for match in _ATOM_PATTERN.finditer(kinds))
        return _AtomizedText(
            [
                _Atom(first, end, kinds[first], self._normalize_part(text[first:end], kinds[first]))
                for first, end in spans
            ]
        )

    def find_longest_match(self, text: _AtomizedText, at: int) -> tuple[int, str] | None:
        """Return the end and replacement of the longest match that starts at an atom, or None."""
        if not _is_start(text.atoms, at):
            return None
        start = text.starts[at]
        for length in self._lengths.get(text.text[start : start + 1], ()):
            last = text.ends.get(start + length)
            if last is not None and _is_end(text.atoms, last):
                replacement = self._replacements.get(text.text[start : start + length])
                if replacement is not None:
                    return last + 1, " ".join(replacement.split())
        return None

    def may_continue(self, text: _AtomizedText, at: int) -> bool:
        """Return whether a phrase may start at an atom and continue after the last word of the text."""
        beginning = text.text[text.starts[at] :] + " "
        index = bisect_right(self._phrases, beginning)  # no phrase ends with a space, so none equals it
        is_known = index < len(self._phrases) and self._phrases[index].startswith(beginning)
        return is_known and _is_start(text.atoms, at)

    @property
    def has_phrases(self) -> bool:
        """Whether an entry has more than one word."""
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
    """Several replacement tables: the longest match wins, of equal ones the first table's.

    Args:
        tables: All with the same case sensitivity.
    """

    def __init__(self, *tables: ReplacementTable) -> None:
        self._tables = tuple(table for table in tables if len(table))

    def __bool__(self) -> bool:
        return bool(self._tables)

    def replace_text(self, text: str) -> str:
        """Return a text with all matches replaced; the rest is unchanged."""
        return _apply_matches(text, self._find_matches(text), 0, len(text))

    def find_edits(self, words: Sequence[str]) -> list[Edit]:
        """Return the replacements in a text as edits of its words.

        Args:
            words: The text split at spaces. If a match covers part of a word, the edit keeps the rest of it.
        """
        text = " ".join(words)
        starts = list(accumulate((len(word) + 1 for word in words), initial=0))
        edits: list[Edit] = []
        for first, end, matches in _group_by_words(self._find_matches(text), starts):
            new = _apply_matches(text, matches, starts[first], starts[end] - 1)
            edits.append(Edit(first, end, tuple(new.split())))
        return edits

    @property
    def has_phrases(self) -> bool:
        """Whether an entry has more than one word."""
        return any(one.has_phrases for one in self._tables)

    def count_finished_words(self, words: Sequence[str]) -> int:
        """Return how many words from the start cannot be part of a match that later words complete.

        Args:
            words: As for ``find_edits``; more words may follow.
        """
        text = " ".join(words)
        atomized = self._split_atoms(text)
        matches: list[_Match] = []
        for at, match in self._walk_matches(atomized):
            if match is not None:
                matches.append(match)
            if any(table.may_continue(atomized, at) for table in self._tables):
                return _find_word(text, atomized.atoms[at].start, matches)
        return len(words)

    def _find_matches(self, text: str) -> list[_Match]:
        return [match for _, match in self._walk_matches(self._split_atoms(text)) if match is not None]

    def _split_atoms(self, text: str) -> _AtomizedText:
        return self._tables[0].split_atoms(text) if self._tables else _AtomizedText(())

    def _walk_matches(self, text: _AtomizedText) -> Iterator[tuple[int, _Match | None]]:
        """Yield each atom outside of earlier matches, and the match that starts there, or None."""
        atoms = text.atoms
        at = 0
        while at < len(atoms):
            candidates = (table.find_longest_match(text, at) for table in self._tables)
            found = [match for match in candidates if match is not None]
            end, replacement = max(found, key=lambda match: match[0], default=(at + 1, ""))
            yield at, _Match(atoms[at].start, atoms[end - 1].end, replacement) if found else None
            at = end


def _is_start(atoms: Sequence[_Atom], at: int) -> bool:
    """Return whether a match may start at an atom: not at punctuation right after a word."""
    return not (at and atoms[at].is_punctuation and atoms[at - 1].is_word)


def _is_end(atoms: Sequence[_Atom], at: int) -> bool:
    """Return whether a match may end with an atom: not with punctuation right before a word."""
    return not (atoms[at].is_punctuation and at + 1 < len(atoms) and atoms[at + 1].is_word)


def _find_word(text: str, position: int, matches: Sequence[_Match]) -> int:
    """Return the index of the word at a position, or of the first word of a match that overlaps that word."""
    for match in reversed(matches):
        start = text.rfind(" ", 0, position) + 1
        if match.end > start:
            position = min(position, match.start)
    return text.count(" ", 0, position)


def _apply_matches(text: str, matches: Iterable[_Match], start: int, end: int) -> str:
    """Return ``text[start:end]`` with its matches replaced."""
    parts: list[str] = []
    for match in matches:
        parts += (text[start : match.start], match.replacement)
        start = match.end
    return "".join((*parts, text[start:end]))


def _group_by_words(matches: Iterable[_Match], starts: Sequence[int]) -> list[tuple[int, int, list[_Match]]]:
    """Group matches by the words that they cover.

    Args:
        matches: In order.
        starts: Start of each word in the text, and the end of the text plus 1.

    Returns:
        Index of the first word, index after the last, and the matches of each group.
    """
    runs: list[tuple[int, int, list[_Match]]] = []
    word = 0
    for match in matches:
        while starts[word + 1] <= match.start:
            word += 1
        first = word
        while starts[word + 1] < match.end:
            word += 1
        if runs and runs[-1][1] > first:
            run_start, _, before = runs.pop()
            runs.append((run_start, word + 1, [*before, match]))
        else:
            runs.append((first, word + 1, [match]))
    return runs
