"""The lists of words that the rules go by, in ``words.toml``."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files


def listed(name: str) -> frozenset[str]:
    """Return a list's words."""
    return frozenset(_lists()[name].split())


def phrases(name: str) -> tuple[str, ...]:
    """Return a list of phrases that commas separate, in its order."""
    return tuple(" ".join(phrase.split()) for phrase in _lists()[name].split(","))


@cache
def _lists() -> dict[str, str]:
    return tomllib.loads(files("echoic.insights").joinpath("words.toml").read_text("utf-8"))
