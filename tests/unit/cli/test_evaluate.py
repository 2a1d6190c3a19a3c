"""``echoic eval`` in this process, with the scripted engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from echoic.engines.scripted import VOCABULARY
from support.builders import write_recording
from support.command_line import CommandResult, run_command

if TYPE_CHECKING:
    from pathlib import Path

WORDS = VOCABULARY[:12]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_recording(tmp_path / "first.wav", WORDS)
    write_recording(tmp_path / "second.wav", ["red", "blue", ("", 1.5), "green", ("", 1.0)])
    (tmp_path / "broken.wav").write_bytes(b"none")
    return tmp_path


def write_manifest(folder: Path, *rows: str) -> str:
    file = folder / "list.csv"
    file.write_text("\n".join(["path,reference,rare_words", *rows]) + "\n", "utf-8")
    return str(file)


def run(*args: str, **env: str) -> CommandResult:
    return run_command("eval", *args, env={"ECHOIC_SCRIPTED_ENGINE": "yes"} | env)


def read_results(file: Path) -> Any:  # noqa: ANN401  # JSON
    return json.loads(file.read_text("utf-8"))


def test_streamed_and_offline_results_are_side_by_side(folder: Path) -> None:
    rows = (f"first.wav,{' '.join(WORDS)},", "second.wav,Red blue. Grey!,grey;blue")
    file = folder / "out.json"
    status, out, err = run(write_manifest(folder, *rows), "--model", "scripted", "--json", str(file))
    assert (status, err) == (0, "")
    head, streamed, offline = out.splitlines()
    assert head.split()[:7] == ["Model", "Done", "Audio", "s", "Words", "WER", "%"]
    for line, mode in ((streamed, "streamed"), (offline, "offline")):
        assert line.split()[:8] == ["scripted", "2", "of", "2", mode, "8", "15", "6.67"]
    [model] = read_results(file)["models"]
    for mode in ("streamed", "offline"):
        total = model[mode]
        assert (total["substitutions"], total["deletions"], total["insertions"]) == (1, 0, 0)
        assert total["rare_terms"] == {"places": 2, "missed": 1, "error": 50.0}
    second = model["recordings"][1]
    assert second["streamed"]["text"] == second["offline"]["text"] == "red blue green"
    assert second["reference"] == "Red blue. Grey!"
    assert second["streamed"]["latency"]["utterances"] == 1
    assert model["streamed"]["seams"]["doubled"] == 0


def test_failures_are_listed_and_the_rest_is_measured(folder: Path) -> None:
    rows = ("none.wav,one,", "broken.wav,one,", "first.wav", ",one,", "second.wav,red blue green,")
    file = folder / "out.json"
    status, out, err = run(
        write_manifest(folder, *rows), "--model", "scripted", "--json", str(file), "--each"
    )
    assert status == 1
    assert [line.partition(f"{folder}")[0] for line in err.splitlines()[:2]] == [
        "echoic: line 2, none.wav: ",
        "echoic: line 3, broken.wav: ",
    ]
    assert "no such file" in err
    assert "line 4: 1 cells in 3 columns." in err
    assert "line 5: The row has no path of a recording." in err
    assert "1 of 5" in out
    found = read_results(file)["models"][0]["recordings"]
    assert [row["error"] is None for row in found] == [False, False, False, False, True]
    assert [row["line"] for row in found] == [2, 3, 4, 5, 6]


def test_several_models_are_compared_despite_a_missing_one(folder: Path, tmp_path: Path) -> None:
    file = folder / "out.json"
    models = ("--model", "parakeet-onnx", "--model", "nonesuch", "--model", "scripted")
    args = (write_manifest(folder, "second.wav,red blue green,"), *models, "--json", str(file))
    status, out, err = run(*args, ECHOIC_MODELS_DIR=str(tmp_path / "models"))
    assert status == 1
    assert "parakeet-onnx: " in err
    assert "nonesuch: " in err
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["scripted", "scripted"]
    found = read_results(file)["models"]
    assert [model["asked_for"] for model in found] == ["parakeet-onnx", "nonesuch", "scripted"]
    assert all(model["recordings"][0]["error"] for model in found[:2])


def test_another_server_is_evaluated_without_offline(folder: Path, scripted_server: str) -> None:
    args = (write_manifest(folder, "second.wav,red blue green,"), "--server", scripted_server)
    status, out, err = run(*args, "--model", "scripted", "--no-offline", "--normalizer", "none")
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == 2
    assert " 0.00 " in out
    status, _, err = run(write_manifest(folder, "second.wav,,"), "--server", "127.0.0.1:1")
    assert status == 1
    assert "No echoic server" in err


def test_real_time_streams_at_the_pace_of_speech(folder: Path) -> None:
    file = folder / "out.json"
    path = write_manifest(folder, "second.wav,red blue green,")
    args = ("--model", "scripted", "--real-time", "--json", str(file))
    assert run(path, *args).exit_code == 0
    found = read_results(file)["models"][0]["streamed"]
    assert found["processing_seconds"] >= found["audio_seconds"] - 0.2
    assert found["latency"]["utterances"] == 1


def test_a_vocabulary_applies_to_streamed_and_offline(folder: Path) -> None:
    words, file = folder / "words", folder / "out.json"
    words.write_text("green=grey\n", "utf-8")
    args = (write_manifest(folder, "second.wav,red blue grey,"), "--model", "scripted", "--terms", str(words))
    assert run(*args, "--boost", "--json", str(file))[0] == 0
    [row] = read_results(file)["models"][0]["recordings"]
    assert row["streamed"]["text"] == row["offline"]["text"] == "red blue grey"


def test_without_a_reference_there_is_no_error_rate(folder: Path) -> None:
    file = folder / "out.json"
    status, out, _ = run(
        write_manifest(folder, "second.wav,,red"), "--model", "scripted", "--json", str(file)
    )
    assert status == 0
    assert "WER" not in out
    assert read_results(file)["models"][0]["streamed"]["wer"] is None


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [(b"", "is empty"), (b"a,b\nx,y\n", "no column with recordings"), (b"path\n\xff\n", "not UTF-8")],
)
def test_an_invalid_manifest_is_a_sentence(folder: Path, rows: bytes, sentence: str) -> None:
    file = folder / "bad.csv"
    file.write_bytes(rows)
    status, out, err = run(str(file))
    assert (status, out) == (2, "")
    assert sentence in err
    assert "Traceback" not in err


def test_unusable_files_are_refused_first(folder: Path) -> None:
    path = write_manifest(folder, "second.wav,red,")
    for option, file in (
        ("--vocabulary", folder / "none"),
        ("--json", folder / "none" / "out.json"),
        ("--json", folder),
    ):
        status, out, err = run(path, option, str(file))
        assert (status, out) == (2, "")
        assert str(file) in err
