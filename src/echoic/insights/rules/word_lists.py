"""Loads the word lists of the rules from ``words.toml``."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files


def read_word_set(name: str) -> frozenset[str]:
    """Return the words of a list."""
    return frozenset(_load_word_lists()[name].split())


@cache
def _load_word_lists() -> dict[str, str]:
    return tomllib.loads(files("echoic.insights.rules").joinpath("words.toml").read_text("utf-8"))
