"""A custom vocabulary: terms to listen for, and replacements of what is misheard.

What the server has holds for every session; what a session brings comes before it. Here the forms in which
both are written are read, and nothing else: no file is opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from echoic.text.replacements import Replacements, ReplacementTable

#: Terms that are told to a model by a prompt. Source: the protocol, section 8.
MAX_PROMPT_TERMS: Final = 64
#: The most terms and replacements, of a session or of the server, and of the characters of each.
MAX_TERMS: Final = 1_000
MAX_REPLACEMENTS: Final = 10_000
MAX_TERM_LENGTH: Final = 200
#: The most characters of all terms of a session, or of the server: an engine's tree of them stays small.
MAX_TOTAL_TERM_CHARACTERS: Final = 20_000
#: A term's boost at most; 1 is the usual one.
MAX_BOOST: Final = 10.0
PROMPT_TEMPLATE: Final = "Domain terms: {terms}."
_BYTE_ORDER_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"


class VocabularyError(ValueError):
    """A vocabulary that cannot be used; it says nothing of what is in it.

    Args:
        requirement: What it must be: "text of 1 to 200 characters".
        location: Where: a key or an index, or a line; empty: the whole.
    """

    def __init__(self, requirement: str, location: str = "") -> None:
        super().__init__(f"{location} must be {requirement}" if location else f"it must be {requirement}")
        self.requirement, self.location = requirement, location


@dataclass(frozen=True, slots=True)
class Hotword:
    """A term to listen for: as it is to be written, and how much it is favoured (1: as usual)."""

    term: str
    boost: float = 1.0


@dataclass(frozen=True, eq=False)
class Hotwords:
    """Terms that belong together; an engine may keep what it made of this very object."""

    terms: tuple[Hotword, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.terms)


#: No terms.
NO_HOTWORDS: Final = Hotwords()


@dataclass(frozen=True, slots=True)
class VocabularyEntries:
    """What one side brings: terms, and by what is heard what was meant."""

    terms: tuple[Hotword, ...] = ()
    replacements: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VocabularyPolicy:
    """How a server uses vocabularies.

    Attributes:
        template: The prompt, with ``{terms}`` in it; None: no prompts.
        replaces: Whether anything is replaced.
        case_sensitive: Whether capitals must be as they are written.
    """

    template: str | None = PROMPT_TEMPLATE
    replaces: bool = True
    case_sensitive: bool = False


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The vocabulary of a session; those with the same words are equal.

    Attributes:
        server: What the server brings.
        policy: How it is used.
        session: What the session brings.
        hotwords: All terms, the session's first.
        replacements: What is put in place of what.
        prompt: What a model that takes a prompt is told, or None.
    """

    server: VocabularyEntries = VocabularyEntries()
    policy: VocabularyPolicy = VocabularyPolicy()
    session: VocabularyEntries = VocabularyEntries()
    hotwords: Hotwords = field(init=False, compare=False, repr=False)
    replacements: Replacements = field(init=False, compare=False, repr=False)
    prompt: str | None = field(init=False, compare=False, repr=False)
    _server_table: ReplacementTable | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        terms: dict[str, Hotword] = {}
        for one in (*self.session.terms, *self.server.terms):
            terms.setdefault(one.term, one)
        found = tuple(terms.values())
        case = self.policy.case_sensitive
        house = self._server_table or ReplacementTable(self.server.replacements, case_sensitive=case)
        both = (
            (ReplacementTable(self.session.replacements, case_sensitive=case), house)
            if self.policy.replaces
            else ()
        )
        for name, value in (
            ("hotwords", Hotwords(found)),
            ("replacements", Replacements(*both)),
            ("prompt", _render_prompt(found, self.policy.template)),
            ("_server_table", house),
        ):
            object.__setattr__(self, name, value)

    def with_session_entries(self, own: VocabularyEntries) -> Vocabulary:
        """Return the vocabulary of a session that brings this, and nothing it brought before."""
        return replace(self, session=own)


def _render_prompt(terms: Iterable[Hotword], template: str | None) -> str | None:
    first = [one.term for one in terms][:MAX_PROMPT_TERMS]
    return template.replace("{terms}", ", ".join(first)) if template and first else None


def parse_vocabulary(value: object) -> VocabularyEntries:
    """Return what the object ``{"terms": […], "replacements": {…}}`` brings; either may be left out.

    Other keys mean nothing.

    Raises:
        VocabularyProblem: It is something else; the place names the key.
    """
    if not isinstance(value, dict):
        raise VocabularyError("an object with terms, replacements or both")
    terms, replacements = value.get("terms"), value.get("replacements")
    return VocabularyEntries(
        () if terms is None else check_terms(terms),
        {} if replacements is None else check_replacements(replacements),
    )


def check_terms(value: object) -> tuple[Hotword, ...]:
    """Return the terms of a list: each text, or ``{"term": …, "boost": …}``; each counts once.

    Raises:
        VocabularyProblem: It is something else.
    """
    if not isinstance(value, list):
        raise VocabularyError(f"a list of at most {MAX_TERMS} terms", "terms")
    return _remove_duplicates(_check_hotword(one, f"terms[{number}]") for number, one in enumerate(value))


def check_replacements(value: object) -> dict[str, str]:
    """Return the replacements of an object: by what is heard what was meant.

    Raises:
        VocabularyProblem: It is something else.
    """
    if not isinstance(value, dict) or len(value) > MAX_REPLACEMENTS:
        raise VocabularyError(f"an object of at most {MAX_REPLACEMENTS} replacements", "replacements")
    return {
        _check_text(heard, f"replacements[{number}]"): _check_text(meant, f"replacements[{number}]")
        for number, (heard, meant) in enumerate(value.items())
    }


def parse_terms(text: str) -> tuple[Hotword, ...]:
    """Return the terms of a file: one a line, or a JSON list, or a JSON object ``{"terms": […]}``.

    Raises:
        VocabularyProblem: It is something else.
    """
    text = text.removeprefix(_BYTE_ORDER_MARK)
    if not text.lstrip().startswith(("[", "{")):
        lines = enumerate(text.splitlines(), start=1)
        return _remove_duplicates(
            Hotword(_check_text(line, f"line {number}")) for number, line in lines if line.strip()
        )
    value = _parse_json(text)
    if isinstance(value, dict):
        if "terms" not in value:
            raise VocabularyError('a JSON list of terms, or an object {"terms": […]}')
        value = value["terms"]
    return check_terms(value)


def parse_replacements(text: str) -> dict[str, str]:
    """Return the replacements of a file: a JSON object, or lines ``heard=meant`` or ``heard,meant``.

    The first equals sign parts a line, or where there is none the first comma.

    Raises:
        VocabularyProblem: It is something else.
    """
    text = text.removeprefix(_BYTE_ORDER_MARK)
    if text.lstrip().startswith(("[", "{")):
        return check_replacements(_parse_json(text))
    pairs: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            heard, sign, meant = line.partition("=" if "=" in line else ",")
            if not sign:
                raise VocabularyError("heard=meant or heard,meant", f"line {number}")
            pairs[_check_text(heard, f"line {number}")] = _check_text(meant, f"line {number}")
    return check_replacements(pairs)


def _parse_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise VocabularyError("JSON, where it begins with [ or {") from None


def _remove_duplicates(terms: Iterable[Hotword]) -> tuple[Hotword, ...]:
    found: dict[str, Hotword] = {}
    characters = 0
    for one in terms:
        if one.term in found:
            continue
        found[one.term] = one
        characters += len(one.term)
        if characters > MAX_TOTAL_TERM_CHARACTERS:
            raise VocabularyError(f"terms of at most {MAX_TOTAL_TERM_CHARACTERS} characters in all", "terms")
        if len(found) > MAX_TERMS:
            raise VocabularyError(f"a list of at most {MAX_TERMS} terms", "terms")
    return tuple(found.values())


def _check_hotword(value: object, place: str) -> Hotword:
    if not isinstance(value, dict):
        return Hotword(_check_text(value, place))
    boost = value.get("boost", 1.0)
    if isinstance(boost, bool) or not isinstance(boost, int | float) or not 0 <= boost <= MAX_BOOST:
        raise VocabularyError(f"a number from 0 to {MAX_BOOST:g}", f"{place}.boost")
    return Hotword(_check_text(value.get("term"), f"{place}.term"), float(boost))


def _check_text(value: object, place: str) -> str:
    """Return a text with single spaces; a number is text too."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if not text or len(text) > MAX_TERM_LENGTH or not text.isprintable():
        raise VocabularyError(f"text of 1 to {MAX_TERM_LENGTH} characters on one line", place)
    return text
