"""Renders evaluation results as tables, as sentences about failures, and as JSON."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import echoic
from echoic.evaluate.manifest import ManifestEntry
from echoic.evaluate.metrics import EvaluationScore, percentile, to_json
from echoic.evaluate.runner import ModelResult, RecordingResult, render_source_name

#: Headings and the renderers of their cells; a cell is empty if the figure was not measured.
_SCORE_COLUMNS: tuple[tuple[str, Callable[[EvaluationScore], str]], ...] = (
    ("Audio s", lambda one: f"{one.audio_seconds:.0f}"),
    ("Words", lambda one: str(one.word_errors.reference_length) if one.word_errors else ""),
    ("WER %", lambda one: f"{one.word_errors.rate:.2f}" if one.word_errors else ""),
    ("Sub", lambda one: str(one.word_errors.substitutions) if one.word_errors else ""),
    ("Del", lambda one: str(one.word_errors.deletions) if one.word_errors else ""),
    ("Ins", lambda one: str(one.word_errors.insertions) if one.word_errors else ""),
    ("CER %", lambda one: f"{one.character_errors.rate:.2f}" if one.character_errors else ""),
    ("Rare missed %", lambda one: f"{one.term_errors.rate:.1f}" if one.term_errors else ""),
    ("Delay p50 s", lambda one: _render_delay(one, 50)),
    ("p95 s", lambda one: _render_delay(one, 95)),
    ("RTF", lambda one: "" if math.isnan(one.realtime_factor) else f"{one.realtime_factor:.3f}"),
    ("DER %", lambda one: f"{one.live_diarization.rate:.1f}" if one.live_diarization else ""),
    ("corrected %", lambda one: f"{one.final_diarization.rate:.1f}" if one.final_diarization else ""),
)


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """A table of scores; empty columns are left out."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def list_failures(results: Iterable[ModelResult], folder: Path) -> list[str]:
    """Return a sentence for each recording and each model that failed.

    Args:
        results: One for each model.
        folder: Of the manifest.
    """
    sentences = []
    for result in results:
        for row in result.recordings:
            if row.error:
                name = render_source_name(row.source, folder)
                sentences.append(f"{_render_line_prefix(row)}{name}: {row.error}")
        if result.problem:
            sentences.append(f"{result.name}: {result.problem}")
    return sentences


def build_recording_table(results: Iterable[ModelResult], folder: Path) -> ScoreTable:
    """Return a table with the scores of each recording under each model."""
    scores = [
        ((render_source_name(row.source, folder), result.name), row.streamed_score, row.offline_score)
        for result in results
        for row in result.recordings
    ]
    return _build_table(("Recording", "Model"), scores)


def build_model_table(results: Iterable[ModelResult]) -> ScoreTable:
    """Return a table with the total scores of each model."""
    scores = [
        ((result.name, result.completed_count), result.streamed_score, result.offline_score)
        for result in results
    ]
    return _build_table(("Model", "Done"), scores)


def write_results(results: Iterable[ModelResult], manifest: Path, normalizer: str, file: Path) -> None:
    """Write all results as JSON.

    Raises:
        OSError: The file cannot be written.
    """
    body = {
        "echoic": echoic.__version__,
        "manifest": str(manifest),
        "normalizer": normalizer,
        "models": [_to_model_json(result, manifest.parent) for result in results],
    }
    file.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", "utf-8")


def _build_table(
    key_headings: tuple[str, ...],
    scores: Iterable[tuple[tuple[str, ...], EvaluationScore | None, EvaluationScore | None]],
) -> ScoreTable:
    """Return a table with a streamed and an offline row for each key."""
    rows = [
        [*key, way, *(render(score) for _, render in _SCORE_COLUMNS)]
        for key, streamed, offline in scores
        for way, score in (("streamed", streamed), ("offline", offline))
        if score is not None and score.recording_count
    ]
    headings = [*key_headings, "", *(heading for heading, _ in _SCORE_COLUMNS)]
    kept = [
        column
        for column in range(len(headings))
        if column <= len(key_headings) or any(row[column] for row in rows)
    ]
    return ScoreTable(
        [headings[column] for column in kept], [[row[column] for column in kept] for row in rows]
    )


def _render_delay(result: EvaluationScore, percent: int) -> str:
    return f"{percentile(result.latencies, percent):.2f}" if result.latencies else ""


def _render_line_prefix(row: RecordingResult) -> str:
    return f"line {row.source.line_number}, " if isinstance(row.source, ManifestEntry) else ""


def _to_model_json(result: ModelResult, folder: Path) -> dict[str, object]:
    return {
        "model": result.name,
        "asked_for": result.requested_model,
        "problem": result.problem or None,
        "streamed": to_json(result.streamed_score),
        "offline": to_json(result.offline_score) if result.offline_score.recording_count else None,
        "recordings": [_to_recording_json(row, folder) for row in result.recordings],
    }


def _to_recording_json(row: RecordingResult, folder: Path) -> dict[str, object]:
    source = row.source
    return {
        "line": source.line_number,
        "path": render_source_name(source, folder) if isinstance(source, ManifestEntry) else None,
        "error": row.error or None,
        "reference": source.reference if isinstance(source, ManifestEntry) else None,
        "streamed": row.streamed_score and {"text": row.streamed_text, **to_json(row.streamed_score)},
        "offline": row.offline_score and {"text": row.offline_text, **to_json(row.offline_score)},
    }
