"""Custom vocabulary: hotwords for the engine, and replacements of misrecognized words.

The server's entries apply to every session; a session's own entries take precedence. This module parses
the formats of both; it opens no files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from echoic.text.replacements import Replacements, ReplacementTable

#: Maximum number of terms in a prompt. Source: docs/vocabulary.md.
MAX_PROMPT_TERMS: Final = 64
#: Maximum number of terms and of replacements of a session or of the server, and characters of each.
MAX_TERMS: Final = 1_000
MAX_REPLACEMENTS: Final = 10_000
MAX_TERM_LENGTH: Final = 200
#: Maximum number of characters of all terms together: limits the size of an engine's trie.
MAX_TOTAL_TERM_CHARACTERS: Final = 20_000
#: Maximum boost of a term; 1 is the default.
MAX_BOOST: Final = 10.0
PROMPT_TEMPLATE: Final = "Domain terms: {terms}."
_BYTE_ORDER_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"


class VocabularyError(ValueError):
    """An invalid vocabulary. The message contains none of its words.

    Args:
        requirement: The valid form: "text of 1 to 200 characters".
        location: A key, index or line. Empty means the whole vocabulary.
    """

    def __init__(self, requirement: str, location: str = "") -> None:
        super().__init__(f"{location} must be {requirement}" if location else f"it must be {requirement}")
        self.requirement, self.location = requirement, location


@dataclass(frozen=True, slots=True)
class Hotword:
    """A term that the engine should prefer, spelled as it should be written."""

    term: str
    boost: float = 1.0
    """Strength relative to the default."""


@dataclass(frozen=True, eq=False)
class Hotwords:
    """A set of terms, compared by identity so that an engine can cache what it builds from it."""

    terms: tuple[Hotword, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.terms)


#: No terms.
NO_HOTWORDS: Final = Hotwords()


@dataclass(frozen=True, slots=True)
class VocabularyEntries:
    """Entries of the server or of a session."""

    terms: tuple[Hotword, ...] = ()
    replacements: Mapping[str, str] = field(default_factory=dict)
    """Replacement by misrecognized text."""


@dataclass(frozen=True, slots=True)
class VocabularyPolicy:
    """How a server applies vocabularies."""

    template: str | None = PROMPT_TEMPLATE
    """Prompt with ``{terms}`` in it, or None for no prompts."""
    replaces: bool = True
    """Whether replacements are applied."""
    case_sensitive: bool = False
    """Whether replacements match case."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The combined vocabulary of the server and a session; equal if the entries and policy are."""

    server: VocabularyEntries = VocabularyEntries()
    """Entries of the server."""
    policy: VocabularyPolicy = VocabularyPolicy()
    """How the server applies them."""
    session: VocabularyEntries = VocabularyEntries()
    """Entries of the session."""
    hotwords: Hotwords = field(init=False, compare=False, repr=False)
    """All terms, those of the session first."""
    replacements: Replacements = field(init=False, compare=False, repr=False)
    """All replacements; empty if they are switched off."""
    prompt: str | None = field(init=False, compare=False, repr=False)
    """Prompt with the terms, or None."""
    _server_table: ReplacementTable | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        terms: dict[str, Hotword] = {}
        for hotword in (*self.session.terms, *self.server.terms):
            terms.setdefault(hotword.term, hotword)
        hotwords = Hotwords(tuple(terms.values()))
        case = self.policy.case_sensitive
        server = self._server_table or ReplacementTable(self.server.replacements, case_sensitive=case)
        session = ReplacementTable(self.session.replacements, case_sensitive=case)
        for name, value in (
            ("hotwords", hotwords),
            ("replacements", Replacements(session, server) if self.policy.replaces else Replacements()),
            ("prompt", _render_prompt(hotwords.terms, self.policy.template)),
            ("_server_table", server),
        ):
            object.__setattr__(self, name, value)

    def with_session_entries(self, entries: VocabularyEntries) -> Vocabulary:
        """Return this vocabulary with other entries of the session."""
        return replace(self, session=entries)


def _render_prompt(terms: Iterable[Hotword], template: str | None) -> str | None:
    first = [hotword.term for hotword in terms][:MAX_PROMPT_TERMS]
    return template.replace("{terms}", ", ".join(first)) if template and first else None


def parse_vocabulary(value: object) -> VocabularyEntries:
    """Parse an object ``{"terms": […], "replacements": {…}}``; both keys are optional, others are ignored.

    Raises:
        VocabularyError: Invalid; the location is the key.
    """
    if not isinstance(value, dict):
        raise VocabularyError("an object with terms, replacements or both")
    terms, replacements = value.get("terms"), value.get("replacements")
    return VocabularyEntries(
        () if terms is None else check_terms(terms),
        {} if replacements is None else check_replacements(replacements),
    )


def check_terms(value: object) -> tuple[Hotword, ...]:
    """Parse a list of terms: strings, or ``{"term": …, "boost": …}``. Duplicates are removed.

    Raises:
        VocabularyError: Invalid.
    """
    if not isinstance(value, list):
        raise VocabularyError(f"a list of at most {MAX_TERMS} terms", "terms")
    return _remove_duplicates(_check_hotword(one, f"terms[{number}]") for number, one in enumerate(value))


def check_replacements(value: object) -> dict[str, str]:
    """Parse an object of replacements by misrecognized text.

    Raises:
        VocabularyError: Invalid.
    """
    if not isinstance(value, dict) or len(value) > MAX_REPLACEMENTS:
        raise VocabularyError(f"an object of at most {MAX_REPLACEMENTS} replacements", "replacements")
    return {
        _check_text(text, f"replacements[{number}]"): _check_text(new_text, f"replacements[{number}]")
        for number, (text, new_text) in enumerate(value.items())
    }


def parse_terms(text: str) -> tuple[Hotword, ...]:
    """Parse a file of terms: one per line, a JSON list, or a JSON object ``{"terms": […]}``.

    Raises:
        VocabularyError: Invalid.
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
    """Parse a file of replacements: a JSON object, or lines ``heard=meant`` or ``heard,meant``.

    A line is split at its first equals sign, or without one at its first comma.

    Raises:
        VocabularyError: Invalid.
    """
    text = text.removeprefix(_BYTE_ORDER_MARK)
    if text.lstrip().startswith(("[", "{")):
        return check_replacements(_parse_json(text))
    pairs: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            heard, separator, meant = line.partition("=" if "=" in line else ",")
            if not separator:
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
    for hotword in terms:
        if hotword.term in found:
            continue
        found[hotword.term] = hotword
        characters += len(hotword.term)
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
    """Return a text with single spaces; numbers are converted to text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if not text or len(text) > MAX_TERM_LENGTH or not text.isprintable():
        raise VocabularyError(f"text of 1 to {MAX_TERM_LENGTH} characters on one line", place)
    return text
