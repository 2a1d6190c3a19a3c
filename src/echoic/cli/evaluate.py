"""``echoic eval``."""

from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from echoic.cli.options import (
    Config,
    Diarize,
    Key,
    Language,
    Speakers,
    Url,
    Vocabulary,
    complain,
    config_of,
    diarization_of,
    give_up,
)

_EXTRA = "pip install 'echoic[eval]'"
_HERE = "pip install -e '.[eval]'"
#: What a shell reports for a program that Ctrl-C ended.
_INTERRUPTED = 130


class Normalizer(StrEnum):
    """What is made of both texts before they are compared."""

    BASIC = "basic"
    ENGLISH = "english"
    NONE = "none"


def evaluate(  # noqa: PLR0913  # each is an option of the command
    manifest: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST",
            help="TSV or CSV with the columns path and reference, or JSON lines as NeMo writes them.",
            show_default=False,
        ),
    ],
    *,
    models: Annotated[
        list[str] | None, typer.Option("--model", help="A model; several times, to compare several.")
    ] = None,
    url: Url = None,
    key: Key = None,
    config: Config = None,
    language: Language = None,
    normalizer: Annotated[
        Normalizer,
        typer.Option(
            "--normalizer",
            help="basic: lower case, no punctuation; english: also numbers and short forms in full; none.",
        ),
    ] = Normalizer.BASIC,
    real_time: Annotated[
        bool, typer.Option("--real-time", help="Stream at the pace of speech: delays as a clock has them.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline/--no-offline", help="Decode each recording whole as well.")
    ] = True,
    diarize: Diarize = False,
    speakers: Speakers = None,
    vocabulary: Vocabulary = None,
    boost: Annotated[
        bool, typer.Option("--boost", help="Give each recording its rare_words as terms of its vocabulary.")
    ] = False,
    each: Annotated[bool, typer.Option("--each", help="A line for each recording too.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write everything, each recording's text too, to this file.")
    ] = None,
) -> None:
    """Measure models on recordings of yours: errors, delays and speed, streamed and offline side by side.

    A recording that fails does not keep the others from being done; the exit code is then 1.
    """
    _require("jiwer")
    from echoic.cli.evaluation import Course, study
    from echoic.cli.evaluation_place import place_of
    from echoic.cli.evaluation_report import print_studies, write_studies
    from echoic.cli.wording import read_vocabulary
    from echoic.evaluate.manifest import Entry, read_manifest
    from echoic.evaluate.normal import NORMALISERS
    from echoic.server.settings import SettingsError

    studies = []
    try:
        rows = read_manifest(manifest)
        if (diarize or speakers) and any(isinstance(row, Entry) and row.rttm for row in rows):
            _miss_metrics()
        wishes = config_of(
            None,
            language,
            enable_partial=False,
            word_timestamps=True,
            diarization=diarization_of(speakers, wanted=diarize),
            vocabulary=read_vocabulary(vocabulary) if vocabulary else None,
        )
        if json_file:
            json_file.open("a").close()  # what cannot be written is told before the work begins
        asked: list[str | None] = [*models] if models else [None]
        for model in asked:
            wanted = wishes if model is None else {**wishes, "model": model}
            course = Course(wanted, NORMALISERS[normalizer], key, real_time=real_time, boost=boost)
            with place_of(url, config, offline=offline) as place:
                studies.append(study(course, place, rows))
            if studies[-1].interrupted:
                break
    except (ValueError, RuntimeError, SettingsError) as error:
        give_up(str(error), 2)
    except OSError as error:
        give_up(f"{error.filename or json_file}: {(error.strerror or 'cannot be written').lower()}.", 2)
    print_studies(studies, manifest.parent, each=each)
    if json_file:
        write_studies(studies, manifest, normalizer, json_file)
    if any(one.interrupted for one in studies):
        raise typer.Exit(_INTERRUPTED)
    if any(one.failed for one in studies):
        raise typer.Exit(1)


def _require(module: str) -> None:
    if find_spec(module) is None:
        give_up(f"The package {module} is not installed. To install it: {_EXTRA} (in a checkout: {_HERE})", 2)


def _miss_metrics() -> None:
    """Say that speakers' errors are not measured, if their package is not there."""
    from echoic.evaluate.speakers import can_measure

    if not can_measure():
        complain(
            "No DER: the package pyannote.metrics is not installed. "
            f"To install it: {_EXTRA} (in a checkout: {_HERE})"
        )
