"""Tests of how the page looks, and of its accessibility: axe, keyboard, screen readers, narrow screens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from echoic.engines.scripted import draw_words
from support.server_process import ServerProcess
from web.page import RATE, SCRIPTED, Visit, needs_chromium, open_page, write_wav

pytestmark = needs_chromium

#: The most bytes of all files of the page.
MAX_PAGE_BYTES = 150_000
ALL_OPTIONS = {"model": "scripted", "diarization": True, "insights": True}
PHONE = {"width": 390, "height": 844}
WIDE = {"width": 1280, "height": 860}
#: A name of a person and of a file.
LONG_NAME = "Professor Hannah-Maria_von_Schwarzenberger-Obermayer"
#: Whether nothing is wider than the window.
FITS_WINDOW = """[document.documentElement, ...document.querySelectorAll("dialog[open], .notice")].every(
  (one) => one.scrollWidth <= one.clientWidth + 2 && one.getBoundingClientRect().right <= innerWidth
)"""
#: Returns the height of an element in lines.
COUNT_LINES = """(selector) => {
  const found = document.querySelector(selector);
  return Math.round(found.offsetHeight / parseFloat(getComputedStyle(found).lineHeight));
}"""
#: Draws markup everywhere; returns how many elements it made.
DRAW_MARKUP = """async (markup) => {
  const { Transcript } = await import("./transcript.js");
  const { TranscriptView } = await import("./transcript_view.js");
  const { drawNotes, drawSpeakers } = await import("./sidebar.js");
  const part = (id) => document.getElementById(id);
  const transcript = new Transcript();
  const moments = { segment_id: 1, segment_start: 0, segment_end: 1 };
  const speaker = { speaker_id: 0, speaker_label: "SPEAKER_00" };
  transcript.addFrame({ type: "final", text: markup, ...moments, ...speaker });
  const item = { description: `${markup} SPEAKER_00`, owner: markup };
  const source = { start: 0, end: 1, segment_range: [1, 1] };
  transcript.addFrame({
    type: "insight", stage: "final", source,
    summary: [markup], topics: [markup], action_items: [item], decisions: [item],
  });
  transcript.setName(0, markup);
  transcript.title = markup;
  const view = new TranscriptView(part("transcript"), part("announcer"));
  view.draw(transcript);
  view.announce(markup, true);
  drawSpeakers(part("speakers"), transcript, () => {});
  drawNotes(part("notes"), transcript);
  return document.querySelectorAll("img, b, script:not([src])").length;
}"""
#: Draws finals of speakers one by one; returns the names after each, and the rows grown and redrawn.
DRAW_SPEAKERS = """async (speakers) => {
  const { Transcript } = await import("./transcript.js");
  const { TranscriptView } = await import("./transcript_view.js");
  const [place, announcer] = ["transcript", "announcer"].map((id) => document.getElementById(id));
  const view = new TranscriptView(place, announcer);
  const transcript = new Transcript();
  const seen = () => [...view.place.children].map((row) => `${row.className}: ${row.textContent.trim()}`);
  const steps = speakers.map((id, at) => {
    const who = id === null ? {} : { speaker_id: id, speaker_label: `SPEAKER_0${id}` };
    const moments = { segment_id: at + 1, segment_start: at, segment_end: at + 1 };
    transcript.addFrame({ type: "final", text: `word ${at}.`, ...moments, ...who });
    view.draw(transcript);
    return [...view.place.querySelectorAll(".who")].map((who) => who.textContent);
  });
  const grown = seen();
  view.place.replaceChildren();
  transcript.revision++;
  view.draw(transcript);
  return [steps, grown, seen()];
}"""
#: Draws many finals; returns two scroll positions, and the reads of the DOM for one more final.
DRAW_MANY = """async () => {
  const { Transcript } = await import("./transcript.js");
  const { TranscriptView } = await import("./transcript_view.js");
  const [place, announcer] = ["transcript", "announcer"].map((id) => document.getElementById(id));
  const view = new TranscriptView(place, announcer);
  const transcript = new Transcript();
  const draw = (count) => {
    for (let i = 0; i < count; i++) {
      const at = transcript.finals.length + 1;
      const moments = { segment_id: at, segment_start: at, segment_end: at + 1 };
      transcript.addFrame({ type: "final", text: `word ${at}.`, ...moments });
      view.draw(transcript);
    }
  };
  const places = [];
  draw(400);
  places.push(scrollY);
  scrollTo(0, 100);
  draw(100);
  transcript.volatile = "more";
  view.drawVolatile(transcript);
  places.push(scrollY);
  const text = Object.getOwnPropertyDescriptor(Node.prototype, "textContent");
  let looks = 0;
  const get = function () { looks++; return text.get.call(this); };
  Object.defineProperty(Node.prototype, "textContent", { ...text, get });
  draw(1);
  transcript.volatile = "more";
  view.drawVolatile(transcript);
  return [...places, looks];
}"""


@pytest.fixture(scope="module")
def server_address() -> Iterator[str]:
    with ServerProcess(speakers_diarizer="scripted") as server:
        yield server.address


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Two voices, then silence."""
    words: list[str | tuple[str, float]] = ["one", "two", "three", ("", 2.0), "alpha", "bravo", ("", 2.0)]
    return write_wav(tmp_path / "words.wav", draw_words(words, rate=RATE))


async def find_violations(visit: Visit) -> list[str]:
    """Return the accessibility violations that axe finds."""
    await visit.page.evaluate("Promise.all(document.getAnimations().map((one) => one.finish?.()))")
    found = await Axe().run(visit.page)
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found.response["violations"]]


async def tab_to(visit: Visit, selector: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(60):
        await visit.page.keyboard.press("Tab")
        if await visit.page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"the keyboard does not lead to {selector}")


async def fits_window(visit: Visit) -> bool:
    """Return whether nothing is wider than the window."""
    return bool(await visit.page.evaluate(FITS_WINDOW))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
async def test_axe_finds_no_violation(
    server_address: str, speech: Path, scheme: str, size: dict[str, int]
) -> None:
    kind: dict[str, Any] = {"color_scheme": scheme, "viewport": size, "reduced_motion": "reduce"}
    async with open_page(f"http://{server_address}/", speech=speech, options=ALL_OPTIONS, **kind) as visit:
        await expect(visit.page.locator("#model")).to_have_text("scripted")
        assert await find_violations(visit) == [], "at rest"
        await visit.page.click("#show-options")
        assert await find_violations(visit) == [], "options"
        await visit.page.keyboard.press("Escape")
        await visit.start()
        await visit.expect_words("bravo")
        assert await find_violations(visit) == [], "while it listens"
        await visit.stop()
        await expect(visit.page.locator("#notes .note")).to_be_visible()
        assert await find_violations(visit) == [], "with a transcript"
        assert await visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_the_form_for_the_key_has_no_violation() -> None:
    with ServerProcess(api_key="right") as server:
        async with open_page(f"http://{server.address}/", expected_error="401 (Unauthorized)") as visit:
            await expect(visit.page.locator("#key")).to_be_visible()
            assert await find_violations(visit) == []


async def test_the_page_is_small(server_address: str, speech: Path) -> None:
    async with open_page(f"http://{server_address}/", speech=speech) as visit:
        await visit.start()
        files = {url for url in visit.requested_urls if "/api/" not in url}
        sizes = [len(await (await visit.context.request.get(url)).body()) for url in files]
    assert len(sizes) > 10
    assert sum(sizes) < MAX_PAGE_BYTES


async def test_the_keyboard_reaches_everything(server_address: str, speech: Path, tmp_path: Path) -> None:
    async with open_page(f"http://{server_address}/", speech=speech) as visit:
        await expect(visit.page.locator("#model")).to_have_text("scripted")
        keyboard = visit.page.keyboard
        await tab_to(visit, "#show-options")
        await keyboard.press("Enter")
        await expect(visit.page.locator("#options")).to_be_visible()
        await tab_to(visit, "#diarization")
        await keyboard.press("Space")
        await keyboard.press("Escape")
        await expect(visit.page.locator("#show-options")).to_be_focused()
        await tab_to(visit, "#record")
        await keyboard.press("Enter")
        await visit.expect_words("bravo")
        await tab_to(visit, "#paragraph")
        await keyboard.press("Control+Enter")
        await visit.expect_idle()
        await tab_to(visit, '[aria-label="Name of speaker 2"]')
        await keyboard.type("Bob")
        await tab_to(visit, '[data-form="txt"]')
        async with visit.page.expect_download() as download:
            await keyboard.press("Enter")
        await (await download.value).save_as(tmp_path / "saved.txt")
        assert "Bob: alpha bravo" in (tmp_path / "saved.txt").read_text("utf-8")


async def test_a_screen_reader_gets_final_words_only(server_address: str, speech: Path) -> None:
    async with open_page(f"http://{server_address}/", speech=speech) as visit:
        log = visit.page.get_by_role("log")
        await visit.start()
        await visit.expect_words("bravo")
        assert await visit.stop() == "one two three alpha bravo"
        await expect(log).to_have_text("one two three alpha bravo")
        assert await visit.page.locator("#transcript").get_attribute("aria-live") is None


async def test_unavailable_options_are_disabled_with_reason() -> None:
    with ServerProcess(speakers_diarizer="off", insights_provider="off") as server:
        async with open_page(f"http://{server.address}/") as visit:
            await visit.page.click("#show-options")
            page = visit.page
            await expect(page.get_by_label("parakeet-mlx")).to_be_hidden()
            await page.get_by_text(re.compile(r"\d more models, not available here")).click()
            await expect(page.get_by_label("parakeet-mlx")).to_be_visible()
            await expect(page.get_by_label("parakeet-mlx")).to_be_disabled()
            row = page.locator("#models li", has=page.locator("#model-parakeet-mlx"))
            await expect(row.locator("code")).to_have_text("pip install 'echoic[mlx]'")
            await expect(page.get_by_label("scripted")).to_be_checked()
            for name in ("diarization", "insights", "word-timestamps"):
                await expect(page.locator(f"#{name}")).to_be_disabled()
                await expect(page.locator(f"#{name}")).not_to_be_checked()
                await expect(page.locator(f"#{name}-why")).not_to_be_empty()


async def test_a_bad_replacement_is_marked_while_typing(server_address: str) -> None:
    async with open_page(f"http://{server_address}/") as visit:
        field = visit.page.get_by_label("Replacements, one a line")
        await visit.page.click("#show-options")
        await field.fill("a = b\n\nnonsense\n= c\nd =")
        told = (
            "Line 3 has no =: “nonsense”. Line 4 has nothing before =: “= c”. "
            "Line 5 has nothing after =: “d =”."
        )
        await expect(visit.page.locator("#replacements-why")).to_contain_text(told)
        await expect(field).to_have_attribute("aria-invalid", "true")
        await visit.page.get_by_role("button", name="Done").click()
        await expect(visit.page.locator("#hint")).to_contain_text(f"Replacements: {told}")
        await visit.page.click("#show-options")
        await field.fill("a = b")
        await expect(visit.page.locator("#replacements-why")).to_be_empty()
        await expect(field).to_have_attribute("aria-invalid", "false")


@pytest.mark.parametrize("width", [320, 375, 640])
async def test_no_state_scrolls_sideways(server_address: str, tmp_path: Path, width: int) -> None:
    words: list[str | tuple[str, float]] = ["one", "two", ("", 2.0), "alpha", "bravo", ("", 2.0)]
    file = write_wav(tmp_path / f"{LONG_NAME}.wav", draw_words(words, rate=RATE))
    size = {"width": width, "height": 600}
    with ServerProcess(api_key="right") as guarded:
        kind: dict[str, Any] = {"expected_error": "401 (Unauthorized)", "viewport": size}
        async with open_page(f"http://{guarded.address}/", **kind) as visit:
            await expect(visit.page.locator("#key")).to_be_visible()
            assert await fits_window(visit), "where a key is asked for"
    async with open_page(
        f"http://{server_address}/", speech=file, options=ALL_OPTIONS, viewport=size
    ) as visit:
        page = visit.page
        await expect(page.locator("#model")).to_have_text("scripted")
        assert await fits_window(visit), "at rest"
        await page.evaluate("document.body.classList.add('dropping')")
        assert await fits_window(visit), "while a file is dragged"
        await page.evaluate("document.body.classList.remove('dropping')")
        await page.click("#show-options")
        await page.locator("#models summary").click()
        assert await fits_window(visit), "options"
        await page.keyboard.press("Escape")
        await visit.start()
        await expect(page.locator("#transcript")).to_contain_text("two")
        assert await fits_window(visit), "while it listens"
        await visit.stop()
        await page.set_input_files("#file", file)
        await expect(page.locator("#state")).to_contain_text("Transcribed")
        await page.get_by_label("Name of speaker 1").fill(LONG_NAME)
        assert await fits_window(visit), "with a file and names"


async def test_long_names_are_shortened_and_shown_in_full(server_address: str, tmp_path: Path) -> None:
    words: list[str | tuple[str, float]] = ["one", "two", ("", 2.0), "alpha", "bravo", ("", 2.0)]
    file = write_wav(tmp_path / f"{LONG_NAME}.wav", draw_words(words, rate=RATE))
    async with open_page(f"http://{server_address}/", options=ALL_OPTIONS, viewport=WIDE) as visit:
        page = visit.page
        await page.set_input_files("#file", file)
        await expect(page.locator("#state")).to_contain_text("Transcribed")
        await page.get_by_label("Name of speaker 1").fill(LONG_NAME)
        who = page.locator(".who").first
        await expect(who).to_have_text(LONG_NAME)
        await expect(who).to_have_attribute("title", LONG_NAME)
        await expect(page.locator("#title")).to_have_attribute("title", f"{LONG_NAME}.wav")
        assert await page.evaluate(COUNT_LINES, ".who") == 2
        await page.set_viewport_size({"width": 375, "height": 700})
        assert await page.evaluate(COUNT_LINES, ".who") == 1
        assert await page.evaluate(COUNT_LINES, "#title") == 1
        title, save = [await page.locator(one).bounding_box() for one in ("#title", "#save")]
        assert title is not None
        assert save is not None
        assert title["y"] + title["height"] <= save["y"], "each has a row"


async def test_times_without_names_align_with_the_text(server_address: str, speech: Path) -> None:
    async with open_page(f"http://{server_address}/", viewport=PHONE) as visit:
        await visit.transcribe_file(speech)
        time, text = [await visit.page.locator(one).bounding_box() for one in (".turn time", ".turn .text")]
        assert time is not None
        assert text is not None
        assert time["x"] == text["x"]


async def test_a_link_leads_to_the_notes_on_a_phone(server_address: str, tmp_path: Path) -> None:
    words: list[str | tuple[str, float]] = [*["alpha", "bravo", "charlie"] * 60, ("", 2.0)]
    long = write_wav(tmp_path / "long.wav", draw_words(words, rate=RATE))
    async with open_page(f"http://{server_address}/", options=ALL_OPTIONS, viewport=PHONE) as visit:
        await visit.transcribe_file(long)
        await visit.page.evaluate("scrollTo(0, 0)")
        link = visit.page.locator("#to-beside")
        await expect(link).to_have_text("Notes")
        await expect(visit.page.locator("#notes")).not_to_be_in_viewport()
        await link.click()
        await expect(visit.page.locator("#notes")).to_be_in_viewport()
        await expect(link).to_have_text("Transcript")
        await link.click()
        await expect(link).to_have_text("Notes")


async def test_a_refused_vocabulary_is_explained(server_address: str, speech: Path) -> None:
    async with open_page(f"http://{server_address}/", speech=speech, options=SCRIPTED) as visit:
        page = visit.page
        await page.click("#show-options")
        await page.get_by_label("Replacements, one a line").fill("three = 3\nbravo = Brava")
        await page.get_by_role("button", name="Done").click()
        await visit.start()
        await expect(page.locator("#transcript")).to_contain_text("Brava")
        await page.click("#show-options")
        await page.get_by_label("Replacements, one a line").fill(f"three = {'x' * 300}")
        await page.get_by_role("button", name="Done").click()
        await expect(page.locator("#vocabulary-why")).to_have_class(re.compile("trouble"))
        await expect(page.locator("#vocabulary-why")).to_contain_text("vocabulary")
        await page.keyboard.press("Escape")
        assert "3 alpha Brava" in await visit.stop()


async def test_words_names_and_notes_are_never_markup(server_address: str) -> None:
    markup = (
        "<img src=x onerror=alert(1)> <b>&amp;</b> <script>alert(1)</script> \u202eabc\u0000 $& \u05d0\u05d1"
    )
    async with open_page(f"http://{server_address}/") as visit:
        assert await visit.page.evaluate(DRAW_MARKUP, markup) == 0
        await expect(visit.page.locator(".part")).to_contain_text("<img src=x onerror=alert(1)>")
        assert await visit.page.locator("#announcer").inner_text() == markup
        note = await visit.page.locator("#notes li").first.text_content()
        assert note == markup
        named = await visit.page.locator("#notes ul:nth-of-type(2) li").text_content()
        assert named is not None
        assert named.startswith(f"{markup} {markup}")


async def test_new_words_do_not_scroll_or_redraw_older_ones(
    server_address: str,
) -> None:
    async with open_page(f"http://{server_address}/") as visit:
        followed, stayed, reads = await visit.page.evaluate(DRAW_MANY)
        assert followed > 500
        assert stayed == 100
        assert reads < 100


async def test_provisional_words_differ_in_forced_colours(server_address: str) -> None:
    async with open_page(f"http://{server_address}/", forced_colors="active") as visit:
        await visit.page.evaluate(DRAW_MANY)
        colours = await visit.page.evaluate(
            "['.part', '.volatile'].map((one) => getComputedStyle(document.querySelector(one)).color)"
        )
        assert len(set(colours)) == 2


async def test_the_focus_stays_and_progress_is_not_announced(
    server_address: str, speech: Path, tmp_path: Path
) -> None:
    long = write_wav(tmp_path / "long.wav", draw_words([("winter", 0.4)] * 300, rate=RATE))
    async with open_page(f"http://{server_address}/", speech=speech) as visit:
        await visit.page.evaluate("""() => {
          window.states = [];
          const record = () => states.push(document.getElementById("state").textContent);
          new MutationObserver(record).observe(document.getElementById("state"), { childList: true });
        }""")
        await visit.page.focus("#file")
        await visit.page.set_input_files("#file", long)
        await expect(visit.page.locator("#record")).to_be_focused()
        await visit.expect_state("Transcribed")
        assert await visit.page.evaluate("states.length") < 5
        await expect(visit.page.locator("#record")).to_be_focused()
        await visit.page.click("#record")
        await visit.page.focus("#paragraph")
        await visit.page.keyboard.press("Control+Enter")
        await visit.expect_idle()
        await expect(visit.page.locator("#record")).to_be_focused()


async def test_words_without_a_speaker_join_the_same_speaker(
    server_address: str,
) -> None:
    async with open_page(f"http://{server_address}/") as visit:
        steps, grown, redrawn = await visit.page.evaluate(DRAW_SPEAKERS, [0, None, None, 0, None, 1])
    first, other = "Speaker 1", "Speaker 2"
    assert steps == [[first], [first, ""], [first, ""], [first], [first, ""], [first, "", other]]
    assert grown == redrawn
