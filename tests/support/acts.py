"""What a client does in the course of a stream, by chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from echoic.engines.scripted import draw

if TYPE_CHECKING:
    import random

    from numpy.typing import NDArray

    Act = tuple[str, Any]

WORDS = ("alpha", "bravo", "charlie", "one", "two", "three", "four", "five", "six", "seven")
CHUNKS = (1.0, 1.5, 3.3)
OVERLAPS = (0.0, 0.25, 0.5)
#: Turns of speech.
TURNS = 14


def played(chance: random.Random, rates: tuple[int, ...], turns: int = TURNS) -> list[Act]:
    """Return what a client does: sends, and between them a commit, a reset, a config, or a bad one."""
    rate = chance.choice(rates)
    acts: list[Act] = [("config", {"sample_rate": rate})]
    for _ in range(turns):
        words = [(chance.choice(WORDS), chance.uniform(0.2, 0.6)) for _ in range(chance.randrange(2, 16))]
        acts += sent(chance, draw([*words, ("", chance.choice((0.0, 0.0, 4.0)))], rate=rate), rate)
        kind = chance.choice(("commit", "reset", "config", "config", "bad", "ping", "none"))
        if kind == "config":
            rate = chance.choice(rates)
            durations = {"chunk_duration": chance.choice(CHUNKS), "overlap_duration": chance.choice(OVERLAPS)}
            acts.append((kind, {"sample_rate": rate, **(durations if chance.random() < 0.7 else {})}))
        elif kind != "none":
            acts.append((kind, None))
    return acts


def sent(chance: random.Random, audio: NDArray[Any], rate: int) -> list[Act]:
    """Return audio in pieces of up to two seconds."""
    acts: list[Act] = []
    while len(audio):
        samples = chance.randrange(1, 2 * rate)
        acts.append(("send", audio[:samples]))
        audio = audio[samples:]
    return acts
