"""Reads the server's vocabulary files, and reloads them when they change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from echoic.observability.logging import log_event
from echoic.text.vocabulary import (
    Vocabulary,
    VocabularyError,
    VocabularyPolicy,
    parse_replacements,
    parse_terms,
)

log = logging.getLogger(__name__)
_T = TypeVar("_T")
#: The largest file in bytes; ten thousand replacements of the greatest length are smaller.
_MAX_FILE_BYTES = 2**24
#: Modification time, size and inode: they differ after any change of a file.
_FileStamp = tuple[int, int, int]


def read_vocabulary_file(file: Path, parse: Callable[[str], _T]) -> _T:
    """Read a file and parse its text.

    Args:
        file: A file of UTF-8 text, of 16 MiB at most.
        parse: Parses the text.

    Raises:
        VocabularyError: The file cannot be read or parsed. The message quotes nothing of its content.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "no reason is given").lower()
        raise VocabularyError(f"a file that can be read ({reason})", str(file)) from error
    if len(data) > _MAX_FILE_BYTES:
        raise VocabularyError(f"of {_MAX_FILE_BYTES >> 20} MiB at most", str(file))
    try:
        return parse(data.decode())
    except UnicodeDecodeError:
        raise VocabularyError("UTF-8 text", str(file)) from None
    except VocabularyError as problem:
        place = f"{file}, {problem.location}" if problem.location else str(file)
        raise VocabularyError(problem.requirement, place) from None


@dataclass(slots=True)
class _WatchedFile:
    """A file and its stamp at the last check."""

    file: Path
    stamp: _FileStamp | None = None

    def has_changed(self) -> bool:
        """Return whether the file changed, appeared or disappeared since the last call."""
        before = self.stamp
        try:
            found = self.file.stat()
        except OSError:
            self.stamp = (0, 0, 0)
        else:
            self.stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        return before != self.stamp


class ServerVocabulary:
    """The server's vocabulary, which every session starts with.

    If a file becomes unusable while the server runs, that is logged once; its previous content stays in use.

    Args:
        terms: The file of terms, or None.
        replacements: The file of replacements, or None.
        policy: How vocabularies are applied.
    """

    def __init__(
        self,
        terms: Path | None = None,
        replacements: Path | None = None,
        policy: VocabularyPolicy | None = None,
    ) -> None:
        self._terms = _WatchedFile(terms) if terms else None
        self._replacements = _WatchedFile(replacements) if replacements else None
        #: The vocabulary of new sessions, from the files as last read.
        self.current = Vocabulary(policy=policy or VocabularyPolicy())
        self._lock = asyncio.Lock()

    async def reload_changed_files(self) -> None:
        """Read the files that changed."""
        async with self._lock:
            terms = self._terms is not None and self._terms.has_changed()
            replacements = self._replacements is not None and self._replacements.has_changed()
            if terms or replacements:
                self.current = await asyncio.to_thread(
                    self._reload_files, terms=terms, replacements=replacements
                )

    def _reload_files(self, *, terms: bool, replacements: bool) -> Vocabulary:
        server = self.current.server
        if terms and (found := _read_or_log(self._terms, parse_terms)) is not None:
            server = replace(server, terms=found)
        if replacements and (pairs := _read_or_log(self._replacements, parse_replacements)) is not None:
            server = replace(server, replacements=pairs)
        return Vocabulary(server, self.current.policy)


def _read_or_log(watched: _WatchedFile | None, parse: Callable[[str], _T]) -> _T | None:
    """Return the content of a file, or None if it is unusable, which is logged."""
    if watched is None:
        return None
    try:
        return read_vocabulary_file(watched.file, parse)
    except VocabularyError as problem:
        log_event(log, logging.WARNING, "vocabulary.unusable", file=str(watched.file), reason=str(problem))
        return None
