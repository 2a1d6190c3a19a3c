"""The page object: a browser whose microphone plays a file, and what a user does on the page."""

from __future__ import annotations

import json
import os
import shutil
import wave
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.async_api import BrowserContext, ConsoleMessage, Page, Request, async_playwright, expect

#: Chromium, where Debian and others install it; `CHROMIUM` overrides.
CHROMIUM: Final = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_chromium: Final = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: make test-page installs it, or apt-get install chromium"
)
RATE: Final = 48_000  # the browser's own rate: nothing is resampled
PATIENCE: Final = 60_000.0  # milliseconds
#: Options that choose the engine which hears drawn words.
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


#: Page script: grants the microphone when `allow` is called; `given` has the granted tracks.
SLOW_MICROPHONE: Final = """
  window.given = [];
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  const allowed = new Promise((resolve) => { window.allow = resolve; });
  navigator.mediaDevices.getUserMedia = async (constraints) => {
    await allowed;
    const media = await ask(constraints);
    given.push(...media.getTracks());
    return media;
  };
"""
_WAIT_UNTIL: Final = (
    "async () => {{ while (!({})) await new Promise((resolve) => setTimeout(resolve, 20)); }}"
)


@dataclass  # without slots: Playwright sets attributes on objects whose methods it calls
class Visit:
    """An open page and what a user does on it."""

    page: Page
    #: The browser context, for further tabs of the same user.
    context: BrowserContext
    #: Warnings and errors of the console, and uncaught exceptions.
    console_lines: list[str] = field(default_factory=list)
    #: URLs of all requests and sockets.
    requested_urls: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Record console lines and requests of a page."""
        page.on("console", self._record_console)
        page.on("pageerror", lambda error: self.console_lines.append(str(error)))
        page.on("request", self._record_request)
        page.on("websocket", lambda socket: self.requested_urls.append(socket.url))

    def _record_console(self, line: ConsoleMessage) -> None:
        if line.type in {"error", "warning"}:
            self.console_lines.append(line.text)

    def _record_request(self, request: Request) -> None:
        if not request.url.startswith(("blob:", "data:")):
            self.requested_urls.append(request.url)

    async def reload_with(self, script: str) -> None:
        """Reload the page with a script that changes the browser."""
        await self.page.add_init_script(script)
        await self.page.reload()
        await expect(self.page.locator("#model")).to_have_text("scripted")

    async def wait_until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        await self.page.evaluate(_WAIT_UNTIL.format(condition))

    async def start(self) -> None:
        """Press the button, and wait until the server listens."""
        await self.page.click("#record")
        await self.expect_state("Listening")
        await expect(self.page.locator("#paragraph")).to_be_visible()

    async def stop(self) -> str:
        """Press the button, wait for the last words, and return the transcript in one line."""
        await self.page.click("#record")
        await self.expect_idle()
        return await self.read_transcript()

    async def transcribe_file(self, file: Path) -> None:
        """Choose a file, and wait until it is transcribed."""
        await self.page.set_input_files("#file", file)
        await self.expect_state("Transcribed")

    async def expect_idle(self) -> None:
        """Wait until nothing is recorded."""
        await expect(self.page.locator("#record-label")).to_have_text("Start")

    async def expect_state(self, text: str) -> None:
        """Wait until the status line contains a text."""
        await expect(self.page.locator("#state")).to_contain_text(text)

    async def expect_hint(self, text: str) -> None:
        """Wait until the hint is a text."""
        await expect(self.page.locator("#hint")).to_have_text(text)

    async def expect_words(self, text: str) -> None:
        """Wait until the transcript, provisional words included, contains a text."""
        await expect(self.page.locator("#transcript")).to_contain_text(text)

    async def read_transcript(self) -> str:
        """Return the final words on the page."""
        parts = await self.page.locator(".part").all_text_contents()
        return " ".join(" ".join(parts).split())

    async def save(self, form: str, folder: Path) -> str:
        """Press the button that saves a format, and return the text of the file."""
        async with self.page.expect_download() as download:
            await self.page.click(f'[data-form="{form}"]')
        file = folder / f"saved.{form}"
        await (await download.value).save_as(file)
        return file.read_text("utf-8")


@asynccontextmanager
async def open_page(
    address: str,
    *,
    speech: Path | None = None,
    microphone: bool = True,
    options: Mapping[str, object] = SCRIPTED,
    expected_error: str = "",
    flags: Sequence[str] = (),
    **context: Any,  # noqa: ANN401  # options of Playwright
) -> AsyncIterator[Visit]:
    """Open a page; fail afterwards if it logged errors or made requests to other servers.

    Args:
        address: URL of the page.
        speech: A WAV file that the microphone plays once.
        microphone: Whether the page may use the microphone.
        options: Stored options of an earlier visit.
        expected_error: Part of console lines that are expected.
        flags: Further flags of the browser.
        **context: Options of the browser context.
    """
    flags = [*_FLAGS, *flags]
    if speech is not None:
        flags.append("--use-fake-ui-for-media-stream")
        flags.append(f"--use-file-for-fake-audio-capture={speech}%noloop")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=flags, ignore_default_args=["--mute-audio"]
        )
        permissions = ["microphone", "clipboard-read", "clipboard-write"] if microphone else []
        origin = urlsplit(address)
        tabs = await browser.new_context(**context)
        await tabs.grant_permissions(permissions, origin=f"{origin.scheme}://{origin.netloc}")
        stored = json.dumps(json.dumps(dict(options)))
        name = "echoic options"
        await tabs.add_init_script(f"localStorage['{name}'] ??= {stored}")
        page = await tabs.new_page()
        visit = Visit(page, tabs)
        visit.watch(page)
        await page.goto(address)
        yield visit
        await browser.close()
    is_expected = [bool(expected_error) and expected_error in line for line in visit.console_lines]
    assert all(is_expected), visit.console_lines
    assert {urlsplit(url).netloc for url in visit.requested_urls} <= {origin.netloc}


def write_wav(file: Path, samples: NDArray[np.float32], rate: int = RATE) -> Path:
    """Write samples to a WAV file and return it."""
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.rint(np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes())
    return file
