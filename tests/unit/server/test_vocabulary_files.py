from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from echoic.server.vocabulary_files import ServerVocabulary, read_vocabulary_file
from echoic.text.vocabulary import Hotword, VocabularyError, parse_replacements, parse_terms


def write(file: Path, text: str) -> Path:
    """Write a file with a later modification time, however coarse the disk's clock is."""
    later = file.stat().st_mtime_ns + 10**9 if file.exists() else None
    file.write_text(text, "utf-8")
    if later is not None:
        os.utime(file, ns=(later, later))
    return file


async def test_changed_files_are_reloaded(tmp_path: Path) -> None:
    terms, pairs = write(tmp_path / "terms.txt", "Acme\n"), write(tmp_path / "pairs.txt", "a=b\n")
    vocabulary = ServerVocabulary(terms, pairs)
    await vocabulary.reload_changed_files()
    first = vocabulary.current
    assert first.hotwords.terms == (Hotword("Acme"),)
    assert first.replacements.replace_text("a") == "b"
    await vocabulary.reload_changed_files()
    assert vocabulary.current is first
    write(pairs, "a=c\n")
    await vocabulary.reload_changed_files()
    assert vocabulary.current.hotwords.terms == (Hotword("Acme"),)
    assert vocabulary.current.replacements.replace_text("a") == "c"


@pytest.mark.parametrize("spoil", ["secret", None])
async def test_a_file_that_becomes_unusable_keeps_its_content(
    tmp_path: Path, spoil: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = write(tmp_path / "pairs.txt", "a=b\n")
    vocabulary = ServerVocabulary(None, pairs)
    await vocabulary.reload_changed_files()
    if spoil is None:
        pairs.unlink()
    else:
        write(pairs, spoil)
    with caplog.at_level(logging.WARNING):
        await vocabulary.reload_changed_files()
        await vocabulary.reload_changed_files()
    assert vocabulary.current.replacements.replace_text("a") == "b"
    (record,) = caplog.records
    assert "vocabulary.unusable" in record.getMessage()
    assert "secret" not in str(vars(record))
    write(pairs, "a=c\n")
    os.utime(pairs, ns=(1, 1))
    await vocabulary.reload_changed_files()
    assert vocabulary.current.replacements.replace_text("a") == "c"


async def test_without_files_the_vocabulary_is_empty() -> None:
    vocabulary = ServerVocabulary()
    await vocabulary.reload_changed_files()
    assert not vocabulary.current.hotwords
    assert not vocabulary.current.replacements


@pytest.mark.parametrize(
    ("parse", "data", "reason"),
    [
        (parse_terms, b"[1,", "must be JSON"),
        (parse_terms, b"\xff\xfe", "must be UTF-8 text"),
        (parse_replacements, b"a=b\nsecret\n", "line 2 must be heard=meant"),
        (parse_replacements, None, "must be a file that can be read (no such file"),
        (parse_replacements, b"a=" + b"b" * 2**24, "of 16 MiB at most"),
    ],
)
def test_a_bad_file_is_rejected_without_its_content(
    tmp_path: Path, parse: Callable[[str], object], data: bytes | None, reason: str
) -> None:
    file = tmp_path / "words.txt"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(VocabularyError) as caught:
        read_vocabulary_file(file, parse)
    assert str(file) in str(caught.value)
    assert reason in str(caught.value)
    assert "secret" not in str(caught.value)
