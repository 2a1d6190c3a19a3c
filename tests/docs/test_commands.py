"""Every command in the documents is run, or stands in a table with the reason why it is not."""

from __future__ import annotations

import re
import shutil
import tomllib
from typing import TYPE_CHECKING, Final

import pytest
import yaml

from support.documents import GUIDES, ROOT, CommandBlock, find_command_blocks
from support.server_process import ServerProcess
from support.shell import REVOKED_KEY_ID, SPOKEN_TEXT, DocumentShell, find_recipe, list_make_commands
from support.tiny_parakeet import TINY_PARAKEET_FOLDER
from tools.benchmarks.__main__ import PARTS, SHAPED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_ECHOIC = r"(?:\S*/)?echoic "
_ABOUT: Final = r"(?:transcribe|stream|eval|keys|keys create|models remove)"
#: What is said in ``talk.mp4``, in one line or several.
HEARD: Final = r"\b(?s:.*?)\b".join(SPOKEN_TEXT.split())
#: How a microphone ends here, where nobody presses Ctrl-C.
UNPLUGGED: Final = "delivers no audio any more; the transcript ends here."
#: What is run, by how it begins, and a pattern of what it then says. The first that fits counts.
RUN: Final = (
    (r"make (?:run|demo)$", "see the line that it runs"),
    (rf"{_ECHOIC}{_ABOUT}$", r"Usage: echoic"),  # only named: its help is there
    (rf"{_ECHOIC}transcribe \S+ --format srt", rf"00:00:0\d,\d+ --> 00:00:0\d,\d+\n{SPOKEN_TEXT}"),
    (rf"{_ECHOIC}transcribe \S+ --diarize", rf"SPEAKER_00: {SPOKEN_TEXT}"),
    (rf"{_ECHOIC}transcribe ", rf"^{SPOKEN_TEXT}$"),
    (
        rf"{_ECHOIC}eval recordings.tsv .*--model",
        r"moonshine-tiny-en +1 of 1 +streamed(?s:.)*parakeet\S* +1 of 1 ",
    ),
    (rf"{_ECHOIC}(?:models get|models)$", r"parakeet-tdt-0.6b-v3-onnx +parakeet-onnx|parakeet-onnx +there"),
    (rf"{_ECHOIC}models get \S+", r"/?models/\S+$"),
    (rf"{_ECHOIC}models remove \S+", r"emoved"),
    (rf"{_ECHOIC}keys create \w+", r"^echoic_[0-9a-f]{12}_"),
    (rf"{_ECHOIC}keys list", r"anna"),
    (rf"{_ECHOIC}keys revoke {REVOKED_KEY_ID}", REVOKED_KEY_ID),
    (rf"{_ECHOIC}keys tier anna standard", r"standard"),
    (rf"{_ECHOIC}stream talk.mp4", HEARD),
    (rf"(?:(?:ffmpeg|arecord|sox) .*\| )?{_ECHOIC}listen", HEARD),
    (rf"{_ECHOIC}demo", r"\w"),
    (rf"{_ECHOIC}doctor", r"The server can work here\."),
    (rf"{_ECHOIC}alive", r""),
    (rf"{_ECHOIC}serve", r"http://(?:127\.0\.0\.1|localhost):\d+/"),
    (r"sqlite3 ", r"^$"),
    (r"curl \S+/status$", r'"available_models": *\['),
    (r"\S*python examples/captions.py talk.mp4", HEARD),
)
#: What leaves something behind that another command wants.
_LEAVES: Final = r"echoic (?:keys create|models get) "
#: What stands before a command that is run; ``support.shell`` leaves out what cannot be had here.
_BEFORE: Final = (
    r"(?:[A-Z_]+=\S+ |sudo --user=\w+ |env |docker exec \w+ |docker compose \S+ \S+ run --rm \w+ )*"
)


def ours(line: str) -> None:
    """The extras and folders that pip is given are there."""
    extras = re.findall(r"\[([\w,]+)\]", line)
    assert {extra for found in extras for extra in found.split(",")} <= set(PROJECT["optional-dependencies"])
    assert "./" not in line or (ROOT / line.split("./")[1] / "pyproject.toml").exists()


def a_target(line: str) -> None:
    """The Makefile has the target."""
    list_make_commands(
        *re.findall(r'[A-Z]+="[^"]*"|[^\s"]+', line.removeprefix("sudo ").removeprefix("make "))[:1]
    )


def parts(line: str) -> None:
    """The parts of the benchmarks are there, and so is the module."""
    module, *arguments = line.partition(" -m ")[2].split()
    assert (ROOT / (module.replace(".", "/") + ".py")).exists() or (
        ROOT / module.replace(".", "/") / "__main__.py"
    ).exists()
    if module == "tools.benchmarks":
        named = [word for word in arguments[: (*arguments, "--").index("--")] if word.islower()]
        assert {word for word in named if not word.startswith("-")} <= {*PARTS, *SHAPED}


def containers(line: str) -> None:
    """The files, extras and services are there."""
    if extras := re.search(r"EXTRAS=(\S+)", line):
        ours(f"[{extras[1]}]")
    if file := re.search(r"-f (\S+)", line):
        services = yaml.safe_load((ROOT / file[1]).read_text("utf-8"))["services"]
        assert set(re.findall(r"--scale (\w+)=", line)) <= set(services)


def files(line: str) -> None:
    """The files of the project are there."""
    for file in re.findall(r"(?:^| )((?:deploy|tests)/\S+)", line):
        assert (ROOT / file).exists(), file


def nothing(_: str) -> None:
    """Another's program: nothing of ours is in it."""


PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
#: What is not run: how it begins, why not, and what is looked at in its place.
NOT_RUN: Final[tuple[tuple[str, str, Callable[[str], None]], ...]] = (
    (r"(?:sudo )?make (?:setup|test|picture|lint|audit|bench|docs)\b", "takes minutes", a_target),
    (r"pip (?:un)?install ", "fetches packages", ours),
    (r"(?:\S*/)?python -m echoic.server.settings.document", "tests/docs/test_settings_document.py", nothing),
    (r"(?:\S*/)?python -m tools.benchmarks", "takes minutes", parts),
    (rf"{_ECHOIC}models optimize", "takes minutes: tests/unit/cli/test_optimize.py", nothing),
    (r"(?:\S*python -m )?pytest tests/", "takes a minute", files),
    (r"(?:\w+=\S+ )?docker (?:build|run|restart|compose \S+ \S+ up)\b", "needs Docker", containers),
    (r"(?:sudo )?git clone", "wants the repository's address", nothing),
    (r"sudo (?:useradd|cp|mkdir|install) ", "changes the machine", files),
    (
        r"(?:sudo )?systemctl |systemd-analyze ",
        "needs systemd: tests/integration/deploy/test_files.py",
        files,
    ),
    (r"(?:\w+=\S+ )?ollama serve|llama-server |vllm serve ", "a language model's server", nothing),
    (r"kill -9", "a fault, no command: tests/integration/faults", nothing),
)


def bare(line: str) -> str:
    """Return a line without the folder of its program."""
    return line.replace(".venv/bin/", "")


def all_passages() -> list[CommandBlock]:
    """Return what is to be tried: each line once, unless those after it want what it leaves behind."""
    found = [passage for document in GUIDES for passage in find_command_blocks(document)]
    found.sort(key=lambda passage: -len(passage.lines))
    kept: list[CommandBlock] = []
    seen: set[str] = set()
    for passage in found:
        lines = [line for line in passage.lines if bare(line) not in seen or re.search(_LEAVES, line)]
        if set(map(bare, lines)) - seen:
            kept.append(CommandBlock(passage.document, tuple(lines)))
        seen |= set(map(bare, lines))
    return kept


def says(line: str) -> str | None:
    """Return what a line that is run should say."""
    return next((said for begins, said in RUN if re.match(_BEFORE + begins, line)), None)


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    """A server as those who read the documents have it, whose Parakeet is the tiny one."""
    with ServerProcess(
        scripted_engine="no", parakeet_onnx_dir=str(TINY_PARAKEET_FOLDER), preload_model="parakeet"
    ) as server:
        yield server.address


def command_of(line: str) -> str:
    """Return the command that does what a line says: of a target that only runs one, that one."""
    return find_recipe(line.removeprefix("make ")) if re.fullmatch("make (?:run|demo)", line) else line


def check(line: str, shell: DocumentShell) -> None:
    """Run a line as it stands in a document, but for what ``support.shell`` puts in place."""
    line = command_of(line)
    expected = says(line)
    assert expected is not None, line
    if re.search(rf"{_ECHOIC}serve", line):
        code, said = shell.run_server_line(line)
    elif expected.startswith("Usage"):
        code, said = shell.run_line(f"{line} --help")
    else:
        code, said = shell.run_line(line)
    assert code == (1 if UNPLUGGED in said else 0), said
    assert re.search(expected, said, re.MULTILINE), said


@pytest.mark.parametrize("passage", all_passages(), ids=lambda one: f"{one.document}: {one.lines[0]}")
def test_every_command_does_what_the_document_says(passage: CommandBlock, place: str, tmp_path: Path) -> None:
    with DocumentShell(tmp_path, place) as shell:
        for line in passage.lines:
            instead = [look for begins, _, look in NOT_RUN if re.match(begins, line)]
            if instead:
                instead[0](line)
            elif shutil.which(line.split()[0]) or line.split()[0] not in {"curl", "sqlite3"}:
                check(line, shell)


def test_nothing_stands_in_the_tables_that_is_in_no_document() -> None:
    lines = [line for passage in all_passages() for line in passage.lines]
    lines += [command_of(line) for line in lines]
    for begins in (*(_BEFORE + row[0] for row in RUN), *(row[0] for row in NOT_RUN)):
        assert any(re.match(begins, line) for line in lines), begins
