from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from echoic.cli.vocabulary import read_vocabulary

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "vocabulary"),
    [
        ("Eau Claire\n\nC++\n", {"terms": ["Eau Claire", "C++"]}),
        (
            "kubectl\ncube cuddle=kubectl\n",
            {"terms": ["kubectl"], "replacements": {"cube cuddle": "kubectl"}},
        ),
        ('["a", "b"]', {"terms": ["a", "b"]}),
        ('{"terms": ["a"], "replacements": {"x": "y"}}', {"terms": ["a"], "replacements": {"x": "y"}}),
        ("", {}),
        ("a = b = c\n# comment\n a=x\n", {"terms": ["# comment"], "replacements": {"a": "x"}}),
        ("a = b = c", {"replacements": {"a": "b = c"}}),
    ],
)
def test_text_and_json_files_are_read(tmp_path: Path, text: str, vocabulary: dict[str, object]) -> None:
    file = tmp_path / "words"
    file.write_text("\ufeff" + text, "utf-8")
    assert read_vocabulary(file) == vocabulary


@pytest.mark.parametrize("data", [b"{", b'{"words": []}', b"{}", b"caf\xe9"])
def test_an_invalid_file_is_a_sentence(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "words"
    file.write_bytes(data)
    with pytest.raises(ValueError, match="words is not"):
        read_vocabulary(file)
    file.write_bytes("é\n".encode() * 2**20)
    with pytest.raises(ValueError, match="too large for a vocabulary"):
        read_vocabulary(file)
    with pytest.raises(ValueError, match="none cannot be read: no such file"):
        read_vocabulary(tmp_path / "none")


@pytest.mark.parametrize(
    ("line", "lack"),
    [("=x", "before ="), ("=", "before ="), ("= = x", "before ="), ("a=", "after ="), (" a = ", "after =")],
)
def test_an_incomplete_replacement_names_its_line(tmp_path: Path, line: str, lack: str) -> None:
    file = tmp_path / "words"
    file.write_text(f"kubectl\n\n{line}\n", "utf-8")
    with pytest.raises(ValueError, match=f"words: line 3 has nothing {lack}\\.$"):
        read_vocabulary(file)
