"""The grammar of the tiny Parakeet: 125 words of home commands, numbers and names."""

from __future__ import annotations

import random
from collections.abc import Callable


def _split_words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


DIGITS = _split_words("zero one two three four five six seven eight nine")
TEENS = _split_words("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen")
TENS = _split_words("twenty thirty forty fifty sixty seventy eighty ninety")
ROOMS = _split_words("kitchen bedroom office garage garden bathroom hallway")
DEVICES = _split_words("lights heater radio fan television door window alarm")
COLOURS = _split_words("red green blue yellow white black orange purple")
CITIES = _split_words("london paris berlin tokyo madrid boston")
DAYS = _split_words("monday tuesday wednesday thursday friday saturday sunday")
NAMES = _split_words("alice bob carol david emma frank grace henry")
FOODS = _split_words("coffee bread milk apples cheese water sugar rice")
UNITS = _split_words("seconds minutes hours days")
SMALL = _split_words(
    "turn on off the set to open close a timer for what is weather in time it call now tomorrow send "
    "message and add shopping list meet at play track yes no stop start please thank you good morning "
    "hello hundred"
)
WORDS = tuple(
    dict.fromkeys(
        (
            *DIGITS, *TEENS, *TENS, *ROOMS, *DEVICES, *COLOURS, *CITIES, *DAYS, *NAMES, *FOODS, *UNITS,
            *SMALL,
        )
    )
)  # fmt: skip
#: How many of a hundred sentences are words in any order, so that the ear learns more than the grammar.
_ANY_ORDER = 35


def draw_number(chance: random.Random) -> str:
    """Return a number below 1,000."""
    kind = chance.random()
    if kind < 0.3:
        return chance.choice(DIGITS)
    if kind < 0.5:
        return chance.choice(TEENS)
    said = chance.choice(TENS)
    if chance.random() < 0.6:
        said += " " + chance.choice(DIGITS[1:])
    if chance.random() < 0.2:
        said = chance.choice(DIGITS[1:]) + " hundred and " + said
    return said


def _draw_short(chance: random.Random) -> str:
    return chance.choice(
        (
            "yes", "no", "stop", "start", "please stop the timer", "thank you", "good morning",
            "stop the " + chance.choice(DEVICES), "hello " + chance.choice(NAMES),
            "good morning " + chance.choice(NAMES), "thank you " + chance.choice(NAMES),
        )
    )  # fmt: skip


def _draw_time(chance: random.Random) -> str:
    return chance.choice(("now", "tomorrow", "on " + chance.choice(DAYS), "at " + draw_number(chance)))


_SENTENCES: tuple[Callable[[random.Random], str], ...] = (
    lambda c: f"turn {c.choice(('on', 'off'))} the {c.choice(ROOMS)} {c.choice(DEVICES)}",
    lambda c: f"please turn {c.choice(('on', 'off'))} the {c.choice(DEVICES)} {_draw_time(c)}",
    lambda c: f"set the {c.choice(ROOMS)} lights to {c.choice(COLOURS)}",
    lambda c: f"set the {c.choice(DEVICES)} in the {c.choice(ROOMS)} to {draw_number(c)}",
    lambda c: f"{c.choice(('open', 'close'))} the {c.choice(ROOMS)} {c.choice(('door', 'window'))}",
    lambda c: f"set {c.choice(('a timer', 'the alarm'))} for {draw_number(c)} {c.choice(UNITS)}",
    lambda c: f"what is the weather in {c.choice(CITIES)} {_draw_time(c)}",
    lambda c: f"what time is it in {c.choice(CITIES)}",
    lambda c: f"call {c.choice(NAMES)} {_draw_time(c)}",
    lambda c: f"send a message to {c.choice(NAMES)} and {c.choice(NAMES)}",
    lambda c: f"add {c.choice(FOODS)} and {c.choice(FOODS)} to the shopping list",
    lambda c: f"add {draw_number(c)} {c.choice(FOODS)} to the list for {c.choice(DAYS)}",
    lambda c: " ".join(c.choice(DIGITS) for _ in range(c.randint(2, 7))),
    lambda c: f"the {c.choice(COLOURS)} {c.choice(DEVICES)} is in the {c.choice(ROOMS)}",
    lambda c: f"meet {c.choice(NAMES)} in {c.choice(CITIES)} on {c.choice(DAYS)} at {draw_number(c)}",
    lambda c: f"play track {draw_number(c)} on the {c.choice(ROOMS)} radio",
    _draw_short,
    lambda c: " ".join(draw_number(c) for _ in range(c.randint(1, 3))),
)


def draw_grammar_sentence(chance: random.Random) -> tuple[str, ...]:
    """Return the words of a sentence."""
    return tuple(chance.choice(_SENTENCES)(chance).split())


def draw_random_words(chance: random.Random) -> tuple[str, ...]:
    """Return one to eight random words."""
    return tuple(chance.choice(WORDS) for _ in range(chance.randint(1, 8)))


def draw_sentence(chance: random.Random) -> tuple[str, ...]:
    """Return the words of a sentence of the grammar, or random words."""
    return draw_random_words(chance) if chance.randrange(100) < _ANY_ORDER else draw_grammar_sentence(chance)
