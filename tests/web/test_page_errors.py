"""Tests of the page when something fails: browser, microphone, server or connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Route, WebSocketRoute, expect

from echoic.engines.scripted import VOCABULARY, draw_words
from support.cuttable_proxy import open_proxy
from support.fake_server import CONFIGURED_FRAME, build_final_json
from support.server_process import RestartableServer, ServerProcess, run_restartable_server
from web.page import RATE, SLOW_MICROPHONE, Visit, needs_chromium, open_page, write_wav

pytestmark = needs_chromium

#: Page script: `given` has the tracks of the microphone.
RECORD_TRACKS = """
  window.given = [];
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (constraints) => {
    const media = await ask(constraints);
    given.push(...media.getTracks());
    return media;
  };
"""
IS_RECORDING = "given.some((track) => track.readyState === 'live')"
LONG = "x" * 200_000
SOURCE = {"segment_range": [1, 1], "start": 0, "end": 1, "total_segments": 1}
LISTS: dict[str, Any] = {"summary": [], "action_items": [], "decisions": [], "topics": []}
INSIGHT = {"type": "insight", "stage": "live", "source": SOURCE, **LISTS}
#: Page script: `contexts` has all audio contexts.
RECORD_CONTEXTS = """
  window.contexts = [];
  window.AudioContext = class extends AudioContext {
    constructor(...options) { super(...options); contexts.push(this); }
  };
"""
NO_STORAGE = """
  for (const name of ["localStorage", "sessionStorage"])
    Object.defineProperty(window, name, { get() { throw new DOMException("no", "SecurityError"); } });
"""
NO_CONTEXT = "window.AudioContext = class { constructor() { throw new DOMException('too many'); } };"
NO_MICROPHONE = "Object.defineProperty(navigator, 'mediaDevices', { value: undefined });"
NO_WORKLET = "Object.defineProperty(BaseAudioContext.prototype, 'audioWorklet', { value: undefined });"
WORDS = list(VOCABULARY[:20])
#: Part of the console line when a server does not answer.
NO_ANSWER = "net::ERR_"
BACK = "The server is back, and nothing was lost."


@pytest.fixture(scope="module")
def server_address() -> Iterator[str]:
    with ServerProcess() as server:
        yield server.address


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Twenty words in ten seconds, then silence."""
    words = [("", 0.5), *((word, 0.4) for word in WORDS), ("", 30.0)]
    return write_wav(tmp_path / "words.wav", draw_words(words, rate=RATE))


class ScriptedServer:
    """Replaces the server's WebSocket: answers as scripted, and sends what a test wants."""

    def __init__(self) -> None:
        self.socket: WebSocketRoute | None = None
        self.answers: dict[str, list[dict[str, Any]]] = {
            "config": [CONFIGURED_FRAME],
            "ping": [{"type": "pong"}],
        }

    async def install(self, visit: Visit) -> None:
        await visit.page.add_init_script(RECORD_TRACKS)
        await visit.page.route_web_socket("**/transcribe", self._open)
        await visit.page.reload()

    def _open(self, socket: WebSocketRoute) -> None:
        self.socket = socket
        socket.on_message(self._answer)

    def _answer(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self.send(*self.answers.get(json.loads(message)["type"], []))

    def send(self, *frames: dict[str, Any] | str) -> None:
        assert self.socket is not None
        for frame in frames:
            self.socket.send(frame if isinstance(frame, str) else json.dumps(frame))

    async def close(self, code: int) -> None:
        assert self.socket is not None
        await self.socket.close(code=code)


async def test_any_end_is_explained_and_frees_the_microphone(server_address: str, speech: Path) -> None:
    kept = "What was said before is here."
    revoked = {"type": "error", "code": "unauthorized", "message": "The key is unknown."}
    endings: list[tuple[str | dict[str, Any], int, str]] = [
        ("", 1000, "The server ended the recording."),
        ("", 1002, f"The server closed the stream (code 1002). {kept}"),
        ("", 3999, f"The server closed the stream (code 3999). {kept}"),
        ("<html>502</html>", 1000, f"The server sent a message that is no frame. {kept}"),
        ('{"type":"final","segment_end":NaN}', 1000, f"The server sent a message that is no frame. {kept}"),
        ({"type": "error", "code": "internal_error", "message": LONG}, 1011, LONG),
        (revoked, 4401, f"The key is unknown. {kept}"),
    ]
    server = ScriptedServer()
    async with open_page(f"http://{server_address}/", speech=speech) as visit:
        await server.install(visit)
        for last, code, message in endings:
            await visit.start()
            assert await visit.page.evaluate(IS_RECORDING)
            server.send(build_final_json(1, "some words"))
            await visit.expect_words("some words")
            if last:
                server.send(last)
            await server.close(code)
            await visit.expect_state(message)
            await visit.expect_idle()
            await visit.wait_until(f"!{IS_RECORDING}")
            assert await visit.page.evaluate("document.querySelector('.dock').offsetHeight < innerHeight / 2")
        await expect(visit.page.locator("#key-form")).to_be_visible()


async def test_bad_frames_are_skipped(server_address: str, speech: Path) -> None:
    server = ScriptedServer()
    async with open_page(f"http://{server_address}/", speech=speech) as visit:
        await server.install(visit)
        await visit.start()
        server.send(
            {"type": "insight"},
            {**INSIGHT, "topics": None},
            {"type": "final", "text": 7},
            {"type": "diarization_summary", "speaker_map": {}},
            {"type": "what is this"},
            build_final_json(1, "words"),
        )
        await visit.expect_words("words")
        await visit.expect_hint("The server sent something that this page cannot read.")
        server.send({"type": "warning", "code": "falling_over", "message": LONG})
        server.send({**INSIGHT, "summary": [LONG], "topics": [LONG]}, build_final_json(2, LONG))
        await visit.expect_words(LONG)
        assert await visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert await visit.page.evaluate("document.querySelector('.dock').offsetHeight < innerHeight / 2")
        server.answers["stop"] = [{"type": "full_transcript", "text": ""}]
        await visit.page.click("#record")
        await server.close(1000)
        await visit.expect_idle()


async def test_lag_is_shown_until_the_server_caught_up(server_address: str, speech: Path) -> None:
    late = "The server is falling behind: finals arrive 1000.0 s late, and partials are sent less often."
    server = ScriptedServer()
    async with open_page(f"http://{server_address}/", speech=speech) as visit:
        await server.install(visit)
        await visit.start()
        server.send({"type": "warning", "code": "falling_behind", "message": late, "lag": 1000.0})
        await visit.expect_hint(late)
        await expect(visit.page.locator("#time")).not_to_have_text("0:00")
        server.send(build_final_json(1, "words"))
        await expect(visit.page.locator("#hint")).to_be_empty()


async def test_a_bad_status_is_fetched_again(server_address: str) -> None:
    answers = iter(["{}", '{"models": [{}], "available_models": []}', "<html>", "null"])

    async def answer(route: Route) -> None:
        body = next(answers, None)
        await (route.fallback() if body is None else route.fulfill(body=body))

    async with open_page(f"http://{server_address}/") as visit:
        await visit.page.clock.install()
        await visit.page.route("**/status", answer)
        await visit.page.reload()
        for _ in range(4):
            await expect(visit.page.locator("#model")).to_contain_text("Trying again.")
            await visit.page.clock.run_for(3_000)
        await expect(visit.page.locator("#model")).to_have_text("scripted")


async def test_the_page_works_without_storage(speech: Path) -> None:
    with ServerProcess(api_key="right") as server:
        async with open_page(
            f"http://{server.address}/", speech=speech, expected_error="401 (Unauthorized)"
        ) as visit:
            await visit.page.add_init_script(NO_STORAGE)
            visit.console_lines.clear()
            await visit.page.reload()
            await visit.page.get_by_label("This server asks for a key.").fill("right")
            await visit.page.keyboard.press("Enter")
            await expect(visit.page.locator("#model")).to_have_text("scripted")
            await visit.page.click("#show-options")
            await visit.page.get_by_label("scripted").check()
            await visit.page.keyboard.press("Escape")
            await visit.start()
            await visit.expect_words("two")
            await visit.stop()
            visit.console_lines = [line for line in visit.console_lines if line != "no"]  # of NO_STORAGE


async def test_a_browser_without_microphone_or_worklets(server_address: str, speech: Path) -> None:
    async with open_page(f"http://{server_address}/", speech=speech) as visit:
        await visit.reload_with(NO_WORKLET)
        await visit.page.click("#record")
        await visit.expect_state("This browser is too old")
        await visit.expect_idle()
        await visit.reload_with(NO_MICROPHONE)
        await visit.page.click("#record")
        await visit.expect_state("needs https or localhost")
        await expect(visit.page.locator("#tab")).to_be_hidden()


async def test_a_browser_without_audio_frees_the_microphone(server_address: str, speech: Path) -> None:
    async with open_page(f"http://{server_address}/", speech=speech) as visit:
        await visit.reload_with(SLOW_MICROPHONE + NO_CONTEXT)
        await visit.page.evaluate("allow()")
        await visit.page.click("#record")
        await expect(visit.page.locator("#state")).to_have_text("This browser gives no sound: too many")
        await visit.expect_idle()
        assert await visit.page.evaluate("given.map((track) => track.readyState)") == ["ended"]


async def test_an_unplugged_microphone_ends_the_recording(server_address: str, speech: Path) -> None:
    async with open_page(f"http://{server_address}/", speech=speech) as visit:
        await visit.reload_with(SLOW_MICROPHONE)
        await visit.page.evaluate("allow()")
        await visit.start()
        await visit.expect_words("two")
        await visit.page.evaluate("given[0].dispatchEvent(new Event('ended'))")
        await visit.expect_state("The microphone is gone. Recorded: 0:0")
        await visit.expect_idle()


async def test_a_suspended_audio_context_resumes(server_address: str, speech: Path) -> None:
    async with open_page(f"http://{server_address}/", speech=speech) as visit:
        await visit.reload_with(RECORD_CONTEXTS)
        await visit.start()
        await visit.expect_words("two")
        await visit.page.evaluate("contexts.at(-1).suspend()")
        await visit.wait_until("contexts.at(-1).state === 'running'")
        await visit.expect_words(WORDS[-1])
        await visit.stop()


async def test_stopping_does_not_wait_for_an_unreachable_server(speech: Path) -> None:
    with run_restartable_server() as server:
        async with open_page(f"http://{server.address}/", speech=speech, expected_error="net::ERR_") as visit:
            await visit.start()
            await expect(visit.page.locator(".part").first).to_contain_text("one two")
            server.kill()
            await visit.expect_state("The server is away")
            await visit.page.click("#record")
            await expect(visit.page.locator("#record-label")).to_contain_text("wait")
            await visit.page.click("#record")
            await expect(visit.page.locator("#state")).to_have_text("Stopped without the last words.")
            await visit.expect_idle()
            assert (await visit.read_transcript()).startswith("one two")


async def test_a_lost_connection_loses_and_repeats_no_word(
    speech: Path,
) -> None:
    with ServerProcess() as server:
        async with (
            open_proxy(server.address) as (proxy, through),
            open_page(f"http://{through}/", speech=speech) as visit,
        ):
            await visit.start()
            for word in ("two", "six"):
                await visit.expect_words(word)
                proxy.cut_connections()
                await visit.expect_hint(BACK)
            await visit.expect_words(WORDS[-1])
            assert await visit.stop() == " ".join(WORDS)


@pytest.mark.parametrize("end", [RestartableServer.kill, RestartableServer.stop])
async def test_speech_is_kept_while_the_server_is_away(
    speech: Path, end: Callable[[RestartableServer], None]
) -> None:
    with run_restartable_server() as server:
        async with open_page(f"http://{server.address}/", speech=speech, expected_error=NO_ANSWER) as visit:
            await visit.start()
            await visit.expect_words("two")
            await asyncio.to_thread(end, server)
            await visit.expect_state("The server is away. What is said is kept")
            await asyncio.to_thread(server.start)
            await expect(visit.page.locator("#hint")).to_contain_text("The server is back")
            await visit.expect_words(WORDS[-1])
            said = (await visit.stop()).split()
            assert len(WORDS) - 1 <= len(said) <= len(WORDS) + 1, "a stop in peace may cut a word in two"
            assert end is RestartableServer.stop or said == WORDS


async def test_an_open_page_finds_its_starting_server(speech: Path) -> None:
    with run_restartable_server() as server:
        async with open_page(f"http://{server.address}/", speech=speech, expected_error=NO_ANSWER) as visit:
            server.kill()
            await visit.page.click("#record")
            await expect(visit.page.locator("#state")).to_have_text("The server does not answer.")
            await expect(visit.page.locator("#model")).to_contain_text("Trying again.")
            server.start()
            await expect(visit.page.locator("#model")).to_have_text("scripted")
            await visit.start()


async def test_a_wrong_key_is_refused_and_the_right_one_kept(speech: Path) -> None:
    with ServerProcess(api_key="right") as server:
        async with open_page(
            f"http://{server.address}/", speech=speech, expected_error="401 (Unauthorized)"
        ) as visit:
            key = visit.page.get_by_label("This server asks for a key.")
            await key.fill("wrong")
            await key.press("Enter")
            await expect(visit.page.locator("#key-answer")).to_have_text("This key is not accepted.")
            await key.fill("right")
            await key.press("Enter")
            await expect(key).to_be_hidden()
            await visit.start()
            await visit.expect_words("two")
            assert (await visit.stop()).startswith("one two")
            assert not [url for url in visit.requested_urls if "right" in url]
            assert await visit.page.evaluate("localStorage.length") == 1, "the options, and no key"
            await visit.page.reload()
            await expect(visit.page.locator("#model")).to_have_text("scripted")
            await expect(key).to_be_hidden()


async def test_a_used_up_quota_is_explained(speech: Path) -> None:
    with ServerProcess(api_key="right", tier_limits='{"premium": {"daily_minutes": 0.05}}') as server:
        async with open_page(
            f"http://{server.address}/", speech=speech, expected_error="401 (Unauthorized)"
        ) as visit:
            await visit.page.get_by_label("This server asks for a key.").fill("right")
            await visit.page.keyboard.press("Enter")
            await visit.page.click("#record")
            await visit.expect_state("is used up")
            await visit.expect_idle()
