"""What the rules for English have in common: sentences stripped of what says nothing, and names."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

from echoic.insights.rules.word_lists import read_word_set

_FILLERS: Final = re.compile(r"(?:^|(?<= ))(?:um+|uh+|erm?|hmm+|mm+|you know,?)[,.]?(?: |$)", re.IGNORECASE)
_LEADING: Final = re.compile(
    r"^(?:(?:okay|ok|so|alright|all right|well|yeah|yes|right|great|cool|good|perfect|and|but|then|also|um"
    r"|uh|"
    r"anyway|oh|ah|i mean,|i think,|you know,)(?:\b|(?<=,))[,.]? ?)+",
    re.IGNORECASE,
)
_WORD: Final = re.compile(r"[\w'-]+")
_EMPTY: Final = read_word_set("empty")
_NOBODY: Final = read_word_set("nobody")
_NAMES_IN_S: Final = read_word_set("names_in_s")


def plain(text: str) -> str:
    """Return a sentence without hesitation, with a typewriter's apostrophes."""
    return _FILLERS.sub("", text.replace("’", "'")).strip()  # noqa: RUF001  # a typographer's apostrophe


def strip_fillers(text: str) -> str:
    """Return a sentence without hesitation, and without the words that only lead to it."""
    said = plain(text)
    return _LEADING.sub("", said) or said


def capitalize_first(text: str) -> str:
    """Return a text that begins with a capital."""
    return text[:1].upper() + text[1:]


def names_something(text: str) -> bool:
    """Return whether a text has a word that is more than "it", "that", "tomorrow"."""
    return any(word not in _EMPTY for word in _WORD.findall(text.lower()))


def may_be_name(word: str, common: Container[str]) -> bool:
    """Return whether a word where a name may stand is one.

    Args:
        word: One word.
        common: Words in small letters that are none.
    """
    lower = word.lower()
    if not lower.replace("-", "").isalpha() or len(lower) == 1 or lower in _NOBODY or lower in common:
        return False
    return not lower.endswith("s") or lower.endswith("ss") or lower in _NAMES_IN_S
