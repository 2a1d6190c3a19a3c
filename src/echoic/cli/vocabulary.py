"""A file of terms and replacements as the ``vocabulary`` of a ``config`` frame."""

import json
from pathlib import Path

#: Bytes of the longest file: more than all terms and replacements that a server takes.
_MAX_FILE_BYTES = 2**21


def read_vocabulary(path: Path) -> dict[str, object]:
    """Return what a file holds.

    A JSON object ``{"terms": […], "replacements": {…}}``, a JSON list of terms, or lines: ``heard=meant`` is
    a replacement (the first equals sign parts it), any other a term.

    Raises:
        ValueError: The file cannot be read or is nothing of that; the message is a sentence.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {(error.strerror or 'no reason given').lower()}.") from None
    if len(data) > _MAX_FILE_BYTES:
        raise ValueError(f"{path} is longer than a vocabulary may be.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8.") from None
    if not text.lstrip().startswith(("{", "[")):
        return _parse_lines(path, text)
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{path} is not JSON.") from None
    found = {"terms": body} if isinstance(body, list) else body
    if not found or not found.keys() <= {"terms", "replacements"}:
        raise ValueError(f"{path} is no object with terms, replacements or both.")
    return found


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
    found: dict[str, object] = {"terms": terms, "replacements": replacements}
    return {name: value for name, value in found.items() if value}
