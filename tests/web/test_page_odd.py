"""The page where something is odd: browsers without this or that, hasty hands, words like markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from echoic.engines.scripted import draw_words
from support.server_process import ServerProcess, run_restartable_server
from web.browsing import RATE, needs_chromium, spoken, visiting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from web.browsing import Visit

pytestmark = needs_chromium

WORDS = ["one", "two", "three", "alpha", "bravo", "charlie", "red", "green", "blue", "north"] * 2

#: The microphone is given when `allow` is called; what was given is in `given`.
SLOW_MICROPHONE = """
  window.given = [];
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  const allowed = new Promise((resolve) => { window.allow = resolve; });
  navigator.mediaDevices.getUserMedia = async (wish) => {
    await allowed;
    const media = await ask(wish);
    given.push(...media.getTracks());
    return media;
  };
"""
#: Waits until something holds.
UNTIL = "async () => { while (!(IT)) await new Promise((resolve) => setTimeout(resolve, 20)); }"
#: All contexts there are are in `contexts`.
CONTEXTS = """
  window.contexts = [];
  window.AudioContext = class extends AudioContext {
    constructor(...wishes) { super(...wishes); contexts.push(this); }
  };
"""
NO_STORAGE = """
  for (const name of ["localStorage", "sessionStorage"])
    Object.defineProperty(window, name, { get() { throw new DOMException("no", "SecurityError"); } });
"""
NO_CONTEXT = "window.AudioContext = class { constructor() { throw new DOMException('too many'); } };"
NO_MICROPHONE = "Object.defineProperty(navigator, 'mediaDevices', { value: undefined });"
NO_WORKLET = "Object.defineProperty(BaseAudioContext.prototype, 'audioWorklet', { value: undefined });"

#: Draws what a server tells, and returns what came of it.
HOSTILE = """async (markup) => {
  const { Transcript } = await import("./transcript.js");
  const { TranscriptView } = await import("./transcript_view.js");
  const { drawNotes, drawSpeakers } = await import("./sidebar.js");
  const part = (id) => document.getElementById(id);
  const transcript = new Transcript();
  const speaker = { speaker_id: 0, speaker_label: "SPEAKER_00" };
  transcript.addFrame({ type: "final", text: markup, segment_id: 1, segment_start: 0, segment_end: 1, ...speaker });
  const item = { description: `${markup} SPEAKER_00`, owner: markup };
  const source = { start: 0, end: 1, segment_range: [1, 1] };
  transcript.addFrame({
    type: "insight", stage: "final", source,
    summary: [markup], topics: [markup], action_items: [item], decisions: [item],
  });
  transcript.setName(0, markup);
  transcript.title = markup;
  const sheet = new TranscriptView(part("transcript"), part("announcer"));
  sheet.draw(transcript);
  sheet.announce(markup, true);
  drawSpeakers(part("speakers"), transcript, () => {});
  drawNotes(part("notes"), transcript);
  return document.querySelectorAll("img, b, script:not([src])").length;
}"""
#: Draws finals of these speakers, one by one; returns the names then, and the rows so grown and drawn anew.
LATE = """async (speakers) => {
  const { Transcript } = await import("./transcript.js");
  const { TranscriptView } = await import("./transcript_view.js");
  const sheet = new TranscriptView(document.getElementById("transcript"), document.getElementById("announcer"));
  const transcript = new Transcript();
  const seen = () => [...sheet.place.children].map((row) => `${row.className}: ${row.textContent.trim()}`);
  const steps = speakers.map((id, at) => {
    const who = id === null ? {} : { speaker_id: id, speaker_label: `SPEAKER_0${id}` };
    const moments = { segment_id: at + 1, segment_start: at, segment_end: at + 1 };
    transcript.addFrame({ type: "final", text: `word ${at}.`, ...moments, ...who });
    sheet.draw(transcript);
    return [...sheet.place.querySelectorAll(".who")].map((who) => who.textContent);
  });
  const grown = seen();
  sheet.place.replaceChildren();
  transcript.revision++;
  sheet.draw(transcript);
  return [steps, grown, seen()];
}"""
#: Draws ever more; returns how far it was scrolled by that, and how much was looked at for one more.
SCROLLED = """async () => {
  const { Transcript } = await import("./transcript.js");
  const { TranscriptView } = await import("./transcript_view.js");
  const sheet = new TranscriptView(document.getElementById("transcript"), document.getElementById("announcer"));
  const transcript = new Transcript();
  const say = (count) => {
    for (let i = 0; i < count; i++) {
      const at = transcript.finals.length + 1;
      const moments = { segment_id: at, segment_start: at, segment_end: at + 1 };
      transcript.addFrame({ type: "final", text: `word ${at}.`, ...moments });
      sheet.draw(transcript);
    }
  };
  const places = [];
  say(400);
  places.push(scrollY);
  scrollTo(0, 100);
  say(100);
  transcript.volatile = "more";
  sheet.drawVolatile(transcript);
  places.push(scrollY);
  const text = Object.getOwnPropertyDescriptor(Node.prototype, "textContent");
  let looks = 0;
  const get = function () { looks++; return text.get.call(this); };
  Object.defineProperty(Node.prototype, "textContent", { ...text, get });
  say(1);
  transcript.volatile = "more";
  sheet.drawVolatile(transcript);
  return [...places, looks];
}"""


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    with ServerProcess() as server:
        yield server.address


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Twenty words, then silence."""
    words = [("", 0.5), *((word, 0.4) for word in WORDS), ("", 20.0)]
    return spoken(tmp_path / "words.wav", draw_words(words, rate=RATE))


async def come_back(visit: Visit, odd: str) -> None:
    """Load the page in a browser in which something is different."""
    await visit.page.add_init_script(odd)
    await visit.page.reload()
    await expect(visit.page.locator("#model")).to_have_text("scripted")


async def test_words_names_and_notes_are_never_markup(place: str) -> None:
    markup = (
        "<img src=x onerror=alert(1)> <b>&amp;</b> <script>alert(1)</script> \u202eabc\u0000 $& \u05d0\u05d1"
    )
    async with visiting(f"http://{place}/") as visit:
        assert await visit.page.evaluate(HOSTILE, markup) == 0
        await expect(visit.page.locator(".part")).to_contain_text("<img src=x onerror=alert(1)>")
        assert await visit.page.locator("#announcer").inner_text() == markup
        note = await visit.page.locator("#notes li").first.text_content()
        assert note == markup
        named = await visit.page.locator("#notes ul:nth-of-type(2) li").text_content()
        assert named is not None
        assert named.startswith(f"{markup} {markup}")


async def test_what_is_written_below_neither_moves_who_reads_above_nor_draws_that_again(place: str) -> None:
    async with visiting(f"http://{place}/") as visit:
        followed, stayed, looks = await visit.page.evaluate(SCROLLED)
        assert followed > 500
        assert stayed == 100
        assert looks < 100


async def test_words_that_may_change_are_told_apart_in_forced_colours_too(place: str) -> None:
    async with visiting(f"http://{place}/", forced_colors="active") as visit:
        await visit.page.evaluate(SCROLLED)
        colours = await visit.page.evaluate(
            "['.part', '.volatile'].map((one) => getComputedStyle(document.querySelector(one)).color)"
        )
        assert len(set(colours)) == 2


async def test_a_browser_that_keeps_nothing_serves_as_well(speech: Path) -> None:
    with ServerProcess(api_key="right") as server:
        async with visiting(
            f"http://{server.address}/", speech=speech, expects="401 (Unauthorized)"
        ) as visit:
            await visit.page.add_init_script(NO_STORAGE)
            visit.told.clear()
            await visit.page.reload()
            await visit.page.get_by_label("This server asks for a key.").fill("right")
            await visit.page.keyboard.press("Enter")
            await expect(visit.page.locator("#model")).to_have_text("scripted")
            await visit.page.click("#show-options")
            await visit.page.get_by_label("scripted").check()
            await visit.page.keyboard.press("Escape")
            await visit.start()
            await expect(visit.page.locator("#transcript")).to_contain_text("two")
            await visit.stop()
            visit.told = [line for line in visit.told if line != "no"]  # of what this test puts into the page


async def test_a_browser_without_a_microphone_or_worklets_says_so(place: str, speech: Path) -> None:
    async with visiting(f"http://{place}/", speech=speech) as visit:
        await come_back(visit, NO_WORKLET)
        await visit.page.click("#record")
        await expect(visit.page.locator("#state")).to_contain_text("This browser is too old")
        await visit.ended()
        await come_back(visit, NO_MICROPHONE)
        await visit.page.click("#record")
        await expect(visit.page.locator("#state")).to_contain_text("needs https or localhost")
        await expect(visit.page.locator("#tab")).to_be_hidden()


async def test_a_browser_that_gives_no_sound_says_so_and_listens_no_more(place: str, speech: Path) -> None:
    async with visiting(f"http://{place}/", speech=speech) as visit:
        await come_back(visit, SLOW_MICROPHONE + NO_CONTEXT)
        await visit.page.evaluate("allow()")
        await visit.page.click("#record")
        await expect(visit.page.locator("#state")).to_have_text("This browser gives no sound: too many")
        await visit.ended()
        assert await visit.page.evaluate("given.map((track) => track.readyState)") == ["ended"]


async def test_only_files_are_caught_and_a_key_that_is_held_is_one_press(place: str) -> None:
    async with visiting(f"http://{place}/") as visit:
        caught = await visit.page.evaluate("""() => ["dragover", "drop"].map((kind) => {
          const carried = new DataTransfer();
          carried.setData("text/plain", "a word");
          const init = { dataTransfer: carried, bubbles: true, cancelable: true };
          return !document.body.dispatchEvent(new DragEvent(kind, init));
        })""")
        assert caught == [False, False]
        await expect(visit.page.locator("#dropping")).to_be_hidden()
        held = {"key": "Enter", "ctrlKey": True, "repeat": True}
        await visit.page.dispatch_event("body", "keydown", held)
        assert await visit.page.locator("#record-label").text_content() == "Start"


async def test_who_stops_before_the_microphone_is_given_is_not_recorded(place: str, speech: Path) -> None:
    async with visiting(f"http://{place}/", speech=speech) as visit:
        await come_back(visit, SLOW_MICROPHONE)
        await visit.page.click("#record")
        await expect(visit.page.locator("#record-label")).to_have_text("Stop")
        await visit.page.click("#record")
        await visit.ended()
        await visit.page.evaluate("allow()")
        await visit.page.evaluate(
            UNTIL.replace("IT", "given.length === 1 && given[0].readyState === 'ended'")
        )
        await visit.ended()
        await visit.start()
        await expect(visit.page.locator("#transcript")).to_contain_text("two")
        await visit.stop()


async def test_a_button_that_is_pressed_again_and_again_ends_where_it_began(place: str, speech: Path) -> None:
    async with visiting(f"http://{place}/", speech=speech) as visit:
        await visit.page.evaluate("for (let i = 0; i < 20; i++) document.getElementById('record').click()")
        await visit.ended()
        await visit.start()
        await expect(visit.page.locator("#transcript")).to_contain_text("bravo")
        await visit.stop()


async def test_a_microphone_that_goes_away_ends_the_recording_with_what_was_said(
    place: str, speech: Path
) -> None:
    async with visiting(f"http://{place}/", speech=speech) as visit:
        await come_back(visit, SLOW_MICROPHONE)
        await visit.page.evaluate("allow()")
        await visit.start()
        await expect(visit.page.locator("#transcript")).to_contain_text("two")
        await visit.page.evaluate("given[0].dispatchEvent(new Event('ended'))")
        await expect(visit.page.locator("#state")).to_contain_text("The microphone is gone. Recorded: 0:0")
        await visit.ended()


async def test_sound_that_the_browser_suspends_goes_on(place: str, speech: Path) -> None:
    async with visiting(f"http://{place}/", speech=speech) as visit:
        await come_back(visit, CONTEXTS)
        await visit.start()
        await expect(visit.page.locator("#transcript")).to_contain_text("two")
        await visit.page.evaluate("contexts.at(-1).suspend()")
        await visit.page.evaluate(UNTIL.replace("IT", "contexts.at(-1).state === 'running'"))
        await expect(visit.page.locator("#transcript")).to_contain_text("north")
        await visit.stop()


async def test_a_file_that_is_dropped_while_something_is_recorded_waits(place: str, speech: Path) -> None:
    async with visiting(f"http://{place}/", speech=speech) as visit:
        await visit.start()
        carried = await visit.page.evaluate_handle(
            "() => { const it = new DataTransfer(); it.items.add(new File(['x'], 'x.wav')); return it; }"
        )
        await visit.page.dispatch_event("body", "drop", {"dataTransfer": carried})
        await expect(visit.page.locator("#hint")).to_have_text("Stop first, then drop the file.")
        await expect(visit.page.locator("#transcript")).to_contain_text("two")
        assert (await visit.stop()).startswith("one two")


async def test_nobody_has_to_wait_for_the_last_words_of_a_server_that_is_away(speech: Path) -> None:
    with run_restartable_server() as server:
        async with visiting(f"http://{server.address}/", speech=speech, expects="net::ERR_") as visit:
            await visit.start()
            await expect(visit.page.locator(".part").first).to_contain_text("one two")
            server.kill()
            await expect(visit.page.locator("#state")).to_contain_text("The server is away")
            await visit.page.click("#record")
            await expect(visit.page.locator("#record-label")).to_contain_text("wait")
            await visit.page.click("#record")
            await expect(visit.page.locator("#state")).to_have_text("Stopped without the last words.")
            await visit.ended()
            assert (await visit.transcript()).startswith("one two")


async def test_the_focus_stays_on_the_page_and_progress_is_not_read_out(
    place: str, speech: Path, tmp_path: Path
) -> None:
    long = spoken(tmp_path / "long.wav", draw_words([("winter", 0.4)] * 300, rate=RATE))
    async with visiting(f"http://{place}/", speech=speech) as visit:
        await visit.page.evaluate("""() => {
          window.said = [];
          const note = () => said.push(document.getElementById("state").textContent);
          new MutationObserver(note).observe(document.getElementById("state"), { childList: true });
        }""")
        await visit.page.focus("#file")
        await visit.page.set_input_files("#file", long)
        await expect(visit.page.locator("#record")).to_be_focused()
        await expect(visit.page.locator("#state")).to_contain_text("Transcribed")
        assert await visit.page.evaluate("said.length") < 5
        await expect(visit.page.locator("#record")).to_be_focused()
        await visit.page.click("#record")
        await visit.page.focus("#paragraph")
        await visit.page.keyboard.press("Control+Enter")
        await visit.ended()
        await expect(visit.page.locator("#record")).to_be_focused()


async def test_words_of_nobody_known_join_who_goes_on_and_stand_alone_before_another(place: str) -> None:
    async with visiting(f"http://{place}/") as visit:
        steps, grown, anew = await visit.page.evaluate(LATE, [0, None, None, 0, None, 1])
    first, other = "Speaker 1", "Speaker 2"
    assert steps == [[first], [first, ""], [first, ""], [first], [first, ""], [first, "", other]]
    assert grown == anew
