"""Tests of the page in a browser whose microphone plays a file: record, transcribe, save."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from playwright.async_api import expect

from echoic.cli.demo import find_demo_recording
from echoic.engines.scripted import draw_words
from echoic.media import read_audio
from support.server_process import ServerProcess
from web.page import RATE, SLOW_MICROPHONE, Visit, needs_chromium, open_page, write_wav

pytestmark = needs_chromium

WORDS = ["one", "two", "three", "alpha", "bravo", "charlie", "red", "green", "blue", "north"]
OTHER_PAGE = """HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n
<!doctype html><title>another</title><p id="state"></p><script type="module">
  const { connect } = await import("http://ADDRESS/echoic.js");
  const stream = await connect("http://ADDRESS/api/v1/audio/stream/transcribe", { key: "right" });
  document.getElementById("state").textContent = stream.state;
</script>"""


@pytest.fixture(scope="module")
def server_address() -> Iterator[str]:
    with ServerProcess(speakers_diarizer="scripted") as server:
        yield server.address


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Ten words, then silence."""
    words = [("", 0.5), *((word, 0.4) for word in WORDS), ("", 3.0)]
    return write_wav(tmp_path / "words.wav", draw_words(words, rate=RATE))


def encode_base64(file: Path) -> str:
    """Return a file in base64."""
    return base64.b64encode(file.read_bytes()).decode()


async def drop_file(visit: Visit, file: Path) -> None:
    """Drop a file anywhere on the page."""
    transfer = await visit.page.evaluate_handle(
        """async ([bytes, name]) => {
          const transfer = new DataTransfer();
          const made = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
          transfer.items.add(new File([made], name, { type: "audio/wav" }));
          return transfer;
        }""",
        [encode_base64(file), file.name],
    )
    await visit.page.dispatch_event("body", "dragover", {"dataTransfer": transfer})
    await expect(visit.page.locator("#dropping")).to_be_visible()
    await visit.page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    await expect(visit.page.locator("#dropping")).to_be_hidden()


@asynccontextmanager
async def run_path_proxy(path: str, server_address: str) -> AsyncIterator[str]:
    """Yield the address of a proxy that serves a server below a path, and nothing else."""
    host, port = server_address.split(":")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        with suppress(OSError):
            await asyncio.gather(forward(reader, back, path.encode()), forward(there, writer, b""))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: bytes) -> None:
    """Forward bytes; remove the path from the address of a request."""
    while data := await reader.read(65_536):
        if path and data.startswith(b"GET "):
            assert data.startswith(b"GET " + path + b"/")
            data = data.replace(path, b"", 1)
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def run_other_origin(addresses: list[str]) -> AsyncIterator[int]:
    """Serve a page that imports the client of the first address; yield its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OTHER_PAGE.replace("ADDRESS", addresses[0]).encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_speech_is_transcribed_and_saved(server_address: str, speech: Path, tmp_path: Path) -> None:
    async with open_page(f"http://{server_address}/", speech=speech) as visit:
        await visit.start()
        await expect(visit.page.locator(".part").first).to_be_attached()
        await visit.expect_words("north")
        await expect(visit.page.locator("#delay")).to_have_text(re.compile(r"\d\.\d s behind"))
        assert await visit.stop() == " ".join(WORDS)
        assert await visit.save("txt", tmp_path) == " ".join(WORDS) + "\n"
        assert (await visit.save("srt", tmp_path)).startswith("1\n00:00:0")
        assert (await visit.save("vtt", tmp_path)).startswith("WEBVTT\n\n00:00:0")
        saved = json.loads(await visit.save("json", tmp_path))
        assert saved["text"] == " ".join(WORDS)
        assert " ".join(one["text"] for one in saved["segments"]) == " ".join(WORDS)
        await visit.page.click('[data-form="copy"]')
        await visit.expect_hint("Copied.")


async def test_a_denied_microphone_is_explained(server_address: str) -> None:
    async with open_page(f"http://{server_address}/", microphone=False) as visit:
        await visit.page.click("#record")
        await visit.expect_state("keeps the microphone from this page")
        await visit.expect_idle()
        await expect(visit.page.locator("#record")).to_be_enabled()


async def test_a_dropped_file_is_transcribed(server_address: str, speech: Path, tmp_path: Path) -> None:
    async with open_page(f"http://{server_address}/") as visit:
        await drop_file(visit, speech)
        await expect(visit.page.locator("#state")).to_have_text("Transcribed: 0:08.")
        assert await visit.read_transcript() == " ".join(WORDS)
        await expect(visit.page.locator("#title")).to_have_text("words.wav")
        assert await visit.save("txt", tmp_path) == " ".join(WORDS) + "\n"


async def test_a_second_file_moves_the_first_to_earlier(
    server_address: str, speech: Path, tmp_path: Path
) -> None:
    other = write_wav(tmp_path / "other.wav", draw_words(["winter", ("", 1.0)], rate=RATE))
    async with open_page(f"http://{server_address}/") as visit:
        for file in (speech, other):
            await visit.page.set_input_files("#file", file)
            await expect(visit.page.locator("#title")).to_have_text(file.name)
            await visit.expect_state("Transcribed")
        assert await visit.read_transcript() == "winter"
        entry = visit.page.locator("#earlier button")
        await expect(entry).to_have_text(re.compile(r"words\.wav, 0:0\dOne two three alpha.*blue"))
        await entry.click()
        assert await visit.read_transcript() == " ".join(WORDS)


async def test_a_file_that_is_no_audio_is_explained(server_address: str, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear reader")
    async with open_page(f"http://{server_address}/") as visit:
        await visit.page.set_input_files("#file", tmp_path / "letter.txt")
        await expect(visit.page.locator("#state")).to_have_text(
            "letter.txt cannot be read as sound by this browser."
        )


async def test_a_file_without_words_leaves_the_page_empty(server_address: str, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    files = {
        tmp_path / "empty.wav": "empty.wav is empty.",
        write_wav(tmp_path / "silent.wav", np.zeros(RATE, np.float32)): "silent.wav is silent throughout.",
        write_wav(tmp_path / "quiet.wav", np.full(2 * RATE, 0.001, np.float32)): (
            "Nothing was understood: quiet.wav is very quiet."
        ),
    }
    async with open_page(f"http://{server_address}/") as visit:
        for file, sentence in files.items():
            await visit.page.set_input_files("#file", file)
            await expect(visit.page.locator("#state")).to_have_text(sentence)
            await expect(visit.page.locator("#empty")).to_be_visible()
            await expect(visit.page.locator("#title")).to_have_text("Transcript")


async def test_a_video_without_sound_is_explained(server_address: str) -> None:
    async with open_page(f"http://{server_address}/") as visit:
        await visit.page.evaluate(
            """async () => {
              const canvas = document.createElement("canvas");
              canvas.getContext("2d").fillRect(0, 0, 9, 9);
              const recorder = new MediaRecorder(canvas.captureStream(30));
              let give;
              const given = new Promise((resolve) => (give = resolve));
              recorder.ondataavailable = ({ data }) => give(data);
              recorder.start();
              for (let i = 0; i < 9; i++) {
                await new Promise(requestAnimationFrame);
                canvas.getContext("2d").fillRect(i, 0, 9, 9);
              }
              recorder.stop();
              const transfer = new DataTransfer();
              transfer.items.add(new File([await given], "mute.webm", { type: "video/webm" }));
              document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
            }"""
        )
        await expect(visit.page.locator("#state")).to_have_text(
            "mute.webm has no sound that this browser can read."
        )


async def test_a_file_can_be_cancelled(server_address: str, tmp_path: Path) -> None:
    long = write_wav(tmp_path / "long.wav", draw_words([("winter", 0.4)] * 3000, rate=RATE))
    async with open_page(f"http://{server_address}/") as visit:
        await visit.page.set_input_files("#file", long)
        await expect(visit.page.locator("#record-label")).to_have_text("Cancel")
        await expect(visit.page.locator(".part").first).to_be_attached()
        await expect(visit.page.locator("#progress")).to_have_attribute("value", re.compile(r"0\.\d"))
        await expect(visit.page.locator("#state")).to_have_text("Transcribing long.wav:")
        await visit.page.click("#record")
        await visit.expect_state("Cancelled. The transcript up to")
        await visit.expect_idle()
        assert (await visit.read_transcript()).startswith("winter")


async def test_two_tabs_are_two_streams(server_address: str, speech: Path, tmp_path: Path) -> None:
    other = write_wav(tmp_path / "other.wav", draw_words([*["winter"] * 20, ("", 1.0)], rate=RATE))
    async with open_page(f"http://{server_address}/", speech=speech) as visit:
        second = Visit(await visit.context.new_page(), visit.context)
        visit.watch(second.page)
        await second.page.goto(f"http://{server_address}/")
        await visit.start()
        await second.page.set_input_files("#file", other)
        await second.expect_state("Transcribed")
        await visit.expect_words("north")
        assert await visit.stop() == " ".join(WORDS)
        assert await second.read_transcript() == " ".join(["winter"] * 20)


async def test_speakers_have_colours_and_names(server_address: str, tmp_path: Path) -> None:
    words: list[str | tuple[str, float]] = ["one", "two", "three", "one", "two", "three", ("", 2.0)]
    words += [*["alpha", "bravo"] * 3, ("", 2.0)]
    speech = write_wav(tmp_path / "two.wav", draw_words(words, rate=RATE))
    options = {"model": "scripted", "diarization": True, "insights": True}
    async with open_page(f"http://{server_address}/", options=options) as visit:
        await drop_file(visit, speech)
        await visit.expect_state("Transcribed")
        await expect(visit.page.locator(".turn .who")).to_have_text(["Speaker 1", "Speaker 2"])
        await expect(visit.page.locator(".turn")).to_have_class(
            [re.compile("voice-0"), re.compile("voice-1")]
        )
        await expect(visit.page.locator("#notes .note")).to_be_visible()
        await visit.page.get_by_label("Name of speaker 2").fill("Bob")
        await expect(visit.page.locator(".turn .who")).to_have_text(["Speaker 1", "Bob"])
        saved = await visit.save("txt", tmp_path)
        assert saved == "Speaker 1: one two three one two three\n\nBob: alpha bravo alpha bravo alpha bravo\n"
        assert "<v Bob>alpha" in await visit.save("vtt", tmp_path)


async def test_paragraph_commits_and_clear_resets_the_clock(server_address: str, tmp_path: Path) -> None:
    words = [("", 0.5), *[("red", 0.4)] * 40, ("", 5.0)]
    speech = write_wav(tmp_path / "long.wav", draw_words(words, rate=RATE))
    async with open_page(f"http://{server_address}/", speech=speech) as visit:
        await visit.start()
        await visit.expect_words("red")
        await visit.page.click("#paragraph")
        await expect(visit.page.locator(".turn")).to_have_count(2)
        clear = visit.page.locator("#clear")
        await clear.click()
        await expect(clear).to_have_text("Clear all of it?")
        await clear.click()
        await expect(clear).to_have_text("Clear")
        await expect(visit.page.locator(".turn .part").first).to_have_attribute(
            "title", re.compile("0:0[0-3]")
        )
        count = len((await visit.stop()).split())
        assert 0 < count < 40


async def test_the_sound_of_a_tab_is_transcribed(server_address: str, tmp_path: Path) -> None:
    song = write_wav(tmp_path / "song.wav", draw_words(["one", "two", "three", ("", 1.0)], rate=RATE))
    flags = ("--auto-select-tab-capture-source-by-title=player", "--autoplay-policy=no-user-gesture-required")
    async with open_page(f"http://{server_address}/", flags=flags) as visit:
        player = await visit.context.new_page()
        await player.set_content("<title>player</title><audio loop></audio>")
        play = "song => document.querySelector('audio').play(document.querySelector('audio').src = song)"
        await player.evaluate(play, f"data:audio/wav;base64,{encode_base64(song)}")
        await visit.page.bring_to_front()
        await visit.page.click("#tab")
        await visit.expect_words("three one two three one")
        assert "one two three one two three" in await visit.stop()


@pytest.mark.speech
async def test_the_embedded_model_transcribes_a_person(tmp_path: Path) -> None:
    recording = find_demo_recording()
    assert recording is not None
    samples = np.concatenate(list(read_audio(recording, RATE)))[: 9 * RATE]
    speech = write_wav(tmp_path / "person.wav", np.append(samples, np.zeros(2 * RATE, np.float32)))
    with ServerProcess(scripted_engine="no", preload_model="moonshine-tiny-en") as server:
        async with open_page(f"http://{server.address}/", speech=speech, options={}) as visit:
            await visit.start()
            await expect(visit.page.locator("#model")).to_have_text("moonshine-tiny-en")
            await visit.expect_words("worst of times")
            assert "the best of times" in await visit.stop()


async def test_dragged_text_and_held_keys_are_ignored(server_address: str) -> None:
    async with open_page(f"http://{server_address}/") as visit:
        prevented = await visit.page.evaluate("""() => ["dragover", "drop"].map((kind) => {
          const transfer = new DataTransfer();
          transfer.setData("text/plain", "a word");
          const init = { dataTransfer: transfer, bubbles: true, cancelable: true };
          return !document.body.dispatchEvent(new DragEvent(kind, init));
        })""")
        assert prevented == [False, False]
        await expect(visit.page.locator("#dropping")).to_be_hidden()
        held = {"key": "Enter", "ctrlKey": True, "repeat": True}
        await visit.page.dispatch_event("body", "keydown", held)
        assert await visit.page.locator("#record-label").text_content() == "Start"


async def test_stopping_before_permission_records_nothing(server_address: str, speech: Path) -> None:
    async with open_page(f"http://{server_address}/", speech=speech) as visit:
        await visit.reload_with(SLOW_MICROPHONE)
        await visit.page.click("#record")
        await expect(visit.page.locator("#record-label")).to_have_text("Stop")
        await visit.page.click("#record")
        await visit.expect_idle()
        await visit.page.evaluate("allow()")
        await visit.wait_until("given.length === 1 && given[0].readyState === 'ended'")
        await visit.expect_idle()
        await visit.start()
        await visit.expect_words("two")
        await visit.stop()


async def test_many_presses_of_the_button_end_idle(server_address: str, speech: Path) -> None:
    async with open_page(f"http://{server_address}/", speech=speech) as visit:
        await visit.page.evaluate("for (let i = 0; i < 20; i++) document.getElementById('record').click()")
        await visit.expect_idle()
        await visit.start()
        await visit.expect_words("bravo")
        await visit.stop()


async def test_a_file_dropped_while_recording_is_refused(server_address: str, speech: Path) -> None:
    async with open_page(f"http://{server_address}/", speech=speech) as visit:
        await visit.start()
        transfer = await visit.page.evaluate_handle(
            "() => { const it = new DataTransfer(); it.items.add(new File(['x'], 'x.wav')); return it; }"
        )
        await visit.page.dispatch_event("body", "drop", {"dataTransfer": transfer})
        await visit.expect_hint("Stop first, then drop the file.")
        await visit.expect_words("two")
        assert (await visit.stop()).startswith("one two")


async def test_the_page_works_below_a_path(speech: Path) -> None:
    with ServerProcess() as server:
        async with (
            run_path_proxy("/echoic", server.address) as proxy,
            open_page(f"http://{proxy}/echoic/", speech=speech) as visit,
        ):
            await expect(visit.page.locator("#model")).to_have_text("scripted")
            await visit.start()
            await visit.expect_words("two")
            assert (await visit.stop()).startswith("one two")
            assert all("/echoic/" in url for url in visit.requested_urls)


async def test_only_an_allowed_origin_imports_the_client() -> None:
    addresses: list[str] = []
    async with run_other_origin(addresses) as port:
        with ServerProcess(api_key="right", allowed_origins=f"http://localhost:{port}") as server:
            addresses.append(server.address)
            async with open_page(f"http://{addresses[0]}/", expected_error="401 (Unauthorized)") as visit:
                other = await visit.context.new_page()
                await other.goto(f"http://localhost:{port}/")
                await expect(other.locator("#state")).to_have_text("open")
                async with other.expect_event("pageerror") as refused:
                    await other.goto(f"http://127.0.0.1:{port}/")
                assert "echoic.js" in str(await refused.value)
