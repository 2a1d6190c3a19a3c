from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

from echoic.server.settings.load import SettingsError, load_settings
from echoic.server.vocabulary_files import ServerVocabulary
from echoic.text.vocabulary import PROMPT_TEMPLATE, Hotword

if TYPE_CHECKING:
    from pathlib import Path


def write(file: Path, text: str) -> Path:
    """Write a file so that its time differs, however coarse the clock of its disk is."""
    later = file.stat().st_mtime_ns + 10**9 if file.exists() else None
    file.write_text(text, "utf-8")
    if later is not None:
        os.utime(file, ns=(later, later))
    return file


async def test_files_are_read_and_read_again_when_they_change(tmp_path: Path) -> None:
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
async def test_a_file_that_turns_bad_keeps_what_it_said_and_is_told_once(
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


async def test_without_files_there_is_nothing() -> None:
    vocabulary = ServerVocabulary()
    await vocabulary.reload_changed_files()
    assert not vocabulary.current.hotwords
    assert not vocabulary.current.replacements


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("custom_vocab_terms_file", b"[1,", "must be JSON"),
        ("custom_vocab_terms_file", b"\xff\xfe", "must be UTF-8 text"),
        ("custom_vocab_replacements_file", b"a=b\nsecret\n", "line 2 must be heard=meant"),
        ("custom_vocab_replacements_file", None, "must be a file that can be read (no such file"),
        ("custom_vocab_replacements_file", b"a=" + b"b" * 2**24, "of 16 MiB at most"),
    ],
)
def test_a_bad_file_stops_the_start_and_is_named(
    tmp_path: Path, name: str, data: bytes | None, said: str
) -> None:
    file = tmp_path / "words.txt"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {f"ECHOIC_{name.upper()}": str(file)})
    (told,) = caught.value.problems
    assert told.startswith(f"ECHOIC_{name.upper()}: {file}")
    assert said in told
    assert "secret" not in told


def test_an_empty_template_is_the_usual_one(tmp_path: Path) -> None:
    file = tmp_path / "echoic.ini"
    file.write_text("[STT-Settings]\ncustom_vocab_prompt_template =\n", "utf-8")
    assert load_settings(file, {}).stt.custom_vocab_prompt_template == PROMPT_TEMPLATE
