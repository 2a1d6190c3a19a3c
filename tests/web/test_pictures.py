"""The pictures in docs/images, drawn by the page itself: ``make picture``."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.recordings import speech_folder
from playwright.async_api import expect

from echoic.media import read_audio
from support.live import ServerProcess
from web.browsing import RATE, needs_chromium, spoken, visiting

if TYPE_CHECKING:
    from collections.abc import Iterator


FOLDER = speech_folder()
PICTURES = os.environ.get("ECHOIC_PICTURES")
pytestmark = [
    needs_chromium,
    pytest.mark.speech,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        FOLDER is None or PICTURES is None, reason="pictures are drawn by make picture, of recordings"
    ),
]
#: Two who talk by telephone, and two who read in turns.
CALL = "google_docs__commercial_mono.flac"
READING = "conversation_dev_2.flac"
OPTIONS = {"diarization": True, "num-speakers": "2", "insights": True}
WIDE = {"width": 1200, "height": 800}
PHONE = {"width": 390, "height": 780}
#: Bytes of a picture.
HEAVIEST = 200_000
LONG = 120_000  # milliseconds


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    with ServerProcess(scripted_engine="no", preload_model="moonshine-tiny-en") as server:
        yield server.place


def cut_to(folder: Path, name: str, seconds: float) -> Path:
    """Write the beginning of a recording as WAV."""
    assert FOLDER is not None
    samples = np.concatenate(list(read_audio(FOLDER / name, RATE)))
    return spoken(folder / f"{Path(name).stem}.wav", samples[: round(seconds * RATE)])


def keep(picture: bytes, name: str) -> None:
    """Write a picture beside the others."""
    assert len(picture) < HEAVIEST
    assert PICTURES is not None
    Path(PICTURES).mkdir(parents=True, exist_ok=True)
    (Path(PICTURES) / name).write_bytes(picture)


async def test_a_recording_with_two_speakers_and_its_notes(place: str, tmp_path: Path) -> None:
    reading = cut_to(tmp_path, READING, 62).rename(tmp_path / "Two who read.wav")
    async with visiting(f"http://{place}/", options=OPTIONS, viewport=WIDE) as visit:
        await visit.page.set_input_files("#file", reading)
        await expect(visit.page.locator("#state")).to_contain_text("Transcribed", timeout=LONG)
        await expect(visit.page.locator("#notes .note")).to_be_visible()
        for number, name in enumerate(("Margaret", "The doctor"), 1):
            await visit.page.get_by_label(f"Name of speaker {number}").fill(name)
        await visit.page.evaluate("document.activeElement.blur()")
        await visit.page.wait_for_timeout(1500)  # what is new settles
        keep(await visit.page.screenshot(animations="disabled"), "page.png")


@pytest.mark.parametrize(
    ("name", "look"),
    [
        ("page-dark.png", {"viewport": WIDE, "color_scheme": "dark"}),
        ("page-phone.png", {"viewport": PHONE}),
    ],
)
async def test_a_call_while_it_goes_on(place: str, tmp_path: Path, name: str, look: dict[str, Any]) -> None:
    call = cut_to(tmp_path, CALL, 45)
    async with visiting(f"http://{place}/", speech=call, options=OPTIONS, **look) as visit:
        await visit.start()
        await expect(visit.page.locator("#transcript")).to_contain_text("the black one", timeout=LONG)
        await expect(visit.page.locator(".volatile")).to_contain_text(re.compile(r"\w+ \w+"), timeout=LONG)
        keep(await visit.page.screenshot(animations="disabled"), name)
