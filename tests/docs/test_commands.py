"""Runs the commands of the README and the quick start; checks that all others exist and parse."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
import typer
import typer.core
import typer.main
import yaml

from echoic.cli.program import app
from support.documents import GUIDES, ROOT, find_command_blocks
from support.server_process import ServerProcess
from support.shell import SPOKEN_TEXT, DocumentShell, find_recipe, list_make_commands
from support.tiny_parakeet import TINY_PARAKEET_FOLDER
from tools.benchmarks.__main__ import PARTS, SHAPED

#: The documents whose commands are run: one of each kind in ``EXPECTED_OUTPUT``.
EXECUTED_DOCUMENTS: Final = ("README.md", "docs/quickstart.md")
_ECHOIC = r"(?:\S*/)?echoic "
#: The words of ``talk.mp4``, on one line or on several.
SPOKEN_PATTERN: Final = r"\b(?s:.*?)\b".join(SPOKEN_TEXT.split())
#: The message at the end of a recording from the fake microphone, which has no Ctrl-C.
UNPLUGGED: Final = "delivers no audio any more; the transcript ends here."
#: Patterns of commands, and of their output. The first that matches counts.
EXPECTED_OUTPUT: Final = (
    (rf"{_ECHOIC}transcribe \S+ --format srt", rf"00:00:0\d,\d+ --> 00:00:0\d,\d+\n{SPOKEN_TEXT}"),
    (rf"{_ECHOIC}transcribe \S+ --diarize", rf"SPEAKER_00: {SPOKEN_TEXT}"),
    (rf"{_ECHOIC}transcribe \S", rf"^{SPOKEN_TEXT}$"),
    (
        rf"{_ECHOIC}eval recordings.tsv .*--model",
        r"moonshine-tiny-en +1 of 1 +streamed(?s:.)*parakeet\S* +1 of 1 ",
    ),
    (rf"{_ECHOIC}models get \S+", r"/?models/\S+$"),
    (rf"{_ECHOIC}stream talk.mp4", SPOKEN_PATTERN),
    (rf"ffmpeg .*\| {_ECHOIC}listen", SPOKEN_PATTERN),
    (rf"{_ECHOIC}listen", SPOKEN_PATTERN),
    (rf"{_ECHOIC}demo", r"\w"),
    (rf"{_ECHOIC}doctor", r"The server can work here\."),
    (rf"{_ECHOIC}serve", r"http://(?:127\.0\.0\.1|localhost):\d+/"),
    (r"curl \S+/status$", r'"available_models": *\['),
    (r"\S*python examples/captions.py talk.mp4", SPOKEN_PATTERN),
)
_ENVIRONMENT: Final = r"(?:[A-Z_]+=\S+ )*"


def check_extras(line: str) -> None:
    """Check that the extras and folders of a ``pip`` command exist."""
    extras = re.findall(r"\[([\w,]+)\]", line)
    assert {extra for found in extras for extra in found.split(",")} <= set(PROJECT["optional-dependencies"])
    assert "./" not in line or (ROOT / line.split("./")[1] / "pyproject.toml").exists()


def check_target(line: str) -> None:
    """Check that the Makefile has the target."""
    arguments = line.removeprefix("sudo ").removeprefix("make ")
    list_make_commands(*re.findall(r'[A-Z]+="[^"]*"|[^\s"]+', arguments)[:1])


def check_benchmarks(line: str) -> None:
    """Check that the module and the parts of the benchmarks exist."""
    module, *arguments = line.partition(" -m ")[2].split()
    place = ROOT / module.replace(".", "/")
    assert place.with_suffix(".py").exists() or (place / "__main__.py").exists()
    if module == "tools.benchmarks":
        named = [word for word in arguments[: (*arguments, "--").index("--")] if word.islower()]
        assert {word for word in named if not word.startswith("-")} <= {*PARTS, *SHAPED}


def check_containers(line: str) -> None:
    """Check that the files, extras and services of a ``docker`` command exist."""
    if extras := re.search(r"EXTRAS=(\S+)", line):
        check_extras(f"[{extras[1]}]")
    if file := re.search(r"-f (\S+)", line):
        services = yaml.safe_load((ROOT / file[1]).read_text("utf-8"))["services"]
        assert set(re.findall(r"--scale (\w+)=", line)) <= set(services)


def check_files(line: str) -> None:
    """Check that the project's files in a command exist."""
    for file in re.findall(r"(?:^| )((?:deploy|tests)/\S+)", line):
        assert (ROOT / file).exists(), file


def check_nothing(_: str) -> None:
    """Accept a command of another program, with nothing of this project in it."""


PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
#: Commands of other programs: a pattern, the reason why they are not run, and the check instead.
OTHER_PROGRAMS: Final[tuple[tuple[str, str, Callable[[str], None]], ...]] = (
    (r"(?:sudo )?make (?:setup|test|picture|lint|audit|bench|docs)\b", "takes minutes", check_target),
    (r"pip (?:un)?install ", "fetches packages", check_extras),
    (r"(?:\S*/)?python -m echoic.server.settings.document", "test_settings_document.py", check_nothing),
    (r"(?:\S*/)?python -m tools.benchmarks", "takes minutes", check_benchmarks),
    (r"(?:\S*python -m )?pytest tests/", "takes a minute", check_files),
    (r"(?:\w+=\S+ )?docker (?:build|run|restart|compose \S+ \S+ up)\b", "needs Docker", check_containers),
    (r"(?:sudo )?git clone", "wants the repository's address", check_nothing),
    (r"sudo (?:useradd|cp|mkdir|install) ", "changes the machine", check_files),
    (
        r"(?:sudo )?systemctl |systemd-analyze ",
        "needs systemd: integration/deploy/test_files.py",
        check_files,
    ),
    (r"(?:\w+=\S+ )?ollama serve|llama-server |vllm serve ", "a language model's server", check_nothing),
    (r"kill -9", "a fault, no command: tests/integration/faults", check_nothing),
    (r"sqlite3 ", "a backup by another program", check_nothing),
)


def resolve_command(line: str) -> str:
    """Return the command that a line runs: the recipe of ``make run`` and ``make demo``."""
    return find_recipe(line.removeprefix("make ")) if re.fullmatch("make (?:run|demo)", line) else line


def find_pattern(line: str) -> tuple[str, str] | None:
    """Return the row of ``EXPECTED_OUTPUT`` that matches a command."""
    return next((row for row in EXPECTED_OUTPUT if re.match(_ENVIRONMENT + row[0], line)), None)


def list_commands() -> dict[str, str]:
    """Return the commands of all documents, each with the first document that has it."""
    commands: dict[str, str] = {}
    for document in GUIDES:
        for block in find_command_blocks(document):
            for line in block.lines:
                commands.setdefault(resolve_command(line).replace(".venv/bin/", ""), block.document)
    return commands


def list_executed_commands() -> dict[str, str]:
    """Return a command for each row of ``EXPECTED_OUTPUT``, with the pattern of its output."""
    executed: dict[str, str] = {}
    matched: set[str] = set()
    for line, document in COMMANDS.items():
        row = find_pattern(line)
        if document in EXECUTED_DOCUMENTS and row is not None and row[0] not in matched:
            matched.add(row[0])
            executed[line] = row[1]
    return executed


COMMANDS: Final = list_commands()
EXECUTED_COMMANDS: Final = list_executed_commands()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a server as the documents start it, with the tiny Parakeet."""
    with ServerProcess(
        scripted_engine="no", parakeet_onnx_dir=str(TINY_PARAKEET_FOLDER), preload_model="parakeet"
    ) as server:
        yield server.address


@pytest.mark.parametrize("line", EXECUTED_COMMANDS)
def test_a_command_of_the_quick_start_has_the_expected_output(
    line: str, address: str, tmp_path: Path
) -> None:
    if line.startswith("curl ") and shutil.which("curl") is None:
        pytest.skip("needs curl")
    with DocumentShell(tmp_path, address) as shell:
        run = shell.run_server_line if re.search(rf"{_ECHOIC}serve", line) else shell.run_line
        code, output = run(line)
    assert code == (1 if UNPLUGGED in output else 0), output
    assert re.search(EXECUTED_COMMANDS[line], output, re.MULTILINE), output


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_exists_and_parses(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [check for pattern, _, check in OTHER_PROGRAMS if re.match(pattern, line)]
    if checks:
        checks[0](line)
    elif line not in EXECUTED_COMMANDS:
        with DocumentShell(tmp_path, "127.0.0.1:8000") as shell:
            monkeypatch.chdir(tmp_path)
            words = shlex.split(shell.substitute_line(line), comments=True)
        assert "echoic" in words, "neither a command of echoic nor in a table"
        parse_arguments(words[words.index("echoic") + 1 :])


def parse_arguments(words: list[str]) -> None:
    """Parse the arguments of ``echoic``; a command without arguments is asked for its help.

    Raises:
        typer.BadParameter: An option or an argument is wrong.
        KeyError: There is no such command.
    """
    command: object = typer.main.get_command(app)
    while isinstance(command, typer.core.TyperGroup) and words and not words[0].startswith("-"):
        command, words = command.commands[words[0]], words[1:]
    assert isinstance(command, typer.core.TyperGroup | typer.core.TyperCommand)
    try:
        command.make_context("echoic", words or ["--help"])
    except typer.Exit as done:
        assert done.exit_code == 0  # noqa: PT017  # an exit is how help ends


def test_wrong_arguments_do_not_parse() -> None:
    with pytest.raises(KeyError):
        parse_arguments(["transcribble", "talk.mp4"])
    with pytest.raises(Exception, match="No such option"):
        parse_arguments(["transcribe", "--fromat", "srt", "talk.mp4"])


def test_each_row_of_the_tables_matches_a_command() -> None:
    assert set(EXECUTED_COMMANDS.values()) == {output for _, output in EXPECTED_OUTPUT}
    for pattern, *_ in OTHER_PROGRAMS:
        assert any(re.match(pattern, line) for line in COMMANDS), pattern
