"""The pictures in docs/images, drawn by the page itself: ``make picture``."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from playwright.async_api import expect

from echoic.media import read_audio
from support.server_process import ServerProcess
from tools.benchmarks.recordings import find_speech_folder
from web.browsing import RATE, needs_chromium, spoken, visiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.async_api import ViewportSize


FOLDER = find_speech_folder()
PICTURES = os.environ.get("ECHOIC_PICTURES")
pytestmark = [
    needs_chromium,
    pytest.mark.speech,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        FOLDER is None or PICTURES is None, reason="pictures are drawn by make picture, of recordings"
    ),
]
#: Two who talk by telephone.
CALL = "google_docs__commercial_mono.flac"
NAMES = ("Shop", "Caller")
OPTIONS = {"diarization": True, "num-speakers": "2", "insights": True}
WIDE = {"width": 1200, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 780}
#: Bytes of a picture.
HEAVIEST = 200_000
LONG = 120_000  # milliseconds


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    with ServerProcess(scripted_engine="no", preload_model="moonshine-tiny-en") as server:
        yield server.address


def call(folder: Path) -> Path:
    """Write the recording as WAV."""
    assert FOLDER is not None
    return spoken(folder / "A call.wav", np.concatenate(list(read_audio(FOLDER / CALL, RATE))))


def keep(picture: bytes, name: str) -> None:
    """Write a picture beside the others."""
    assert len(picture) < HEAVIEST
    assert PICTURES is not None
    Path(PICTURES).mkdir(parents=True, exist_ok=True)
    (Path(PICTURES) / name).write_bytes(picture)


async def test_a_recording_with_its_speakers(place: str, tmp_path: Path) -> None:
    async with visiting(f"http://{place}/", options=OPTIONS, viewport=WIDE) as visit:
        assert FOLDER is not None
        await visit.page.set_input_files("#file", shutil.copy(FOLDER / CALL, tmp_path / "A call.flac"))
        await expect(visit.page.locator("#state")).to_contain_text("Transcribed", timeout=LONG)
        for field, name in zip(await visit.page.locator("#speaker-list input").all(), NAMES, strict=True):
            await field.fill(name)
        await visit.page.locator("body").click(position={"x": 5, "y": 5})
        await visit.page.evaluate("scrollTo(0, 0)")
        await visit.page.wait_for_timeout(1500)  # what is new settles
        keep(await visit.page.screenshot(animations="disabled"), "page.png")
        await visit.page.set_viewport_size(PHONE)
        keep(await visit.page.screenshot(animations="disabled"), "page-phone.png")


async def test_a_call_while_it_goes_on(place: str, tmp_path: Path) -> None:
    look: dict[str, Any] = {"viewport": WIDE, "color_scheme": "dark"}
    async with visiting(f"http://{place}/", speech=call(tmp_path), options=OPTIONS, **look) as visit:
        await visit.start()
        await expect(visit.page.locator(".part", has_text="black")).to_be_attached(timeout=LONG)
        await expect(visit.page.locator(".volatile")).to_contain_text(re.compile(r"\w+ \w+"), timeout=LONG)
        keep(await visit.page.screenshot(animations="disabled"), "page-dark.png")
