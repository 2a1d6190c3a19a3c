"""What an evaluation prints and writes."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import typer

import echoic
from echoic.cli.options import print_error, print_table
from echoic.evaluate.manifest import ManifestEntry
from echoic.evaluate.metrics import EvaluationScore, percentile, to_json
from echoic.evaluate.runner import ModelResult, RecordingResult, render_source_name

#: Headings, and what stands below them for a score; empty where nothing can be told.
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


def print_results(results: Sequence[ModelResult], folder: Path, *, per_recording: bool) -> None:
    """Print the figures of all models, those of each recording before if wanted, and on stderr what failed.

    Args:
        results: One for each model.
        folder: Of the manifest.
        per_recording: Whether each recording has its lines.
    """
    for one in results:
        for row in one.recordings:
            if row.error:
                print_error(
                    f"{_render_line_prefix(row)}{render_source_name(row.source, folder)}: {row.error}"
                )
        if one.problem:
            print_error(f"{one.name}: {one.problem}")
    if per_recording:
        scores = [
            ((render_source_name(row.source, folder), one.name), row.streamed_score, row.offline_score)
            for one in results
            for row in one.recordings
        ]
        _print_scores(("Recording", "Model"), scores)
        typer.echo()
    _print_scores(
        ("Model", "Done"),
        [((one.name, one.completed_count), one.streamed_score, one.offline_score) for one in results],
    )


def write_results(results: Iterable[ModelResult], manifest: Path, normaliser: str, file: Path) -> None:
    """Write everything as JSON.

    Raises:
        OSError: It cannot be written.
    """
    body = {
        "echoic": echoic.__version__,
        "manifest": str(manifest),
        "normalizer": normaliser,
        "models": [_to_model_json(one, manifest.parent) for one in results],
    }
    file.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", "utf-8")


def _print_scores(
    heads: tuple[str, ...],
    scores: Sequence[tuple[tuple[str, ...], EvaluationScore | None, EvaluationScore | None]],
) -> None:
    """Print two lines for each name, streamed and offline; columns with nothing in them are left out."""
    lines = [
        [*names, way, *(show(one) for _, show in _SCORE_COLUMNS)]
        for names, streamed, whole in scores
        for way, one in (("streamed", streamed), ("offline", whole))
        if one is not None and one.recording_count
    ]
    headings = [*heads, "", *(heading for heading, _ in _SCORE_COLUMNS)]
    kept = [at for at in range(len(headings)) if at <= len(heads) or any(line[at] for line in lines)]
    print_table([headings[at] for at in kept], [[line[at] for at in kept] for line in lines], unbroken=heads)


def _render_delay(one: EvaluationScore, percent: int) -> str:
    return f"{percentile(one.latencies, percent):.2f}" if one.latencies else ""


def _render_line_prefix(row: RecordingResult) -> str:
    return f"line {row.source.line_number}, " if isinstance(row.source, ManifestEntry) else ""


def _to_model_json(one: ModelResult, folder: Path) -> dict[str, object]:
    return {
        "model": one.name,
        "asked_for": one.requested_model,
        "problem": one.problem or None,
        "streamed": to_json(one.streamed_score),
        "offline": to_json(one.offline_score) if one.offline_score.recording_count else None,
        "recordings": [_to_recording_json(row, folder) for row in one.recordings],
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
