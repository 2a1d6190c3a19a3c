"""Draws the pictures in docs/images with the page: ``make picture``."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.async_api import ViewportSize, expect

from echoic.media import read_audio
from support.server_process import ServerProcess
from tools.benchmarks.recordings import find_speech_folder
from web.page import RATE, needs_chromium, open_page, write_wav

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
#: A telephone call of two speakers.
CALL = "google_docs__commercial_mono.flac"
NAMES = ("Shop", "Caller")
OPTIONS = {"diarization": True, "num-speakers": "2", "insights": True}
WIDE = {"width": 1200, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 780}
#: The most bytes of a picture.
MAX_BYTES = 200_000
LONG = 120_000  # milliseconds


@pytest.fixture(scope="module")
def server_address() -> Iterator[str]:
    with ServerProcess(scripted_engine="no", preload_model="moonshine-tiny-en") as server:
        yield server.address


def write_call(folder: Path) -> Path:
    """Write the recording as WAV."""
    assert FOLDER is not None
    return write_wav(folder / "A call.wav", np.concatenate(list(read_audio(FOLDER / CALL, RATE))))


def save_picture(picture: bytes, name: str) -> None:
    """Write a picture."""
    assert len(picture) < MAX_BYTES
    assert PICTURES is not None
    Path(PICTURES).mkdir(parents=True, exist_ok=True)
    (Path(PICTURES) / name).write_bytes(picture)


async def test_picture_of_a_file_with_speakers(server_address: str, tmp_path: Path) -> None:
    async with open_page(f"http://{server_address}/", options=OPTIONS, viewport=WIDE) as visit:
        assert FOLDER is not None
        await visit.page.set_input_files("#file", shutil.copy(FOLDER / CALL, tmp_path / "A call.flac"))
        await expect(visit.page.locator("#state")).to_contain_text("Transcribed", timeout=LONG)
        for field, name in zip(await visit.page.locator("#speaker-list input").all(), NAMES, strict=True):
            await field.fill(name)
        await visit.page.locator("body").click(position={"x": 5, "y": 5})
        await visit.page.evaluate("scrollTo(0, 0)")
        await visit.page.wait_for_timeout(1500)  # until new words are faded in
        save_picture(await visit.page.screenshot(animations="disabled"), "page.png")
        await visit.page.set_viewport_size(PHONE)
        save_picture(await visit.page.screenshot(animations="disabled"), "page-phone.png")


async def test_picture_of_a_running_call(server_address: str, tmp_path: Path) -> None:
    look: dict[str, Any] = {"viewport": WIDE, "color_scheme": "dark"}
    async with open_page(
        f"http://{server_address}/", speech=write_call(tmp_path), options=OPTIONS, **look
    ) as visit:
        await visit.start()
        await expect(visit.page.locator(".part", has_text="black")).to_be_attached(timeout=LONG)
        await expect(visit.page.locator(".volatile")).to_contain_text(re.compile(r"\w+ \w+"), timeout=LONG)
        save_picture(await visit.page.screenshot(animations="disabled"), "page-dark.png")
