"""The server's own vocabulary: files that are read at the start, and again when they change."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from echoic.server.log import event
from echoic.text.vocabulary import (
    Style,
    Vocabulary,
    VocabularyProblem,
    parse_replacements,
    parse_terms,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)
_T = TypeVar("_T")
#: Bytes of a file at most; ten thousand of the longest replacements are less.
_LARGEST = 2**24
#: What tells one state of a file from another.
_Stamp = tuple[int, int, int]


def read_vocabulary(file: Path, parse: Callable[[str], _T]) -> _T:
    """Return what ``parse`` makes of a file.

    Raises:
        VocabularyProblem: It cannot be read, or is not what it is to be; nothing of it is told.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(_LARGEST + 1)
    except OSError as error:
        reason = (error.strerror or "no reason is given").lower()
        raise VocabularyProblem(f"a file that can be read ({reason})", str(file)) from error
    if len(data) > _LARGEST:
        raise VocabularyProblem(f"of {_LARGEST >> 20} MiB at most", str(file))
    try:
        return parse(data.decode())
    except UnicodeDecodeError:
        raise VocabularyProblem("UTF-8 text", str(file)) from None
    except VocabularyProblem as problem:
        place = f"{file}, {problem.place}" if problem.place else str(file)
        raise VocabularyProblem(problem.must, place) from None


@dataclass(slots=True)
class _Watched:
    """A file, and which state of it was looked at last."""

    file: Path
    stamp: _Stamp | None = None

    def changed(self) -> bool:
        """Return whether it is another than at the last call; one that is not there has a state too."""
        before = self.stamp
        try:
            found = self.file.stat()
        except OSError:
            self.stamp = (0, 0, 0)
        else:
            self.stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        return before != self.stamp


class HouseVocabulary:
    """What the server brings to every session.

    A file that turns bad while the server runs is told of in the log, once, and what was in it before holds.

    Args:
        terms: The file of the terms, or None.
        replacements: The file of the replacements, or None.
        style: How vocabularies are used.
    """

    def __init__(
        self, terms: Path | None = None, replacements: Path | None = None, style: Style | None = None
    ) -> None:
        self._terms = _Watched(terms) if terms else None
        self._replacements = _Watched(replacements) if replacements else None
        #: The vocabulary of a session that begins now, as far as the files were read.
        self.now = Vocabulary(style=style or Style())
        self._turn = asyncio.Lock()

    async def refresh(self) -> None:
        """Read those of the files that changed."""
        async with self._turn:
            terms = self._terms is not None and self._terms.changed()
            replacements = self._replacements is not None and self._replacements.changed()
            if terms or replacements:
                self.now = await asyncio.to_thread(self._reread, terms=terms, replacements=replacements)

    def _reread(self, *, terms: bool, replacements: bool) -> Vocabulary:
        house = self.now.house
        if terms and (found := _usable(self._terms, parse_terms)) is not None:
            house = replace(house, terms=found)
        if replacements and (pairs := _usable(self._replacements, parse_replacements)) is not None:
            house = replace(house, replacements=pairs)
        return Vocabulary(house, self.now.style)


def _usable(watched: _Watched | None, parse: Callable[[str], _T]) -> _T | None:
    """Return what is in a file, or None: it cannot be used, and that is in the log."""
    if watched is None:
        return None
    try:
        return read_vocabulary(watched.file, parse)
    except VocabularyProblem as problem:
        event(log, logging.WARNING, "vocabulary.unusable", file=str(watched.file), reason=str(problem))
        return None
