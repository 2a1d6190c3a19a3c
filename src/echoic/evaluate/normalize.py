"""Normalizes texts before comparison, so that case and punctuation do not count as errors."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

#: Splits a text into comparable words.
TextNormalizer = Callable[[str], list[str]]

_APOSTROPHES = str.maketrans({"\N{RIGHT SINGLE QUOTATION MARK}": "'", "\N{MODIFIER LETTER APOSTROPHE}": "'"})
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+|\d+")
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)$")
_LONG_FORMS: Mapping[str, str] = MappingProxyType(
    {
        "mr": "mister",
        "mrs": "missus",
        "dr": "doctor",
        "prof": "professor",
        "st": "saint",
        "vs": "versus",
        "ok": "okay",
        "cannot": "can not",
        "gonna": "going to",
        "wanna": "want to",
        "won't": "will not",
        "can't": "can not",
        "let's": "let us",
    }
)
#: Contracted endings and their long forms.
_CONTRACTIONS: Mapping[str, str] = MappingProxyType(
    {"n't": " not", "'re": " are", "'ve": " have", "'ll": " will", "'m": " am"}
)
_SPOKEN_SIGNS = str.maketrans({"&": " and ", "%": " percent ", "$": " dollars ", "\N{EURO SIGN}": " euros "})
_ONES = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen
""".split()  # noqa: SIM905  # shorter than a list of twenty strings
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ((1_000_000, "million"), (1_000, "thousand"), (100, "hundred"))
_ORDINALS: Mapping[str, str] = MappingProxyType(
    {
        "one": "first",
        "two": "second",
        "three": "third",
        "five": "fifth",
        "eight": "eighth",
        "nine": "ninth",
        "twelve": "twelfth",
    }
)
#: Longer numbers are spelled digit by digit.
_MAX_SPOKEN_DIGITS = 9
_TWENTY, _HUNDRED = 20, 100


def normalize_text(text: str) -> list[str]:
    """Return the words of ``text`` in lower case without punctuation; apostrophes inside words stay."""
    return _WORD.findall(text.translate(_APOSTROPHES).lower())


def split_whitespace(text: str) -> list[str]:
    """Split ``text`` at white space; case and punctuation stay."""
    return text.split()


def normalize_english(text: str) -> list[str]:
    """Return the words of English ``text`` with numbers, abbreviations and contractions spelled out."""
    plain = text.translate(_SPOKEN_SIGNS)
    plain = _NUMBER.sub(lambda found: found[0].replace(",", ""), plain)
    return [part for word in normalize_text(plain) for part in _spell_out(word).split()]


NORMALIZERS: Mapping[str, TextNormalizer] = MappingProxyType(
    {"basic": normalize_text, "english": normalize_english, "none": split_whitespace}
)


def _spell_out(word: str) -> str:
    if word in _LONG_FORMS:
        return _LONG_FORMS[word]
    if word.isdecimal():
        return _spell_digits(word)
    if (digits := _ORDINAL.sub("", word)) != word and digits.isdecimal():
        *first, last = _spell_digits(digits).split()
        return " ".join([*first, _to_ordinal(last)])
    for ending, long in _CONTRACTIONS.items():
        if word.endswith(ending):
            return word.removesuffix(ending) + long
    return word


def _spell_digits(digits: str) -> str:
    if len(digits) > _MAX_SPOKEN_DIGITS or (len(digits) > 1 and digits.startswith("0")):
        return " ".join(_ONES[int(digit)] for digit in digits)
    return _spell_number(int(digits))


def _spell_number(number: int) -> str:
    if number < _TWENTY:
        return _ONES[number]
    if number < _HUNDRED:
        tens, rest = _TENS[number // 10 - 2], number % 10
    else:
        scale, name = next(scale for scale in _SCALES if number >= scale[0])
        tens, rest = f"{_spell_number(number // scale)} {name}", number % scale
    return f"{tens} {_spell_number(rest)}" if rest else tens


def _to_ordinal(word: str) -> str:
    if word in _ORDINALS:
        return _ORDINALS[word]
    return f"{word.removesuffix('y')}ieth" if word.endswith("y") else f"{word}th"
