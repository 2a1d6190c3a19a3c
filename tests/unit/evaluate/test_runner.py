"""The evaluation of models through a server in this process."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from echoic.audio.vad import AlwaysSpeech
from echoic.cli.local import run_local_server
from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import PlateauDetector, ScriptedEngine
from echoic.evaluate.manifest import InvalidRow, ManifestEntry
from echoic.evaluate.normalize import normalize_text
from echoic.evaluate.runner import (
    EvalConfig,
    EvalTarget,
    ModelResult,
    StreamResult,
    evaluate_model,
    render_source_name,
    score_speakers,
)
from support.builders import write_recording

CONFIG = {"model": "scripted", "enable_partial": False, "word_timestamps": True}


@pytest.fixture(scope="module")
def target() -> Iterator[EvalTarget]:
    registry = Registry(
        [ModelSpec("scripted", "scripted", "standard", lambda: None, ScriptedEngine)], "scripted"
    ).cache_loads()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("ECHOIC_")]:
            patch.delenv(name)
        patch.setenv("ECHOIC_SCRIPTED_ENGINE", "yes")
        with run_local_server(None, lambda _: registry) as address:
            yield EvalTarget(address, PlateauDetector, registry)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_recording(tmp_path / "a.wav", ["red", "blue", ("", 1.5), "green", ("", 2.5)])


def evaluate(
    target: EvalTarget, *sources: ManifestEntry | InvalidRow, **more: object
) -> tuple[ModelResult, int]:
    done: list[None] = []
    eval_config = EvalConfig(CONFIG | more, normalize_text, bias_rare_words=True)
    result = evaluate_model(eval_config, target, sources, lambda _: None, lambda: done.append(None))
    return result, len(done)


def test_streamed_and_offline_scores(target: EvalTarget, recording: Path) -> None:
    result, done = evaluate(target, ManifestEntry(2, recording, "red blue grey", rare_words=("grey",)))
    [row] = result.recordings
    assert (row.error, done, result.has_failed) == ("", 1, False)
    assert (row.streamed_text, row.offline_text) == ("red blue green", "red blue green")
    for score in (result.streamed_score, result.offline_score):
        assert score.word_errors is not None
        assert score.word_errors.substitutions == 1
    assert row.streamed_score is not None
    assert len(row.streamed_score.latencies) == 2
    assert (result.name, result.completed_count) == ("scripted", "1 of 1")


def test_a_part_of_a_file_is_streamed(target: EvalTarget, recording: Path) -> None:
    [row] = evaluate(target, ManifestEntry(2, recording, offset=1.0, duration=2.0))[0].recordings
    assert (row.audio_seconds, row.streamed_text) == (2.0, "green")


def test_failed_recordings_do_not_stop_the_others(
    target: EvalTarget, recording: Path, tmp_path: Path
) -> None:
    missing, late = ManifestEntry(2, tmp_path / "none.wav"), ManifestEntry(4, recording, offset=99.0)
    result, done = evaluate(
        target, missing, InvalidRow(3, "Not a JSON object."), late, ManifestEntry(5, recording)
    )
    assert done == 4
    assert [bool(row.error) for row in result.recordings] == [True, True, True, False]
    assert "shorter than the offset" in result.recordings[2].error
    assert result.has_failed


def test_a_fallback_model_is_not_measured(target: EvalTarget, recording: Path) -> None:
    entries: list[ManifestEntry | InvalidRow] = [
        ManifestEntry(2, recording),
        ManifestEntry(3, recording),
        InvalidRow(4, "Bad."),
    ]
    result, done = evaluate(target, *entries, model="nonesuch")
    assert done == 0
    assert result.problem
    assert [row.error for row in result.recordings][-2:] == [
        "Skipped: the model or the server is unavailable.",
        "Bad.",
    ]


def test_an_unreachable_server_ends_the_evaluation(recording: Path) -> None:
    nowhere = EvalTarget("ws://127.0.0.1:1/api/v1/audio/stream/transcribe", AlwaysSpeech, None)
    result, _ = evaluate(nowhere, ManifestEntry(2, recording))
    assert "No echoic server" in result.problem
    assert len(result.recordings) == 1


def test_without_a_registry_nothing_is_decoded_offline(target: EvalTarget, recording: Path) -> None:
    streamed_only = EvalTarget(target.address, target.build_detector, None)
    [row] = evaluate(streamed_only, ManifestEntry(2, recording))[0].recordings
    assert row.streamed_text
    assert (row.offline_text, row.offline_score) == (None, None)


def test_speakers_are_not_scored_without_a_reference(recording: Path) -> None:
    target = EvalTarget("", AlwaysSpeech, None)
    audio = np.zeros(16_000, np.float32)
    assert score_speakers(target, ManifestEntry(2, recording), audio, StreamResult()) == (None, None)


def test_rows_are_named_by_path_or_line(tmp_path: Path) -> None:
    entry = ManifestEntry(2, tmp_path / "a" / "b.wav")
    assert render_source_name(entry, tmp_path) == str(Path("a") / "b.wav")
    assert render_source_name(entry, tmp_path / "other") == str(entry.path)
    assert render_source_name(InvalidRow(7, "Bad."), tmp_path) == "line 7"
