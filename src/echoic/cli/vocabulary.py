"""Reads a vocabulary file: terms and replacements for the ``config`` frame."""

import json
from pathlib import Path

#: The largest file in bytes: more than the terms and replacements that a server accepts.
_MAX_FILE_BYTES = 2**21


def read_vocabulary(path: Path) -> dict[str, object]:
    """Read the ``vocabulary`` of a ``config`` frame from a file.

    The file is a JSON object ``{"terms": […], "replacements": {…}}``, a JSON list of terms, or text: a line
    ``heard=meant`` is a replacement (split at the first equals sign), any other line a term.

    Raises:
        ValueError: The file cannot be read or is invalid; the message is a sentence.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {(error.strerror or 'no reason given').lower()}.") from None
    if len(data) > _MAX_FILE_BYTES:
        raise ValueError(f"{path} is too large for a vocabulary: at most {_MAX_FILE_BYTES // 2**20} MiB.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text.") from None
    if not text.lstrip().startswith(("{", "[")):
        return _parse_lines(path, text)
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{path} is not valid JSON.") from None
    vocabulary = {"terms": body} if isinstance(body, list) else body
    if not vocabulary or not vocabulary.keys() <= {"terms", "replacements"}:
        raise ValueError(f"{path} is not an object with the keys terms, replacements or both.")
    return vocabulary


def _parse_lines(path: Path, text: str) -> dict[str, object]:
    terms: list[str] = []
    replacements: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        heard, sign, meant = (part.strip() for part in line.partition("="))
        if not sign:
            terms += [heard] if heard else []
        elif heard and meant:
            replacements[heard] = meant
        else:
            raise ValueError(f"{path}: line {number} has nothing {'after' if heard else 'before'} =.")
    vocabulary: dict[str, object] = {"terms": terms, "replacements": replacements}
    return {name: value for name, value in vocabulary.items() if value}
