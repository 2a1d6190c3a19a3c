"""Random actions of a client during a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from echoic.engines.scripted import draw_words

if TYPE_CHECKING:
    import random

    from numpy.typing import NDArray

    Act = tuple[str, Any]

WORDS = ("alpha", "bravo", "charlie", "one", "two", "three", "four", "five", "six", "seven")
CHUNK_DURATIONS = (1.0, 1.5, 3.3)
OVERLAP_DURATIONS = (0.0, 0.25, 0.5)
#: Turns of speech.
TURN_COUNT = 14


def build_actions(rng: random.Random, rates: tuple[int, ...], turns: int = TURN_COUNT) -> list[Act]:
    """Return random sends, and between them commits, resets, valid and invalid configs."""
    rate = rng.choice(rates)
    acts: list[Act] = [("config", {"sample_rate": rate})]
    for _ in range(turns):
        words = [(rng.choice(WORDS), rng.uniform(0.2, 0.6)) for _ in range(rng.randrange(2, 16))]
        acts += build_sends(rng, draw_words([*words, ("", rng.choice((0.0, 0.0, 4.0)))], rate=rate), rate)
        kind = rng.choice(("commit", "reset", "config", "config", "bad", "ping", "none"))
        if kind == "config":
            rate = rng.choice(rates)
            durations = {
                "chunk_duration": rng.choice(CHUNK_DURATIONS),
                "overlap_duration": rng.choice(OVERLAP_DURATIONS),
            }
            acts.append((kind, {"sample_rate": rate, **(durations if rng.random() < 0.7 else {})}))
        elif kind != "none":
            acts.append((kind, None))
    return acts


def build_sends(rng: random.Random, audio: NDArray[Any], rate: int) -> list[Act]:
    """Return audio in pieces of up to two seconds."""
    acts: list[Act] = []
    while len(audio):
        samples = rng.randrange(1, 2 * rate)
        acts.append(("send", audio[:samples]))
        audio = audio[samples:]
    return acts
