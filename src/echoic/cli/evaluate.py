"""``echoic eval``."""

from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from echoic.cli.options import (
    ApiKeyOption,
    ConfigOption,
    DiarizeOption,
    LanguageOption,
    SpeakersOption,
    UrlOption,
    VocabularyOption,
    build_config,
    build_diarization_config,
    exit_with_error,
    print_error,
)

_INSTALL_COMMAND = "pip install 'echoic[eval]'"
_CHECKOUT_INSTALL_COMMAND = "pip install -e '.[eval]'"
#: What a shell reports for a program that Ctrl-C ended.
_INTERRUPTED_STATUS = 130


class NormalizerChoice(StrEnum):
    """What is made of both texts before they are compared."""

    BASIC = "basic"
    ENGLISH = "english"
    NONE = "none"


def run_evaluation(  # noqa: PLR0913  # each is an option of the command
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
    url: UrlOption = None,
    key: ApiKeyOption = None,
    config: ConfigOption = None,
    language: LanguageOption = None,
    normalizer: Annotated[
        NormalizerChoice,
        typer.Option(
            "--normalizer",
            help="basic: lower case, no punctuation; english: also numbers and short forms in full; none.",
        ),
    ] = NormalizerChoice.BASIC,
    real_time: Annotated[
        bool, typer.Option("--real-time", help="Stream at the pace of speech: delays as a clock has them.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline/--no-offline", help="Decode each recording whole as well.")
    ] = True,
    diarize: DiarizeOption = False,
    speakers: SpeakersOption = None,
    vocabulary: VocabularyOption = None,
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
    _require_package("jiwer")
    from echoic.cli.vocabulary import read_vocabulary
    from echoic.evaluate.manifest import ManifestEntry, read_manifest
    from echoic.evaluate.normalize import NORMALIZERS
    from echoic.evaluate.report import print_results, write_results
    from echoic.evaluate.runner import EvalConfig, evaluate_model, open_target
    from echoic.server.settings.groups import SettingsError

    studies = []
    try:
        rows = read_manifest(manifest)
        if (diarize or speakers) and any(isinstance(row, ManifestEntry) and row.rttm_path for row in rows):
            _warn_without_der()
        wishes = build_config(
            None,
            language,
            enable_partial=False,
            word_timestamps=True,
            diarization=build_diarization_config(speakers, enabled=diarize),
            vocabulary=read_vocabulary(vocabulary) if vocabulary else None,
        )
        if json_file:
            json_file.open("a").close()  # what cannot be written is told before the work begins
        asked: list[str | None] = [*models] if models else [None]
        for model in asked:
            wanted = wishes if model is None else {**wishes, "model": model}
            course = EvalConfig(
                wanted, NORMALIZERS[normalizer], key, real_time=real_time, bias_rare_words=boost
            )
            with open_target(url, config, offline=offline) as place:
                studies.append(evaluate_model(course, place, rows))
            if studies[-1].is_interrupted:
                break
    except (ValueError, RuntimeError, SettingsError) as error:
        exit_with_error(str(error), 2)
    except OSError as error:
        exit_with_error(
            f"{error.filename or json_file}: {(error.strerror or 'cannot be written').lower()}.", 2
        )
    print_results(studies, manifest.parent, per_recording=each)
    if json_file:
        write_results(studies, manifest, normalizer, json_file)
    if any(one.is_interrupted for one in studies):
        raise typer.Exit(_INTERRUPTED_STATUS)
    if any(one.has_failed for one in studies):
        raise typer.Exit(1)


def _require_package(module: str) -> None:
    if find_spec(module) is None:
        exit_with_error(
            f"The package {module} is not installed. To install it: {_INSTALL_COMMAND} (in a checkout: {_CHECKOUT_INSTALL_COMMAND})",
            2,
        )


def _warn_without_der() -> None:
    """Say that speakers' errors are not measured, if their package is not there."""
    from echoic.evaluate.diarization import can_measure_diarization

    if not can_measure_diarization():
        print_error(
            "No DER: the package pyannote.metrics is not installed. "
            f"To install it: {_INSTALL_COMMAND} (in a checkout: {_CHECKOUT_INSTALL_COMMAND})"
        )
