from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echoic.evaluate.diarization import InvalidReferenceFile
from echoic.evaluate.manifest import InvalidRow, ManifestEntry, read_manifest


def write_manifest(folder: Path, text: str | bytes, name: str = "list.tsv") -> Path:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_paths_are_relative_to_the_manifest(tmp_path: Path) -> None:
    text = (
        "path\treference\trttm\tlanguage\trare_words\tduration_s\n"
        'a.wav\thello there\ta.rttm\ten\t"[""anon"", ""Eau Claire""]"\t3\n'
    )
    rare = ("anon", "Eau Claire")
    wanted = ManifestEntry(2, tmp_path / "a.wav", "hello there", tmp_path / "a.rttm", "en", rare)
    assert read_manifest(write_manifest(tmp_path, text)) == [wanted]


def test_csv_with_quotes_bom_and_windows_line_ends(tmp_path: Path) -> None:
    text = '\ufeffAudio_Filepath,Text\r\n"a,b.wav","he said ""no"", twice"\r\n\r\nc.wav,\r\n'
    assert read_manifest(write_manifest(tmp_path, text, "list.csv")) == [
        ManifestEntry(2, tmp_path / "a,b.wav", 'he said "no", twice'),
        ManifestEntry(4, tmp_path / "c.wav", None),
    ]


def test_nemo_json_lines(tmp_path: Path) -> None:
    rows = [
        {"audio_filepath": "/data/a.wav", "text": "one two", "duration": 1.5},
        {"audio_filepath": "a.wav", "offset": 2.5, "duration": 4, "text": "", "rare_words": ["x"]},
        {"audio_filepath": "a.wav", "text": None, "lang": "de"},
    ]
    file = write_manifest(tmp_path, "\n".join(json.dumps(row) for row in rows), "list.jsonl")
    first, second, third = read_manifest(file)
    assert isinstance(first, ManifestEntry)
    assert str(first.path) == "/data/a.wav"
    assert (first.reference, first.offset, first.duration) == ("one two", 0.0, None)
    assert second == ManifestEntry(2, tmp_path / "a.wav", "", rare_words=("x",), offset=2.5, duration=4.0)
    assert third == ManifestEntry(3, tmp_path / "a.wav", None, language="de")


def test_invalid_rows_keep_their_line_numbers(tmp_path: Path) -> None:
    # In the fifth line a quotation mark is never closed.
    text = 'path,reference\na.wav,one\n,two\nb.wav\n"c.wav,three\nd.wav,four\ne.wav,five,six\n'
    found = read_manifest(write_manifest(tmp_path, text, "list.csv"))
    assert [(row.line_number, isinstance(row, InvalidRow)) for row in found] == [
        (2, False),
        (3, True),
        (4, True),
        (5, True),
        (6, False),
        (7, True),
    ]


def test_invalid_json_lines(tmp_path: Path) -> None:
    lines = [
        '{"audio_filepath": "a.wav"}',
        "[1]",
        '{"audio_filepath": 3}',
        '{"audio_filepath": "a.wav", "text": ["x"]}',
        '{"audio_filepath": "a.wav", "offset": "soon"}',
        '{"audio_filepath": "a.wav", "offset": -1}',
        '{"audio_filepath": "a.wav", "rare_words": {"a": 1}}',
        '{"audio_filepath": "a.wav", "rare_words": "[oops"}',
        "{",
        '{"audio_filepath": "a.wav", "text": "half \\ud800"}',
        '{"audio_filepath": "a\\u0000.wav"}',
        '{"audio_filepath": "a.wav", "rare_words": ["\\udfff"]}',
    ]
    found = read_manifest(write_manifest(tmp_path, "\n".join(lines)))
    assert [row.line_number for row in found if isinstance(row, InvalidRow)] == [
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        10,
        11,
        12,
    ]


def test_quotation_marks_in_tab_separated_text_are_text(tmp_path: Path) -> None:
    found = read_manifest(write_manifest(tmp_path, 'path\treference\na.wav\t"hello\nb.wav\tthere"\n'))
    assert [row.reference for row in found if isinstance(row, ManifestEntry)] == ['"hello', 'there"']


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"path\treference\n", "no rows"),
        (b"name\treference\na.wav\tone\n", "line 1: no column with recordings"),
        (b"path\treference\na.wav\tcaf\xe9\n", "line 2: not UTF-8"),
        (b"RIFF\x00\x00\xff\xfe", "not UTF-8"),
    ],
)
def test_invalid_manifests_are_refused(tmp_path: Path, text: bytes, says: str) -> None:
    with pytest.raises(InvalidReferenceFile, match=says):
        read_manifest(write_manifest(tmp_path, text))


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidReferenceFile, match=r"none\.tsv cannot be read: no such file"):
        read_manifest(tmp_path / "none.tsv")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"path,text\n{text}".encode()))
def test_garbage_gives_invalid_rows_or_is_refused(tmp_path: Path, data: bytes) -> None:
    try:
        found = read_manifest(write_manifest(tmp_path, data))
    except InvalidReferenceFile:
        return
    assert all(row.line_number >= 1 for row in found)
