"""``echoic listen`` in this process: standard input and a fake microphone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from echoic.engines.scripted import draw_words
from support.command_line import WORDS, encode_samples, encode_wave, run_command

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLES = draw_words(WORDS)
SCRIPTED = ("--model", "scripted")
needs_full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")


def test_raw_samples_give_a_line_for_each_final(scripted_server: str) -> None:
    args = ("listen", "-", "--url", scripted_server, *SCRIPTED)
    status, out, err = run_command(*args, stdin=encode_samples(SAMPLES))
    assert (status, out.split(), err) == (0, list(WORDS), "")
    assert len(out.splitlines()) > 1


@pytest.mark.parametrize(("encoding", "channels", "rate"), [("f32le", 1, 16_000), ("s16le", 8, 48_000)])
def test_the_encoding_of_raw_samples_can_be_given(
    scripted_server: str, encoding: str, channels: int, rate: int
) -> None:
    samples = np.repeat(draw_words(WORDS, rate=rate), channels)
    options = ("--format", encoding, "--channels", str(channels), "--rate", str(rate))
    args = ("listen", "-", "--url", scripted_server, *SCRIPTED, *options)
    status, out, _ = run_command(*args, stdin=encode_samples(samples, encoding))
    assert (status, out.split()) == (0, list(WORDS))


@pytest.mark.parametrize(
    ("width", "channels", "rate"), [(1, 1, 16_000), (2, 2, 48_000), (3, 1, 16_000), (4, 1, 16_000)]
)
def test_a_wav_stream_brings_its_own_format(
    scripted_server: str, width: int, channels: int, rate: int
) -> None:
    data = encode_wave(draw_words(WORDS, rate=rate), rate, width, channels)
    args = ("listen", "-", "--url", scripted_server, *SCRIPTED)
    status, out, err = run_command(*args, stdin=data)
    assert (status, out.split(), err) == (0, list(WORDS), "")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [(b"", "Standard input is empty."), (b"fLaC" + bytes(100), "neither raw samples nor WAV")],
)
def test_unreadable_input_is_one_sentence(scripted_server: str, data: bytes, sentence: str) -> None:
    status, out, err = run_command("listen", "-", "--url", scripted_server, *SCRIPTED, stdin=data)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert sentence in err


def test_values_that_are_not_finite_end_the_stream(scripted_server: str) -> None:
    broken = encode_samples(SAMPLES, "f32le") + np.full(40_000, np.nan, "<f4").tobytes()
    args = ("listen", "-", "--url", scripted_server, *SCRIPTED, "--format", "f32le")
    status, out, err = run_command(*args, stdin=broken)
    assert (status, "The audio is not f32le" in err) == (1, True)
    assert WORDS[: len(out.split())] == tuple(out.split())


@pytest.mark.parametrize("rate", ["0", "-5", "999999"])
def test_an_invalid_rate_is_refused(scripted_server: str, rate: str) -> None:
    status, out, err = run_command("listen", "-", "--url", scripted_server, "--rate", rate)
    assert (status, out) == (2, "")
    assert "'--rate'" in err


def test_a_file_argument_is_pointed_to_stream() -> None:
    status, out, err = run_command("listen", "talk.mp4")
    assert (status, out) == (2, "")
    assert err == (
        "echoic: `listen` reads the microphone or standard input (-). For a file: echoic stream talk.mp4\n"
    )


@pytest.mark.parametrize("extension", ["txt", "srt", "vtt", "json"])
def test_the_extension_selects_the_format(scripted_server: str, tmp_path: Path, extension: str) -> None:
    file = tmp_path / f"talk.{extension}"
    file.write_text("older and longer " * 1000, "utf-8")
    args = ("listen", "-", "--url", scripted_server, *SCRIPTED, "--save", str(file))
    status, _, err = run_command(*args, stdin=encode_samples(SAMPLES))
    assert (status, err) == (0, f"echoic: Saved to {file}.\n")
    text = file.read_text("utf-8")
    assert "older" not in text
    if extension == "json":
        body = json.loads(text)
        assert body["text"] == " ".join(WORDS)
        assert body["segments"][0]["words"][0]["word"] == WORDS[0]
    else:
        assert [word for word in text.split() if word in WORDS] == list(WORDS)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("talk.doc", ".txt, .srt, .vtt, .json"), ("none/talk.txt", "cannot be written")],
)
def test_a_file_that_cannot_be_saved_is_refused_first(tmp_path: Path, name: str, sentence: str) -> None:
    args = ("listen", "-", "--url", "127.0.0.1:1", "--save", str(tmp_path / name))
    status, out, err = run_command(*args, stdin=encode_samples(SAMPLES))
    assert (status, out) == (2, "")
    assert sentence in err


@needs_full_device
def test_captions_go_on_if_the_disk_is_full(scripted_server: str, tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    file.symlink_to("/dev/full")
    args = ("listen", "-", "--url", scripted_server, *SCRIPTED, "--save", str(file))
    status, out, err = run_command(*args, stdin=encode_samples(SAMPLES))
    assert (status, out.split()) == (1, list(WORDS))
    assert err.count("cannot be written: no space left on device") == 2  # during the stream and at its end


def test_an_older_file_is_kept_if_there_are_no_finals(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    file.write_text("yesterday", "utf-8")
    args = ("listen", "-", "--url", "127.0.0.1:1", "--save", str(file))
    status, _, err = run_command(*args, stdin=encode_samples(SAMPLES))
    assert status == 1
    assert "echoic serve" in err
    assert file.read_text("utf-8") == "yesterday"


@pytest.mark.parametrize("end", ["lost", "mute"])
def test_a_lost_microphone_is_reported(
    scripted_server: str, fake_microphone: Callable[..., None], monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr("echoic.cli.microphone._SILENCE_TIMEOUT", 0.3)
    fake_microphone(FAKE_AFTERWARDS=end)
    status, out, err = run_command("listen", "--url", scripted_server, *SCRIPTED)
    assert (status, out.split()) == (1, list(WORDS))
    assert "Built-in Microphone delivers no audio any more" in err


def test_a_microphone_is_read_at_its_own_rate(
    scripted_server: str, fake_microphone: Callable[..., None]
) -> None:
    fake_microphone(FAKE_RATE="48000")
    assert run_command("listen", "--url", scripted_server, *SCRIPTED).stdout.split() == list(WORDS)


@pytest.mark.parametrize("device", ["2", "gäste"])
def test_a_microphone_is_chosen_by_number_or_name(
    scripted_server: str, fake_microphone: Callable[..., None], device: str
) -> None:
    fake_microphone()
    _, out, err = run_command("listen", "--url", scripted_server, *SCRIPTED, "--device", device)
    assert out.split() == list(WORDS)
    assert "Listening to Mikrofon für Gäste" in err


def test_the_devices_are_listed(fake_microphone: Callable[..., None]) -> None:
    fake_microphone()
    status, out, _ = run_command("listen", "--list-devices")
    lines = [line.split() for line in out.splitlines()]
    assert status == 0
    assert lines[1] == ["1", "*", "Built-in", "Microphone", "2", "16000", "Hz"]
    assert lines[2][1:4] == ["Mikrofon", "für", "Gäste"]


def test_characters_missing_in_the_encoding_are_replaced(fake_microphone: Callable[..., None]) -> None:
    fake_microphone()
    status, out, err = run_command("listen", "--list-devices", encoding="ascii")
    assert (status, err) == (0, "")
    assert "Mikrofon f?r G?ste" in out


@pytest.mark.parametrize(
    ("trouble", "args", "sentence"),
    [
        ("no-device", (), "No microphone was found."),
        ("busy", (), "cannot be opened: Error opening InputStream: Device unavailable."),
        ("", ("--device", "cellar"), "To list them: echoic listen --list-devices"),
        ("", ("--device", "9"), "To list them: echoic listen --list-devices"),
        ("", ("--device", "0"), "To list them: echoic listen --list-devices"),
    ],
)
def test_an_unusable_microphone_is_a_sentence(
    scripted_server: str,
    fake_microphone: Callable[..., None],
    trouble: str,
    args: tuple[str, ...],
    sentence: str,
) -> None:
    fake_microphone(FAKE_TROUBLE=trouble)
    status, out, err = run_command("listen", "--url", scripted_server, *SCRIPTED, *args)
    assert (status, out) == (1, "")
    assert sentence in err
