"""The page in a real browser, whose microphone plays a file."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from playwright.async_api import expect

from echoic.cli.demo import find_demo_recording
from echoic.engines.scripted import draw_words
from echoic.media import read_audio
from support.server_process import ServerProcess
from web.browsing import RATE, Visit, needs_chromium, spoken, visiting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_chromium

WORDS = ["one", "two", "three", "alpha", "bravo", "charlie", "red", "green", "blue", "north"]


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    with ServerProcess(speakers_diarizer="scripted") as server:
        yield server.address


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Ten words, then silence."""
    words = [("", 0.5), *((word, 0.4) for word in WORDS), ("", 3.0)]
    return spoken(tmp_path / "words.wav", draw_words(words, rate=RATE))


def encoded(file: Path) -> str:
    """Return a file in base64."""
    return base64.b64encode(file.read_bytes()).decode()


async def drop(visit: Visit, file: Path) -> None:
    """Drop a file anywhere on the page."""
    carried = await visit.page.evaluate_handle(
        """async ([bytes, name]) => {
          const carried = new DataTransfer();
          const made = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
          carried.items.add(new File([made], name, { type: "audio/wav" }));
          return carried;
        }""",
        [encoded(file), file.name],
    )
    await visit.page.dispatch_event("body", "dragover", {"dataTransfer": carried})
    await expect(visit.page.locator("#dropping")).to_be_visible()
    await visit.page.dispatch_event("body", "drop", {"dataTransfer": carried})
    await expect(visit.page.locator("#dropping")).to_be_hidden()


async def test_what_is_spoken_is_written_and_can_be_saved(place: str, speech: Path, tmp_path: Path) -> None:
    async with visiting(f"http://{place}/", speech=speech) as visit:
        await visit.start()
        await expect(visit.page.locator(".part").first).to_be_attached()
        await expect(visit.page.locator("#transcript")).to_contain_text("north")
        await expect(visit.page.locator("#delay")).to_have_text(re.compile(r"\d\.\d s behind"))
        assert await visit.stop() == " ".join(WORDS)
        assert await visit.save("txt", tmp_path) == " ".join(WORDS) + "\n"
        assert (await visit.save("srt", tmp_path)).startswith("1\n00:00:0")
        assert (await visit.save("vtt", tmp_path)).startswith("WEBVTT\n\n00:00:0")
        saved = json.loads(await visit.save("json", tmp_path))
        assert saved["text"] == " ".join(WORDS)
        assert " ".join(one["text"] for one in saved["segments"]) == " ".join(WORDS)
        await visit.page.click('[data-form="copy"]')
        await expect(visit.page.locator("#hint")).to_have_text("Copied.")


async def test_a_microphone_that_is_denied_is_told_of(place: str) -> None:
    async with visiting(f"http://{place}/", microphone=False) as visit:
        await visit.page.click("#record")
        await expect(visit.page.locator("#state")).to_contain_text("keeps the microphone from this page")
        await visit.ended()
        await expect(visit.page.locator("#record")).to_be_enabled()


async def test_a_file_that_is_dropped_is_written_down(place: str, speech: Path, tmp_path: Path) -> None:
    async with visiting(f"http://{place}/") as visit:
        await drop(visit, speech)
        await expect(visit.page.locator("#state")).to_have_text("Transcribed: 0:08.")
        assert await visit.transcript() == " ".join(WORDS)
        await expect(visit.page.locator("#title")).to_have_text("words.wav")
        assert await visit.save("txt", tmp_path) == " ".join(WORDS) + "\n"


async def test_a_file_can_be_chosen_and_another_puts_it_aside(
    place: str, speech: Path, tmp_path: Path
) -> None:
    other = spoken(tmp_path / "other.wav", draw_words(["winter", ("", 1.0)], rate=RATE))
    async with visiting(f"http://{place}/") as visit:
        for file in (speech, other):
            await visit.page.set_input_files("#file", file)
            await expect(visit.page.locator("#title")).to_have_text(file.name)
            await expect(visit.page.locator("#state")).to_contain_text("Transcribed")
        assert await visit.transcript() == "winter"
        entry = visit.page.locator("#earlier button")
        await expect(entry).to_have_text(re.compile(r"words\.wav, 0:0\dOne two three alpha.*blue"))
        await entry.click()
        assert await visit.transcript() == " ".join(WORDS)


async def test_what_is_no_sound_is_told_of(place: str, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear reader")
    async with visiting(f"http://{place}/") as visit:
        await visit.page.set_input_files("#file", tmp_path / "letter.txt")
        await expect(visit.page.locator("#state")).to_have_text(
            "letter.txt cannot be read as sound by this browser."
        )


async def test_what_holds_no_words_is_told_of_and_leaves_an_empty_page(place: str, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    files = {
        tmp_path / "empty.wav": "empty.wav is empty.",
        spoken(tmp_path / "silent.wav", np.zeros(RATE, np.float32)): "silent.wav is silent throughout.",
        spoken(tmp_path / "quiet.wav", np.full(2 * RATE, 0.001, np.float32)): (
            "Nothing was understood: quiet.wav is very quiet."
        ),
    }
    async with visiting(f"http://{place}/") as visit:
        for file, sentence in files.items():
            await visit.page.set_input_files("#file", file)
            await expect(visit.page.locator("#state")).to_have_text(sentence)
            await expect(visit.page.locator("#empty")).to_be_visible()
            await expect(visit.page.locator("#title")).to_have_text("Transcript")


async def test_a_video_without_sound_is_told_of(place: str) -> None:
    async with visiting(f"http://{place}/") as visit:
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
              const carried = new DataTransfer();
              carried.items.add(new File([await given], "mute.webm", { type: "video/webm" }));
              document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: carried, bubbles: true }));
            }"""
        )
        await expect(visit.page.locator("#state")).to_have_text(
            "mute.webm has no sound that this browser can read."
        )


async def test_a_file_can_be_cancelled_while_it_is_written_down(place: str, tmp_path: Path) -> None:
    long = spoken(tmp_path / "long.wav", draw_words([("winter", 0.4)] * 3000, rate=RATE))
    async with visiting(f"http://{place}/") as visit:
        await visit.page.set_input_files("#file", long)
        await expect(visit.page.locator("#record-label")).to_have_text("Cancel")
        await expect(visit.page.locator(".part").first).to_be_attached()
        await expect(visit.page.locator("#progress")).to_have_attribute("value", re.compile(r"0\.\d"))
        await expect(visit.page.locator("#state")).to_have_text("Transcribing long.wav:")
        await visit.page.click("#record")
        await expect(visit.page.locator("#state")).to_contain_text("Cancelled. The transcript up to")
        await visit.ended()
        assert (await visit.transcript()).startswith("winter")


async def test_two_tabs_are_two_streams(place: str, speech: Path, tmp_path: Path) -> None:
    other = spoken(tmp_path / "other.wav", draw_words([*["winter"] * 20, ("", 1.0)], rate=RATE))
    async with visiting(f"http://{place}/", speech=speech) as visit:
        second = Visit(await visit.context.new_page(), visit.context)
        visit.watch(second.page)
        await second.page.goto(f"http://{place}/")
        await visit.start()
        await second.page.set_input_files("#file", other)
        await expect(second.page.locator("#state")).to_contain_text("Transcribed")
        await expect(visit.page.locator("#transcript")).to_contain_text("north")
        assert await visit.stop() == " ".join(WORDS)
        assert await second.transcript() == " ".join(["winter"] * 20)


async def test_speakers_have_colours_and_names_and_notes_stand_beside(place: str, tmp_path: Path) -> None:
    words: list[str | tuple[str, float]] = ["one", "two", "three", "one", "two", "three", ("", 2.0)]
    words += [*["alpha", "bravo"] * 3, ("", 2.0)]
    speech = spoken(tmp_path / "two.wav", draw_words(words, rate=RATE))
    options = {"model": "scripted", "diarization": True, "insights": True}
    async with visiting(f"http://{place}/", options=options) as visit:
        await drop(visit, speech)
        await expect(visit.page.locator("#state")).to_contain_text("Transcribed")
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


async def test_a_new_paragraph_is_a_commit_and_clearing_begins_at_zero(place: str, tmp_path: Path) -> None:
    words = [("", 0.5), *[("red", 0.4)] * 40, ("", 5.0)]
    speech = spoken(tmp_path / "long.wav", draw_words(words, rate=RATE))
    async with visiting(f"http://{place}/", speech=speech) as visit:
        await visit.start()
        await expect(visit.page.locator("#transcript")).to_contain_text("red")
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


async def test_the_sound_of_a_tab_is_heard(place: str, tmp_path: Path) -> None:
    song = spoken(tmp_path / "song.wav", draw_words(["one", "two", "three", ("", 1.0)], rate=RATE))
    flags = ("--auto-select-tab-capture-source-by-title=player", "--autoplay-policy=no-user-gesture-required")
    async with visiting(f"http://{place}/", flags=flags) as visit:
        player = await visit.context.new_page()
        await player.set_content("<title>player</title><audio loop></audio>")
        play = "song => document.querySelector('audio').play(document.querySelector('audio').src = song)"
        await player.evaluate(play, f"data:audio/wav;base64,{encoded(song)}")
        await visit.page.bring_to_front()
        await visit.page.click("#tab")
        await expect(visit.page.locator("#transcript")).to_contain_text("three one two three one")
        assert "one two three one two three" in await visit.stop()


@pytest.mark.speech
async def test_a_person_who_reads_is_understood_by_the_model_that_comes_along(tmp_path: Path) -> None:
    recording = find_demo_recording()
    assert recording is not None
    samples = np.concatenate(list(read_audio(recording, RATE)))[: 9 * RATE]
    speech = spoken(tmp_path / "person.wav", np.append(samples, np.zeros(2 * RATE, np.float32)))
    with ServerProcess(scripted_engine="no", preload_model="moonshine-tiny-en") as server:
        async with visiting(f"http://{server.address}/", speech=speech, options={}) as visit:
            await visit.start()
            await expect(visit.page.locator("#model")).to_have_text("moonshine-tiny-en")
            await expect(visit.page.locator("#transcript")).to_contain_text("worst of times")
            assert "the best of times" in await visit.stop()
