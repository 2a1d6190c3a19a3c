from __future__ import annotations

import ast
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from echoic.cli.microphone import InputDevice, Microphone, MicrophoneUnavailable, query_devices
from echoic.client import UnreadableAudio
from echoic.engines.scripted import draw_words
from support.command_line import FAKE_SOUNDDEVICE, WORDS

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_pieces_are_the_audio_until_the_device_is_lost(fake_microphone: Callable[..., None]) -> None:
    fake_microphone()
    pieces = []

    async def read() -> None:
        async for piece in Microphone().read_pieces(lambda: None):
            pieces.append(piece)  # noqa: PERF401  # the iteration raises

    with pytest.raises(UnreadableAudio, match="Built-in Microphone delivers no audio any more"):
        await read()
    samples, expected = np.concatenate(pieces), draw_words(WORDS)
    assert np.array_equal(samples[: len(expected)], expected)
    assert not samples[len(expected) :].any()


def test_devices_have_a_number_and_a_default(fake_microphone: Callable[..., None]) -> None:
    fake_microphone()
    assert query_devices() == [
        InputDevice(1, "Built-in Microphone", 2, 16_000, is_default=True),
        InputDevice(2, "Mikrofon für Gäste", 2, 16_000, is_default=False),
    ]


def test_without_sounddevice_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MicrophoneUnavailable, match=r"pip install 'echoic\[microphone\]'"):
        Microphone()


def test_without_portaudio_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(FAKE_SOUNDDEVICE)
    monkeypatch.setenv("FAKE_TROUBLE", "no-portaudio")
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(MicrophoneUnavailable, match="library PortAudio: apt-get install libportaudio2"):
        query_devices()


def test_the_fake_takes_the_parameters_of_sounddevice() -> None:
    spec = find_spec("sounddevice")
    if spec is None or spec.origin is None:
        pytest.skip("sounddevice is not installed")
    real, fake = (read_parameters(Path(file)) for file in (spec.origin, FAKE_SOUNDDEVICE / "sounddevice.py"))
    for name, parameters in fake.items():
        assert parameters <= real[name], name


def read_parameters(file: Path) -> dict[str, set[str]]:
    """Return the parameters of the functions of sounddevice that are used."""
    tree = ast.parse(file.read_text("utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    [stream] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "InputStream"]
    [init] = [node for node in stream.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    used = {name: functions[name] for name in ("query_devices", "check_input_settings")}
    return {
        name: {argument.arg for argument in node.args.args}
        for name, node in (used | {"InputStream": init}).items()
    }
