"""The page and its server: away and back, with a key, below a path."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from echoic.engines.scripted import VOCABULARY, draw_words
from support.cutting import open_proxy
from support.server_process import RestartableServer, ServerProcess, run_restartable_server
from web.browsing import RATE, needs_chromium, spoken, visiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = needs_chromium

WORDS = list(VOCABULARY[:20])
#: What browsers write when a server does not answer.
AWAY = "net::ERR_"
BACK = "The server is back, and nothing was lost."


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Twenty words in ten seconds, then silence."""
    words = [("", 0.5), *((word, 0.4) for word in WORDS), ("", 30.0)]
    return spoken(tmp_path / "words.wav", draw_words(words, rate=RATE))


async def test_a_connection_that_is_cut_is_taken_up_again_and_no_word_is_lost_or_doubled(
    speech: Path,
) -> None:
    with ServerProcess() as server:
        async with (
            open_proxy(server.address) as (proxy, through),
            visiting(f"http://{through}/", speech=speech) as visit,
        ):
            await visit.start()
            for word in ("two", "six"):
                await expect(visit.page.locator("#transcript")).to_contain_text(word)
                proxy.cut_connections()
                await expect(visit.page.locator("#hint")).to_have_text(BACK)
            await expect(visit.page.locator("#transcript")).to_contain_text(WORDS[-1])
            assert await visit.stop() == " ".join(WORDS)


@pytest.mark.parametrize("end", [RestartableServer.kill, RestartableServer.stop])
async def test_a_server_that_is_away_is_told_of_and_what_is_said_meanwhile_is_kept(
    speech: Path, end: Callable[[RestartableServer], None]
) -> None:
    with run_restartable_server() as server:
        async with visiting(f"http://{server.address}/", speech=speech, expects=AWAY) as visit:
            await visit.start()
            await expect(visit.page.locator("#transcript")).to_contain_text("two")
            await asyncio.to_thread(end, server)
            await expect(visit.page.locator("#state")).to_contain_text(
                "The server is away. What is said is kept"
            )
            await asyncio.to_thread(server.start)
            await expect(visit.page.locator("#hint")).to_contain_text("The server is back")
            await expect(visit.page.locator("#transcript")).to_contain_text(WORDS[-1])
            said = (await visit.stop()).split()
            assert len(WORDS) - 1 <= len(said) <= len(WORDS) + 1, "a stop in peace may cut a word in two"
            assert end is RestartableServer.stop or said == WORDS


async def test_a_page_that_is_open_while_its_server_starts_finds_it(speech: Path) -> None:
    with run_restartable_server() as server:
        async with visiting(f"http://{server.address}/", speech=speech, expects=AWAY) as visit:
            server.kill()
            await visit.page.click("#record")
            await expect(visit.page.locator("#state")).to_have_text("The server does not answer.")
            await expect(visit.page.locator("#model")).to_contain_text("Trying again.")
            server.start()
            await expect(visit.page.locator("#model")).to_have_text("scripted")
            await visit.start()


async def test_a_wrong_key_is_told_of_and_the_right_one_lets_in(speech: Path) -> None:
    with ServerProcess(api_key="right") as server:
        async with visiting(
            f"http://{server.address}/", speech=speech, expects="401 (Unauthorized)"
        ) as visit:
            key = visit.page.get_by_label("This server asks for a key.")
            await key.fill("wrong")
            await key.press("Enter")
            await expect(visit.page.locator("#key-answer")).to_have_text("This key is not accepted.")
            await key.fill("right")
            await key.press("Enter")
            await expect(key).to_be_hidden()
            await visit.start()
            await expect(visit.page.locator("#transcript")).to_contain_text("two")
            assert (await visit.stop()).startswith("one two")
            assert not [url for url in visit.asked if "right" in url]
            assert await visit.page.evaluate("localStorage.length") == 1, "the options, and no key"
            await visit.page.reload()
            await expect(visit.page.locator("#model")).to_have_text("scripted")
            await expect(key).to_be_hidden()


async def test_the_minutes_that_are_left_are_told(speech: Path) -> None:
    with ServerProcess(api_key="right", tier_limits='{"premium": {"daily_minutes": 0.05}}') as server:
        async with visiting(
            f"http://{server.address}/", speech=speech, expects="401 (Unauthorized)"
        ) as visit:
            await visit.page.get_by_label("This server asks for a key.").fill("right")
            await visit.page.keyboard.press("Enter")
            await visit.page.click("#record")
            await expect(visit.page.locator("#state")).to_contain_text("is used up")
            await visit.ended()


async def test_it_works_below_a_path(speech: Path) -> None:
    with ServerProcess() as server:
        async with (
            below("/echoic", server.address) as place,
            visiting(f"http://{place}/echoic/", speech=speech) as visit,
        ):
            await expect(visit.page.locator("#model")).to_have_text("scripted")
            await visit.start()
            await expect(visit.page.locator("#transcript")).to_contain_text("two")
            assert (await visit.stop()).startswith("one two")
            assert all("/echoic/" in url for url in visit.asked)


@asynccontextmanager
async def below(path: str, place: str) -> AsyncIterator[str]:
    """Yield the place of a proxy that serves another below a path, and nothing else."""
    host, port = place.split(":")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        with suppress(OSError):
            await asyncio.gather(pump(reader, back, path.encode()), pump(there, writer, b""))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: bytes) -> None:
    """Hand on what comes; of a request's address leave the path out."""
    while data := await reader.read(65_536):
        if path and data.startswith(b"GET "):
            assert data.startswith(b"GET " + path + b"/")
            data = data.replace(path, b"", 1)
        writer.write(data)
        await writer.drain()
    writer.close()


IMPORTED = """HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n
<!doctype html><title>another</title><p id="told"></p><script type="module">
  const { connect } = await import("http://PLACE/echoic.js");
  const stream = await connect("http://PLACE/api/v1/audio/stream/transcribe", { key: "right" });
  document.getElementById("told").textContent = stream.state;
</script>"""


@asynccontextmanager
async def another_server(places: list[str]) -> AsyncIterator[int]:
    """Serve a page that imports the client of the first of the places; yield its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(IMPORTED.replace("PLACE", places[0]).encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_page_of_another_origin_imports_the_client_if_it_may() -> None:
    places: list[str] = []
    async with another_server(places) as port:
        with ServerProcess(api_key="right", allowed_origins=f"http://localhost:{port}") as server:
            places.append(server.address)
            async with visiting(f"http://{places[0]}/", expects="401 (Unauthorized)") as visit:
                other = await visit.context.new_page()
                await other.goto(f"http://localhost:{port}/")
                await expect(other.locator("#told")).to_have_text("open")
                async with other.expect_event("pageerror") as refused:
                    await other.goto(f"http://127.0.0.1:{port}/")
                assert "echoic.js" in str(await refused.value)
