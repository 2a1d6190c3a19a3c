"""The page where the server makes no sense: it says so in a sentence, and can be used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import expect

from echoic.engines.scripted import draw_words
from support.fake_server import CONFIGURED_FRAME, build_final_json
from support.server_process import ServerProcess
from web.browsing import RATE, needs_chromium, spoken, visiting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.async_api import Route, WebSocketRoute

    from web.browsing import Visit

pytestmark = needs_chromium

TRACKS = """
  window.given = [];
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (wish) => {
    const media = await ask(wish);
    given.push(...media.getTracks());
    return media;
  };
"""
LISTENING = "given.some((track) => track.readyState === 'live')"
#: Waits until the microphone is let go of.
DEAF = f"async () => {{ while ({LISTENING}) await new Promise((resolve) => setTimeout(resolve, 20)); }}"
LONG = "x" * 200_000
SOURCE = {"segment_range": [1, 1], "start": 0, "end": 1, "total_segments": 1}
LISTS: dict[str, Any] = {"summary": [], "action_items": [], "decisions": [], "topics": []}
INSIGHT = {"type": "insight", "stage": "live", "source": SOURCE, **LISTS}


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    with ServerProcess() as server:
        yield server.address


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return spoken(tmp_path / "words.wav", draw_words([("one", 0.4)] * 50, rate=RATE))


class Bad:
    """A server in place of the true one, which says what a test wants said."""

    def __init__(self) -> None:
        self.socket: WebSocketRoute | None = None
        self.answers: dict[str, list[dict[str, Any]]] = {
            "config": [CONFIGURED_FRAME],
            "ping": [{"type": "pong"}],
        }

    async def stand_in(self, visit: Visit) -> None:
        await visit.page.add_init_script(TRACKS)
        await visit.page.route_web_socket("**/transcribe", self._open)
        await visit.page.reload()

    def _open(self, socket: WebSocketRoute) -> None:
        self.socket = socket
        socket.on_message(self._hear)

    def _hear(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self.say(*self.answers.get(json.loads(message)["type"], []))

    def say(self, *frames: dict[str, Any] | str) -> None:
        assert self.socket is not None
        for frame in frames:
            self.socket.send(frame if isinstance(frame, str) else json.dumps(frame))

    async def close(self, code: int) -> None:
        assert self.socket is not None
        await self.socket.close(code=code)


async def test_however_a_server_ends_it_the_page_says_so_and_lets_go_of_the_microphone(
    place: str, speech: Path
) -> None:
    kept = "What was said before is here."
    revoked = {"type": "error", "code": "unauthorized", "message": "The key is unknown."}
    ends: list[tuple[str | dict[str, Any], int, str]] = [
        ("", 1000, "The server ended the recording."),
        ("", 1002, f"The server closed the stream (code 1002). {kept}"),
        ("", 3999, f"The server closed the stream (code 3999). {kept}"),
        ("<html>502</html>", 1000, f"The server sent a message that is no frame. {kept}"),
        ('{"type":"final","segment_end":NaN}', 1000, f"The server sent a message that is no frame. {kept}"),
        ({"type": "error", "code": "internal_error", "message": LONG}, 1011, LONG),
        (revoked, 4401, f"The key is unknown. {kept}"),
    ]
    bad = Bad()
    async with visiting(f"http://{place}/", speech=speech) as visit:
        await bad.stand_in(visit)
        for last, code, told in ends:
            await visit.start()
            assert await visit.page.evaluate(LISTENING)
            bad.say(build_final_json(1, "some words"))
            await expect(visit.page.locator("#transcript")).to_contain_text("some words")
            if last:
                bad.say(last)
            await bad.close(code)
            await expect(visit.page.locator("#state")).to_contain_text(told)
            await visit.ended()
            await visit.page.evaluate(DEAF)
            assert await visit.page.evaluate("document.querySelector('.dock').offsetHeight < innerHeight / 2")
        await expect(visit.page.locator("#key-form")).to_be_visible()


async def test_what_a_server_says_amiss_is_passed_over(place: str, speech: Path) -> None:
    bad = Bad()
    async with visiting(f"http://{place}/", speech=speech) as visit:
        await bad.stand_in(visit)
        await visit.start()
        bad.say(
            {"type": "insight"},
            {**INSIGHT, "topics": None},
            {"type": "final", "text": 7},
            {"type": "diarization_summary", "speaker_map": {}},
            {"type": "what is this"},
            build_final_json(1, "words"),
        )
        await expect(visit.page.locator("#transcript")).to_contain_text("words")
        await expect(visit.page.locator("#hint")).to_have_text(
            "The server sent something that this page cannot read."
        )
        bad.say({"type": "warning", "code": "falling_over", "message": LONG})
        bad.say({**INSIGHT, "summary": [LONG], "topics": [LONG]}, build_final_json(2, LONG))
        await expect(visit.page.locator("#transcript")).to_contain_text(LONG)
        assert await visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert await visit.page.evaluate("document.querySelector('.dock').offsetHeight < innerHeight / 2")
        bad.answers["stop"] = [{"type": "full_transcript", "text": ""}]
        await visit.page.click("#record")
        await bad.close(1000)
        await visit.ended()


async def test_that_the_server_falls_behind_is_told_until_it_has_caught_up(place: str, speech: Path) -> None:
    late = "The server falls behind: finals come 1000.0 s late, and partials less often."
    bad = Bad()
    async with visiting(f"http://{place}/", speech=speech) as visit:
        await bad.stand_in(visit)
        await visit.start()
        bad.say({"type": "warning", "code": "falling_behind", "message": late, "lag": 1000.0})
        await expect(visit.page.locator("#hint")).to_have_text(late)
        await expect(visit.page.locator("#time")).not_to_have_text("0:00")
        bad.say(build_final_json(1, "words"))
        await expect(visit.page.locator("#hint")).to_be_empty()


async def test_a_server_that_says_nonsense_of_itself_is_asked_again(place: str) -> None:
    answers = iter(["{}", '{"models": [{}], "available_models": []}', "<html>", "null"])

    async def answer(route: Route) -> None:
        body = next(answers, None)
        await (route.fallback() if body is None else route.fulfill(body=body))

    async with visiting(f"http://{place}/") as visit:
        await visit.page.clock.install()
        await visit.page.route("**/status", answer)
        await visit.page.reload()
        for _ in range(4):
            await expect(visit.page.locator("#model")).to_contain_text("Trying again.")
            await visit.page.clock.run_for(3_000)
        await expect(visit.page.locator("#model")).to_have_text("scripted")
