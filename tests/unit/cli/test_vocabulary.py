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
def test_terms_and_replacements_come_in_lines_or_json(
    tmp_path: Path, text: str, vocabulary: dict[str, object]
) -> None:
    file = tmp_path / "words"
    file.write_text("\ufeff" + text, "utf-8")
    assert read_vocabulary(file) == vocabulary


@pytest.mark.parametrize("data", [b"{", b'{"words": []}', b"{}", b"caf\xe9"])
def test_what_is_no_vocabulary_is_named(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "words"
    file.write_bytes(data)
    with pytest.raises(ValueError, match="words is n"):
        read_vocabulary(file)
    file.write_bytes("é\n".encode() * 2**20)
    with pytest.raises(ValueError, match="longer than a vocabulary may be"):
        read_vocabulary(file)
    with pytest.raises(ValueError, match="none cannot be read: no such file"):
        read_vocabulary(tmp_path / "none")


@pytest.mark.parametrize(
    ("line", "lack"),
    [("=x", "before ="), ("=", "before ="), ("= = x", "before ="), ("a=", "after ="), (" a = ", "after =")],
)
def test_a_replacement_without_one_of_its_sides_is_refused_with_its_line(
    tmp_path: Path, line: str, lack: str
) -> None:
    file = tmp_path / "words"
    file.write_text(f"kubectl\n\n{line}\n", "utf-8")
    with pytest.raises(ValueError, match=f"words: line 3 has nothing {lack}\\.$"):
        read_vocabulary(file)
