"""Runs the commands of the documents in a shell, in a folder with the files that they name."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from echoic.engines.store.catalogue import MODEL_SOURCES
from support.builders import make_key_in
from support.command_line import FAKE_SOUNDDEVICE
from support.documents import ROOT
from support.fake_hub import ENCODER_FILE, FakeHub, read_tiny_files
from support.timing import WAIT_SECONDS
from support.tiny_parakeet import TINY_PARAKEET_FOLDER, read_recordings
from support.whisper_models import build_whisper_files

if TYPE_CHECKING:
    from pathlib import Path

#: The text of ``talk.mp4``, and of the recording in ``recordings.tsv``.
SPOKEN_TEXT: Final = read_recordings()[3][1]
_SOUND_FILE = TINY_PARAKEET_FOLDER / "speech" / "texts-03.flac"
#: The id of a key that the documents revoke.
REVOKED_KEY_ID: Final = "3f9c2a71d05e"
#: Patterns in the documents, and the text that replaces them here.
SUBSTITUTIONS: Final = (
    # The user and the container: those of the tests.
    (r"^(?:sudo --user=\w+ |docker exec \w+ |docker compose \S+ \S+ run --rm \w+ )", ""),
    (r"/var/lib/echoic", "."),
    (r"=…", "=a-long-random-word"),
    (r"--host 0\.0\.0\.0 --port 8000", "--host 127.0.0.1 --port 0"),
    (r"--config FILE", "--config echoic.ini"),
    (r"\bNAME\b", "parakeet-tdt-0.6b-v3-onnx"),
    (r"--model whisper\b", "--model parakeet-onnx"),  # its library is an extra
    (r"echoic demo$", "echoic demo --seconds 4 --speed 50"),  # instead of 25 s in real time
)


@dataclass
class DocumentShell:
    """Runs commands, one after the other, in the same folder."""

    #: The working folder.
    folder: Path
    #: ``host:port`` of a running server, which the documents call 127.0.0.1:8000.
    address: str
    _hubs: list[FakeHub] = field(default_factory=list)

    def __enter__(self) -> Self:
        programs = self.folder / ".venv" / "bin"
        programs.mkdir(parents=True)
        sources = dict.fromkeys(("ffmpeg", "arecord", "sox"), "-m support.fake_recorder")
        for name, arguments in {"echoic": "-m echoic.cli", "python": "", **sources}.items():
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n', "utf-8")
            program.chmod(0o755)
        (self.folder / "examples").symlink_to(ROOT / "examples")
        shutil.copyfile(_SOUND_FILE, self.folder / "talk.mp4")
        (self.folder / "recordings.tsv").write_text(f"path\treference\ntalk.mp4\t{SPOKEN_TEXT}\n", "utf-8")
        (self.folder / "echoic.ini").write_text("[Server]\nmax_sessions = 50\n", "utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        for hub in self._hubs:
            hub.close()

    def substitute_line(self, line: str) -> str:
        """Return the command to run here for a line of a document."""
        for documented, here in (*SUBSTITUTIONS, (r"\b(?:127\.0\.0\.1|localhost):8000\b", self.address)):
            line = re.sub(documented, here, line)
        return line

    def run_line(self, line: str) -> tuple[int, str]:
        """Run a line of a document; return its exit code and its output."""
        done = subprocess.run(
            ["/bin/bash", "-c", self.substitute_line(line)],
            cwd=self.folder,
            env=self._build_environment(line),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=2 * WAIT_SECONDS,
            check=False,
        )
        return done.returncode, done.stdout

    def run_server_line(self, line: str) -> tuple[int, str]:
        """Start a server with a line of a document, and stop it once it prints its address."""
        with subprocess.Popen(
            ["/bin/bash", "-c", self.substitute_line(line)],  # bash replaces itself by the program
            cwd=self.folder,
            env=self._build_environment(line),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            output = ""
            while not re.search(r"wss?://", output) and (text := process.stdout.readline()):
                output += text
            process.send_signal(signal.SIGTERM)
            output += process.stdout.read()
        return process.returncode, output

    def _build_environment(self, line: str) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("ECHOIC_")}
        env |= {
            "PATH": os.pathsep.join([str(self.folder / ".venv" / "bin"), env["PATH"]]),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "HF_TOKEN_PATH": str(self.folder / "no-token"),
            "COLUMNS": "200",
            "NO_COLOR": "1",
            "ECHOIC_PARAKEET_ONNX_DIR": str(TINY_PARAKEET_FOLDER),
            "ECHOIC_PORT": self.address.partition(":")[2] if "alive" in line else "0",
        }
        if "echoic stream" in line or "echoic listen" in line:
            env["ECHOIC_URL"] = self.address
        if re.search(r"echoic listen(?! -$| - )", line):
            self._set_up_microphone(env)
        if "echoic keys" in line:
            env["ECHOIC_KEYS_DB"] = str(self.folder / "keys.db")
        if download := re.search(r"models get (\S+)", self.substitute_line(line)):
            env["HF_ENDPOINT"] = self._start_hub(download[1])
        if f"revoke {REVOKED_KEY_ID}" in line:
            self._make_key(REVOKED_KEY_ID)
        return env

    def _set_up_microphone(self, env: dict[str, str]) -> None:
        """Set up a microphone that plays ``talk.mp4`` and is then unplugged."""
        file = self.folder / "microphone.f32"
        file.write_bytes(read_recordings()[3][0].tobytes())
        env |= {"FAKE_MICROPHONE": str(file), "FAKE_AFTERWARDS": "lost"}
        env["PYTHONPATH"] = os.pathsep.join([str(FAKE_SOUNDDEVICE), env["PYTHONPATH"]])

    def _start_hub(self, name: str) -> str:
        """Start a hub that has a model in all formats; return its address."""
        files = read_tiny_files() | build_whisper_files() | {"tiny.nemo": b"#", "model.safetensors": b"#"}
        files["encoder-model.onnx"] = files[ENCODER_FILE]
        self._hubs.append(FakeHub(MODEL_SOURCES[name].repository, files))
        return self._hubs[-1].address

    def _make_key(self, name: str) -> None:
        """Create a key and change its id to the one in a document."""
        file = self.folder / "keys.db"
        key = asyncio.run(make_key_in(file, "bert"))
        with sqlite3.connect(file) as store:
            store.execute("UPDATE echoic_keys SET id = ? WHERE id = ?", (name, key.text.split("_")[1]))
        store.close()


def find_recipe(target: str) -> str:
    """Return the last command of a target of the Makefile."""
    lines = list_make_commands(target).splitlines()
    return lines[-1]


def list_make_commands(*arguments: str) -> str:
    """Return the commands that ``make`` would run; runs none.

    Raises:
        subprocess.CalledProcessError: There is no such target.
    """
    command = ["make", "--no-print-directory", "-n", "-o", ".venv/.installed", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout
