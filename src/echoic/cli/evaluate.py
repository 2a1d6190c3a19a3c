"""The command ``echoic eval``: measures models on the user's recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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
    print_table,
)

if TYPE_CHECKING:
    from echoic.client import ReceivedFrame
    from echoic.evaluate.runner import EvalTarget, ModelResult
    from echoic.interfaces.vad import VoiceActivityDetector
    from echoic.server.settings.groups import Settings

_INSTALL_COMMAND = "pip install 'echoic[eval]'"
_CHECKOUT_INSTALL_COMMAND = "pip install -e '.[eval]'"
#: Exit status of a program that Ctrl-C ended.
_INTERRUPTED_STATUS = 130


class NormalizerChoice(StrEnum):
    """How texts are normalized before they are compared."""

    BASIC = "basic"
    ENGLISH = "english"
    NONE = "none"


def run_evaluation(  # noqa: PLR0913  # each is an option of the command
    manifest: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST",
            help="TSV or CSV with the columns path and reference, or JSON lines in the format of NeMo.",
            show_default=False,
        ),
    ],
    *,
    models: Annotated[
        list[str] | None, typer.Option("--model", help="A model; repeat the option to compare several.")
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
        bool,
        typer.Option(
            "--real-time", help="Stream at the pace of speech, so that delays are those of a live stream."
        ),
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline/--no-offline", help="Also decode each recording in one piece.")
    ] = True,
    diarize: DiarizeOption = False,
    speakers: SpeakersOption = None,
    vocabulary: VocabularyOption = None,
    boost: Annotated[
        bool,
        typer.Option("--boost", help="Use the rare_words of each recording as the terms of its vocabulary."),
    ] = False,
    each: Annotated[bool, typer.Option("--each", help="Also print a line for each recording.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all results and texts to this file.")
    ] = None,
) -> None:
    """Measure models on your recordings: errors, delays and speed, streamed and offline side by side.

    If a recording fails, the others are still measured, and the exit code is 1.
    """
    _require_package("jiwer")
    from echoic.cli.vocabulary import read_vocabulary
    from echoic.evaluate.manifest import ManifestEntry, read_manifest
    from echoic.evaluate.normalize import NORMALIZERS
    from echoic.evaluate.report import write_results
    from echoic.evaluate.runner import EvalConfig, evaluate_model
    from echoic.server.settings.load import SettingsError

    results: list[ModelResult] = []
    try:
        rows = read_manifest(manifest)
        if (diarize or speakers) and any(isinstance(row, ManifestEntry) and row.rttm_path for row in rows):
            _warn_without_der()
        base_config = build_config(
            None,
            language,
            enable_partial=False,
            word_timestamps=True,
            diarization=build_diarization_config(speakers, enabled=diarize),
            vocabulary=read_vocabulary(vocabulary) if vocabulary else None,
        )
        if json_file:
            json_file.open("a").close()  # fails before the work begins if it is not writable
        requested: list[str | None] = [*models] if models else [None]
        for model in requested:
            stream_config = base_config if model is None else {**base_config, "model": model}
            eval_config = EvalConfig(
                stream_config, NORMALIZERS[normalizer], key, real_time=real_time, bias_rare_words=boost
            )
            show_notice = _build_notice_printer(stream_config)
            with (
                _open_target(url, config, offline=offline) as target,
                _show_progress(len(rows), model or "") as advance,
            ):
                results.append(evaluate_model(eval_config, target, rows, show_notice, advance))
            if results[-1].is_interrupted:
                break
    except (ValueError, RuntimeError, SettingsError) as error:
        exit_with_error(str(error), 2)
    except OSError as error:
        exit_with_error(
            f"{error.filename or json_file}: {(error.strerror or 'cannot be written').lower()}.", 2
        )
    _print_results(results, manifest.parent, per_recording=each)
    if json_file:
        write_results(results, manifest, normalizer, json_file)
    if any(one.is_interrupted for one in results):
        raise typer.Exit(_INTERRUPTED_STATUS)
    if any(one.has_failed for one in results):
        raise typer.Exit(1)


def _build_notice_printer(config: dict[str, object]) -> Callable[[ReceivedFrame], None]:
    """Return a function that prints the warnings among the frames to stderr, each once."""
    from echoic.cli.messages import NoticeRenderer

    renderer = NoticeRenderer(config)

    def print_notice(frame: ReceivedFrame) -> None:
        if (sentence := renderer.render_notice(frame)) is not None:
            print_error(sentence)

    return print_notice


@contextmanager
def _open_target(url: str | None, config: Path | None, *, offline: bool) -> Iterator[EvalTarget]:
    """Yield the server to evaluate; without a URL, a local server that runs inside the block.

    Args:
        url: The server; None: start one.
        config: A settings file, or None.
        offline: Whether models are loaded here for decoding offline.

    Raises:
        SettingsError: The settings of the file or the environment are invalid.
        ValueError: The URL is invalid.
        RuntimeError: The local server did not start.
    """
    from echoic.cli.local import load_local_settings, run_local_server
    from echoic.client import resolve_stream_url
    from echoic.evaluate.runner import EvalTarget
    from echoic.server.build import build_registry

    settings = load_local_settings(config)
    registry = build_registry(settings).cache_loads()
    build_detector, offline_registry = _choose_detector(settings), registry if offline else None
    if url is not None:
        yield EvalTarget(resolve_stream_url(url), build_detector, offline_registry)
        return
    with run_local_server(config, lambda _: registry) as address:
        yield EvalTarget(address, build_detector, offline_registry)


def _choose_detector(settings: Settings) -> Callable[[], VoiceActivityDetector]:
    """Return the voice activity detector that a server with these settings uses."""
    from echoic.audio.vad import AlwaysSpeech
    from echoic.server.build import build_scripted_factory, build_silero_factory

    return (
        build_scripted_factory()
        if settings.server.scripted_engine
        else build_silero_factory() or AlwaysSpeech
    )


@contextmanager
def _show_progress(total: int, name: str) -> Iterator[Callable[[], None]]:
    """Show a progress bar on stderr if it is a terminal; yield a function that advances it by one."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=total)
        yield lambda: progress.update(task, advance=1)


def _print_results(results: Sequence[ModelResult], folder: Path, *, per_recording: bool) -> None:
    """Print failures to stderr and the scores to stdout."""
    from echoic.evaluate.report import build_model_table, build_recording_table, list_failures

    for sentence in list_failures(results, folder):
        print_error(sentence)
    if per_recording:
        table = build_recording_table(results, folder)
        print_table(table.headings, table.rows, unbroken=("Recording", "Model"))
        typer.echo()
    table = build_model_table(results)
    print_table(table.headings, table.rows, unbroken=("Model", "Done"))


def _require_package(module: str) -> None:
    if find_spec(module) is None:
        exit_with_error(
            f"The package {module} is not installed. "
            f"To install it: {_INSTALL_COMMAND} (in a checkout: {_CHECKOUT_INSTALL_COMMAND})",
            2,
        )


def _warn_without_der() -> None:
    """Warn that no diarization error rate is measured if pyannote.metrics is not installed."""
    from echoic.evaluate.diarization import can_measure_diarization

    if not can_measure_diarization():
        print_error(
            "No DER: the package pyannote.metrics is not installed. "
            f"To install it: {_INSTALL_COMMAND} (in a checkout: {_CHECKOUT_INSTALL_COMMAND})"
        )
