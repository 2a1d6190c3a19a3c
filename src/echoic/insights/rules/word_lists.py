"""The lists of words that the rules go by, in ``words.toml``."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files


def read_word_set(name: str) -> frozenset[str]:
    """Return a list's words."""
    return frozenset(_load_word_lists()[name].split())


def read_phrases(name: str) -> tuple[str, ...]:
    """Return a list of phrases that commas separate, in its order."""
    return tuple(" ".join(phrase.split()) for phrase in _load_word_lists()[name].split(","))


@cache
def _load_word_lists() -> dict[str, str]:
    return tomllib.loads(files("echoic.insights.rules").joinpath("words.toml").read_text("utf-8"))
