"""Runs commands of ``echoic`` in this process, with a scripted server, a fake microphone and audio."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import tempfile
import threading
import wave
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

import numpy as np
import pytest

from echoic.cli.local import run_local_server
from echoic.cli.program import run
from echoic.engines.scripted import VOCABULARY, draw_words
from support.builders import write_recording
from support.fake_server import run_fake_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from support.fake_server import PeerScript

#: The words of ``recording`` and of ``fake_microphone``.
WORDS = VOCABULARY[:12]
#: A folder for ``PYTHONPATH`` with a ``sounddevice`` that plays the file of FAKE_MICROPHONE.
FAKE_SOUNDDEVICE = Path(__file__).parent / "fake_sounddevice"


class CommandResult(NamedTuple):
    """The exit code of a command, and what it wrote."""

    exit_code: int
    stdout: str
    stderr: str


def run_command(
    *args: str, stdin: bytes = b"", encoding: str = "utf-8", env: Mapping[str, str] | None = None
) -> CommandResult:
    """Run a command in this process, with a file as its standard input.

    Args:
        *args: Its arguments, after the program's name.
        stdin: The content of standard input.
        encoding: The encoding of stdout.
        env: Environment variables, beside those of the tests without ``ECHOIC_*``.
    """
    out, err = io.BytesIO(), io.BytesIO()
    with _open_text_file(stdin) as file, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("ECHOIC_")]:
            patch.delenv(name)
        for name, value in ({"COLUMNS": "200", "NO_COLOR": "1"} | dict(env or {})).items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["echoic", *args])
        patch.setattr(sys, "stdin", file)
        patch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding, write_through=True))
        patch.setattr(sys, "stderr", io.TextIOWrapper(err, "utf-8", write_through=True))
        with pytest.raises(SystemExit) as ended:
            run()
        status = ended.value.code
        assert status is None or isinstance(status, int)
        return CommandResult(status or 0, out.getvalue().decode(encoding), err.getvalue().decode())


@contextmanager
def _open_text_file(content: bytes) -> Iterator[TextIO]:
    with tempfile.NamedTemporaryFile() as written:
        written.write(content)
        written.flush()
        with open(written.name, encoding="utf-8") as file:  # noqa: PTH123  # as text, as sys.stdin is
            yield file


@pytest.fixture(scope="session")
def scripted_server() -> Iterator[str]:
    """``host:port`` of a server in this process with the scripted engine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECHOIC_SCRIPTED_ENGINE", "yes")
        patch.setenv("ECHOIC_FALLING_BEHIND_SECONDS", "600")  # a busy machine is late
        with run_local_server() as url:
            yield url.split("/")[2]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A WAV file of 4.8 s with ``WORDS``."""
    return write_recording(tmp_path / "words.wav", WORDS)


@pytest.fixture
def fake_microphone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Return a function that replaces sounddevice by the fake one; its arguments are FAKE_* variables."""
    file = tmp_path / "spoken.f32"
    draw_words(WORDS).astype("<f4").tofile(file)

    def install(**env: str) -> None:
        given = {"FAKE_MICROPHONE": str(file), "FAKE_SPEED": "100", "FAKE_AFTERWARDS": "lost"}
        for name, value in (given | env).items():
            monkeypatch.setenv(name, value)
        spec = spec_from_file_location("sounddevice", FAKE_SOUNDDEVICE / "sounddevice.py")
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setitem(sys.modules, "sounddevice", module)

    return install


@pytest.fixture
def microphone(tmp_path: Path) -> dict[str, str]:
    """The environment of a process with a fake microphone that plays ``WORDS`` four times as fast."""
    file = tmp_path / "spoken.f32"
    draw_words(WORDS).astype("<f4").tofile(file)
    path = os.pathsep.join([str(FAKE_SOUNDDEVICE), *sys.path])
    return {"FAKE_MICROPHONE": str(file), "PYTHONPATH": path}


@contextmanager
def run_fake_server_thread(script: PeerScript) -> Iterator[str]:
    """Serve ``script`` in a thread, as ``run_fake_server`` does; yield the URL."""
    addresses: list[str] = []
    is_ready, loop = threading.Event(), asyncio.new_event_loop()
    stopped = asyncio.Event()

    async def serve() -> None:
        async with run_fake_server(script) as url:
            addresses.append(url)
            is_ready.set()
            await stopped.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        is_ready.wait()
        yield addresses[0]
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
        loop.close()


def encode_samples(samples: NDArray[np.float32], encoding: str = "s16le") -> bytes:
    """Return raw samples, as ``s16le`` or ``f32le``."""
    if encoding == "f32le":
        return samples.astype("<f4").tobytes()
    return (samples * 32768).astype("<i2").tobytes()


def encode_wave(samples: NDArray[np.float32], rate: int = 16_000, width: int = 2, channels: int = 1) -> bytes:
    """Return a WAV file with the samples in every channel; ``width`` is the bytes of a sample."""
    full = np.round(samples.astype(np.float64) * 2 ** (8 * width - 1)).astype("<i4")
    data = np.repeat(full, channels)
    if width == 1:
        body = (data + 128).astype(np.uint8).tobytes()
    else:
        body = data.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(rate)
        out.writeframes(body)
    return file.getvalue()
