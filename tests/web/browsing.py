"""A browser with a microphone that plays a file, and what it did."""

from __future__ import annotations

import json
import os
import shutil
import wave
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.async_api import async_playwright, expect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from playwright.async_api import BrowserContext, ConsoleMessage, Page, Request

#: Where Debian, others and whoever says so keep it.
CHROMIUM: Final = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_chromium: Final = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: make test-page installs it, or apt-get install chromium"
)
RATE: Final = 48_000  # of the browser's own sound: nothing is resampled on the way
PATIENCE: Final = 60_000.0  # milliseconds
#: The recogniser that hears what was drawn.
SCRIPTED: Final[Mapping[str, object]] = MappingProxyType({"model": "scripted"})
_FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-quic",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
)
expect.set_options(timeout=PATIENCE)


@dataclass  # no slots: Playwright sets attributes on whose methods it calls
class Visit:
    """A page that is open.

    Attributes:
        page: The browser's.
        context: What other tabs of the same user belong to.
        told: What was written to the console as a warning or an error, and errors that nobody caught.
        asked: The addresses of all requests, sockets too.
    """

    page: Page
    context: BrowserContext
    told: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Note what a page does from now on."""
        page.on("console", self._note_line)
        page.on("pageerror", lambda error: self.told.append(str(error)))
        page.on("request", self._note)
        page.on("websocket", lambda socket: self.asked.append(socket.url))

    def _note_line(self, line: ConsoleMessage) -> None:
        if line.type in {"error", "warning"}:
            self.told.append(line.text)

    def _note(self, request: Request) -> None:
        if not request.url.startswith(("blob:", "data:")):
            self.asked.append(request.url)

    async def start(self) -> None:
        """Press the button, and wait until the server listens."""
        await self.page.click("#record")
        await expect(self.page.locator("#state")).to_contain_text("Listening", timeout=PATIENCE)
        await expect(self.page.locator("#paragraph")).to_be_visible()

    async def stop(self) -> str:
        """Press the button, wait for the last words, and return the transcript in one line."""
        await self.page.click("#record")
        await self.ended()
        return await self.transcript()

    async def ended(self) -> None:
        """Wait until nothing is recorded."""
        await expect(self.page.locator("#record-label")).to_have_text("Start")

    async def transcript(self) -> str:
        """Return what stands on the page and is final."""
        parts = await self.page.locator(".part").all_text_contents()
        return " ".join(" ".join(parts).split())

    async def save(self, form: str, folder: Path) -> str:
        """Press one of the buttons that save, and return what is in the file."""
        async with self.page.expect_download() as download:
            await self.page.click(f'[data-form="{form}"]')
        file = folder / f"saved.{form}"
        await (await download.value).save_as(file)
        return file.read_text("utf-8")


@asynccontextmanager
async def visiting(
    address: str,
    *,
    speech: Path | None = None,
    microphone: bool = True,
    options: Mapping[str, object] = SCRIPTED,
    expects: str = "",
    flags: Sequence[str] = (),
    **context: Any,  # noqa: ANN401  # what the browser takes
) -> AsyncIterator[Visit]:
    """Yield a visit to a page; at its end nothing may have been amiss.

    Args:
        address: Of the page.
        speech: A WAV file that its microphone plays, once.
        microphone: Whether the page may have it.
        options: What was chosen on an earlier visit.
        expects: Part of what may be written to the console.
        flags: Further ones of the browser.
        **context: As the browser takes it.
    """
    flags = [*_FLAGS, *flags]
    if speech is not None:
        flags.append("--use-fake-ui-for-media-stream")
        flags.append(f"--use-file-for-fake-audio-capture={speech}%noloop")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=flags, ignore_default_args=["--mute-audio"]
        )
        given = ["microphone", "clipboard-read", "clipboard-write"] if microphone else []
        place = urlsplit(address)
        tabs = await browser.new_context(**context)
        await tabs.grant_permissions(given, origin=f"{place.scheme}://{place.netloc}")
        kept = json.dumps(json.dumps(dict(options)))
        name = "echoic options"
        await tabs.add_init_script(f"localStorage['{name}'] ??= {kept}")
        page = await tabs.new_page()
        visit = Visit(page, tabs)
        visit.watch(page)
        await page.goto(address)
        yield visit
        await browser.close()
    amiss = [line for line in visit.told if not expects or expects not in line]
    assert not amiss
    assert {urlsplit(url).netloc for url in visit.asked} <= {place.netloc}


def spoken(file: Path, samples: NDArray[np.float32], rate: int = RATE) -> Path:
    """Write samples as a WAV file and return it."""
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.rint(np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes())
    return file
