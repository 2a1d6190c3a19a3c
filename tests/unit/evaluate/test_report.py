import json
from pathlib import Path

from echoic.evaluate.manifest import InvalidRow, ManifestEntry
from echoic.evaluate.metrics import EditCounts, EvaluationScore
from echoic.evaluate.report import build_model_table, build_recording_table, list_failures, write_results
from echoic.evaluate.runner import ModelResult, RecordingResult

FOLDER = Path("/data")
SCORE = EvaluationScore(1, 10.0, 2.0, EditCounts(1, 0, 0, 4))


def build_results() -> list[ModelResult]:
    done = RecordingResult(
        ManifestEntry(2, FOLDER / "a.wav", "one two"), "tiny", streamed_score=SCORE, streamed_text="one too"
    )
    broken = RecordingResult(ManifestEntry(3, FOLDER / "b.wav"), error="The file is empty.")
    invalid = RecordingResult(InvalidRow(4, "3 cells in 2 columns."), error="3 cells in 2 columns.")
    return [ModelResult("tiny", [done, broken, invalid], "The server is gone.")]


def test_failures_name_line_recording_and_model() -> None:
    assert list_failures(build_results(), FOLDER) == [
        "line 3, b.wav: The file is empty.",
        "line 4: 3 cells in 2 columns.",
        "tiny: The server is gone.",
    ]


def test_the_table_of_models_has_totals_and_no_empty_columns() -> None:
    table = build_model_table(build_results())
    assert table.headings == ["Model", "Done", "", "Audio s", "Words", "WER %", "Sub", "Del", "Ins", "RTF"]
    assert table.rows == [["tiny", "1 of 3", "streamed", "10", "4", "25.00", "1", "0", "0", "0.200"]]


def test_the_table_of_recordings_leaves_out_failed_ones() -> None:
    table = build_recording_table(build_results(), FOLDER)
    assert table.headings[:3] == ["Recording", "Model", ""]
    assert [row[:3] for row in table.rows] == [["a.wav", "tiny", "streamed"]]


def test_json_has_each_recording_with_text_and_error(tmp_path: Path) -> None:
    write_results(build_results(), FOLDER / "list.csv", "basic", tmp_path / "out.json")
    [model] = json.loads((tmp_path / "out.json").read_text("utf-8"))["models"]
    assert (model["model"], model["problem"], model["offline"]) == ("tiny", "The server is gone.", None)
    assert [row["path"] for row in model["recordings"]] == ["a.wav", "b.wav", None]
    assert [row["error"] for row in model["recordings"]] == [
        None,
        "The file is empty.",
        "3 cells in 2 columns.",
    ]
    assert model["recordings"][0]["streamed"]["text"] == "one too"
