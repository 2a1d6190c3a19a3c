"""What an evaluation prints and writes."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import typer

import echoic
from echoic.cli.evaluation import Row, Study, name_of
from echoic.cli.options import complain
from echoic.cli.tables import print_table
from echoic.evaluate.manifest import Entry
from echoic.evaluate.score import Score, facts
from echoic.evaluate.scoring import percentile

#: Headings, and what stands below them for a score; empty where nothing can be told.
_COLUMNS: tuple[tuple[str, Callable[[Score], str]], ...] = (
    ("Audio s", lambda one: f"{one.seconds:.0f}"),
    ("Words", lambda one: str(one.words.words) if one.words else ""),
    ("WER %", lambda one: f"{one.words.rate:.2f}" if one.words else ""),
    ("Sub", lambda one: str(one.words.substitutions) if one.words else ""),
    ("Del", lambda one: str(one.words.deletions) if one.words else ""),
    ("Ins", lambda one: str(one.words.insertions) if one.words else ""),
    ("CER %", lambda one: f"{one.letters.rate:.2f}" if one.letters else ""),
    ("Rare missed %", lambda one: f"{one.rare.rate:.1f}" if one.rare else ""),
    ("Delay p50 s", lambda one: _mark(one, 50)),
    ("p95 s", lambda one: _mark(one, 95)),
    ("RTF", lambda one: "" if math.isnan(one.speed) else f"{one.speed:.3f}"),
    ("DER %", lambda one: f"{one.live.rate:.1f}" if one.live else ""),
    ("corrected %", lambda one: f"{one.corrected.rate:.1f}" if one.corrected else ""),
)


def print_studies(studies: Sequence[Study], folder: Path, *, each: bool) -> None:
    """Print the figures of all models, those of each recording before if wanted, and on stderr what failed.

    Args:
        studies: One for each model.
        folder: Of the manifest.
        each: Whether each recording has its lines.
    """
    for one in studies:
        for row in one.rows:
            if row.error:
                complain(f"{_line(row)}{name_of(row.source, folder)}: {row.error}")
        if one.problem:
            complain(f"{one.name}: {one.problem}")
    if each:
        scores = [
            ((name_of(row.source, folder), one.name), row.streamed, row.whole)
            for one in studies
            for row in one.rows
        ]
        _print(("Recording", "Model"), scores)
        typer.echo()
    _print(("Model", "Done"), [((one.name, one.done), one.streamed, one.whole) for one in studies])


def write_studies(studies: Iterable[Study], manifest: Path, normaliser: str, file: Path) -> None:
    """Write everything as JSON.

    Raises:
        OSError: It cannot be written.
    """
    body = {
        "echoic": echoic.__version__,
        "manifest": str(manifest),
        "normalizer": normaliser,
        "models": [_study(one, manifest.parent) for one in studies],
    }
    file.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", "utf-8")


def _print(
    heads: tuple[str, ...], scores: Sequence[tuple[tuple[str, ...], Score | None, Score | None]]
) -> None:
    """Print two lines for each name, streamed and offline; columns with nothing in them are left out."""
    lines = [
        [*names, way, *(show(one) for _, show in _COLUMNS)]
        for names, streamed, whole in scores
        for way, one in (("streamed", streamed), ("offline", whole))
        if one is not None and one.recordings
    ]
    headings = [*heads, "", *(heading for heading, _ in _COLUMNS)]
    kept = [at for at in range(len(headings)) if at <= len(heads) or any(line[at] for line in lines)]
    print_table([headings[at] for at in kept], [[line[at] for at in kept] for line in lines], whole=heads)


def _mark(one: Score, percent: int) -> str:
    return f"{percentile(one.late, percent):.2f}" if one.late else ""


def _line(row: Row) -> str:
    return f"line {row.source.line}, " if isinstance(row.source, Entry) else ""


def _study(one: Study, folder: Path) -> dict[str, object]:
    return {
        "model": one.name,
        "asked_for": one.asked,
        "problem": one.problem or None,
        "streamed": facts(one.streamed),
        "offline": facts(one.whole) if one.whole.recordings else None,
        "recordings": [_row(row, folder) for row in one.rows],
    }


def _row(row: Row, folder: Path) -> dict[str, object]:
    source = row.source
    return {
        "line": source.line,
        "path": name_of(source, folder) if isinstance(source, Entry) else None,
        "error": row.error or None,
        "reference": source.reference if isinstance(source, Entry) else None,
        "streamed": row.streamed and {"text": row.streamed_text, **facts(row.streamed)},
        "offline": row.whole and {"text": row.whole_text, **facts(row.whole)},
    }
