"""Whoever comes to the page: without a mouse, without eyes, on a telephone, over a slow line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from echoic.engines.scripted import draw_words
from support.server_process import ServerProcess
from web.browsing import RATE, SCRIPTED, needs_chromium, spoken, visiting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from web.browsing import Visit

pytestmark = needs_chromium

#: Bytes of everything that the page loads.
HEAVIEST = 150_000
TALKATIVE = {"model": "scripted", "diarization": True, "insights": True}
PHONE = {"width": 390, "height": 844}
WIDE = {"width": 1280, "height": 860}
#: Of a person, and of a file.
LONG_NAME = "Professor Hannah-Maria_von_Schwarzenberger-Obermayer"
#: Whether neither the page nor what lies on it scrolls sideways or sticks out.
FITS = """[document.documentElement, ...document.querySelectorAll("dialog[open], .notice")].every(
  (one) => one.scrollWidth <= one.clientWidth + 2 && one.getBoundingClientRect().right <= innerWidth
)"""
#: Returns how many lines high what a selector finds is.
LINES = """(selector) => {
  const found = document.querySelector(selector);
  return Math.round(found.offsetHeight / parseFloat(getComputedStyle(found).lineHeight));
}"""


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    with ServerProcess(speakers_diarizer="scripted") as server:
        yield server.address


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Two voices, then silence."""
    words: list[str | tuple[str, float]] = ["one", "two", "three", ("", 2.0), "alpha", "bravo", ("", 2.0)]
    return spoken(tmp_path / "words.wav", draw_words(words, rate=RATE))


async def violations(visit: Visit) -> list[str]:
    """Return what axe finds fault with."""
    await visit.page.evaluate("Promise.all(document.getAnimations().map((one) => one.finish?.()))")
    found = await Axe().run(visit.page)
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found.response["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
async def test_axe_finds_no_fault(place: str, speech: Path, scheme: str, size: dict[str, int]) -> None:
    kind: dict[str, Any] = {"color_scheme": scheme, "viewport": size, "reduced_motion": "reduce"}
    async with visiting(f"http://{place}/", speech=speech, options=TALKATIVE, **kind) as visit:
        await expect(visit.page.locator("#model")).to_have_text("scripted")
        assert await violations(visit) == [], "at rest"
        await visit.page.click("#show-options")
        assert await violations(visit) == [], "options"
        await visit.page.keyboard.press("Escape")
        await visit.start()
        await expect(visit.page.locator("#transcript")).to_contain_text("bravo")
        assert await violations(visit) == [], "while it listens"
        await visit.stop()
        await expect(visit.page.locator("#notes .note")).to_be_visible()
        assert await violations(visit) == [], "with a transcript"
        assert await visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_where_a_key_is_asked_for_too() -> None:
    with ServerProcess(api_key="right") as server:
        async with visiting(f"http://{server.address}/", expects="401 (Unauthorized)") as visit:
            await expect(visit.page.locator("#key")).to_be_visible()
            assert await violations(visit) == []


async def test_all_of_it_is_light_and_comes_from_the_server(place: str, speech: Path) -> None:
    async with visiting(f"http://{place}/", speech=speech) as visit:
        await visit.start()
        files = {url for url in visit.asked if "/api/" not in url}
        sizes = [len(await (await visit.context.request.get(url)).body()) for url in files]
    assert len(sizes) > 10
    assert sum(sizes) < HEAVIEST


async def test_everything_can_be_done_by_the_keyboard(place: str, speech: Path, tmp_path: Path) -> None:
    async with visiting(f"http://{place}/", speech=speech) as visit:
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
        await expect(visit.page.locator("#transcript")).to_contain_text("bravo")
        await tab_to(visit, "#paragraph")
        await keyboard.press("Control+Enter")
        await visit.ended()
        await tab_to(visit, '[aria-label="Name of speaker 2"]')
        await keyboard.type("Bob")
        await tab_to(visit, '[data-form="txt"]')
        async with visit.page.expect_download() as download:
            await keyboard.press("Enter")
        await (await download.value).save_as(tmp_path / "saved.txt")
        assert "Bob: alpha bravo" in (tmp_path / "saved.txt").read_text("utf-8")


async def tab_to(visit: Visit, selector: str) -> None:
    """Press the tabulator until an element has the focus."""
    for _ in range(60):
        await visit.page.keyboard.press("Tab")
        if await visit.page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"the keyboard does not lead to {selector}")


async def test_a_screen_reader_is_told_what_is_final_and_nothing_else(place: str, speech: Path) -> None:
    async with visiting(f"http://{place}/", speech=speech) as visit:
        log = visit.page.get_by_role("log")
        await visit.start()
        await expect(visit.page.locator("#transcript")).to_contain_text("bravo")
        assert await visit.stop() == "one two three alpha bravo"
        await expect(log).to_have_text("one two three alpha bravo")
        assert await visit.page.locator("#transcript").get_attribute("aria-live") is None


async def test_what_is_not_to_be_had_is_greyed_with_its_reason() -> None:
    with ServerProcess(speakers_diarizer="off", insights_provider="off") as server:
        async with visiting(f"http://{server.address}/") as visit:
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


async def test_a_replacement_that_is_none_is_marked_as_it_is_typed(place: str) -> None:
    async with visiting(f"http://{place}/") as visit:
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
async def test_no_state_scrolls_sideways(place: str, tmp_path: Path, width: int) -> None:
    words: list[str | tuple[str, float]] = ["one", "two", ("", 2.0), "alpha", "bravo", ("", 2.0)]
    file = spoken(tmp_path / f"{LONG_NAME}.wav", draw_words(words, rate=RATE))
    size = {"width": width, "height": 600}
    with ServerProcess(api_key="right") as guarded:
        kind: dict[str, Any] = {"expects": "401 (Unauthorized)", "viewport": size}
        async with visiting(f"http://{guarded.address}/", **kind) as visit:
            await expect(visit.page.locator("#key")).to_be_visible()
            assert await fits(visit), "where a key is asked for"
    async with visiting(f"http://{place}/", speech=file, options=TALKATIVE, viewport=size) as visit:
        page = visit.page
        await expect(page.locator("#model")).to_have_text("scripted")
        assert await fits(visit), "at rest"
        await page.evaluate("document.body.classList.add('dropping')")
        assert await fits(visit), "while a file is dragged"
        await page.evaluate("document.body.classList.remove('dropping')")
        await page.click("#show-options")
        await page.locator("#models summary").click()
        assert await fits(visit), "options"
        await page.keyboard.press("Escape")
        await visit.start()
        await expect(page.locator("#transcript")).to_contain_text("two")
        assert await fits(visit), "while it listens"
        await visit.stop()
        await page.set_input_files("#file", file)
        await expect(page.locator("#state")).to_contain_text("Transcribed")
        await page.get_by_label("Name of speaker 1").fill(LONG_NAME)
        assert await fits(visit), "with a file and names"


async def fits(visit: Visit) -> bool:
    """Return whether nothing is wider than the screen."""
    return bool(await visit.page.evaluate(FITS))


async def test_long_names_take_a_line_or_two_and_are_told_in_full(place: str, tmp_path: Path) -> None:
    words: list[str | tuple[str, float]] = ["one", "two", ("", 2.0), "alpha", "bravo", ("", 2.0)]
    file = spoken(tmp_path / f"{LONG_NAME}.wav", draw_words(words, rate=RATE))
    async with visiting(f"http://{place}/", options=TALKATIVE, viewport=WIDE) as visit:
        page = visit.page
        await page.set_input_files("#file", file)
        await expect(page.locator("#state")).to_contain_text("Transcribed")
        await page.get_by_label("Name of speaker 1").fill(LONG_NAME)
        who = page.locator(".who").first
        await expect(who).to_have_text(LONG_NAME)
        await expect(who).to_have_attribute("title", LONG_NAME)
        await expect(page.locator("#title")).to_have_attribute("title", f"{LONG_NAME}.wav")
        assert await page.evaluate(LINES, ".who") == 2
        await page.set_viewport_size({"width": 375, "height": 700})
        assert await page.evaluate(LINES, ".who") == 1
        assert await page.evaluate(LINES, "#title") == 1
        title, save = [await page.locator(one).bounding_box() for one in ("#title", "#save")]
        assert title is not None
        assert save is not None
        assert title["y"] + title["height"] <= save["y"], "each has a row"


async def test_the_time_stands_at_the_edge_of_the_text_where_nobody_is_named(
    place: str, speech: Path
) -> None:
    async with visiting(f"http://{place}/", viewport=PHONE) as visit:
        await visit.page.set_input_files("#file", speech)
        await expect(visit.page.locator("#state")).to_contain_text("Transcribed")
        time, text = [await visit.page.locator(one).bounding_box() for one in (".turn time", ".turn .text")]
        assert time is not None
        assert text is not None
        assert time["x"] == text["x"]


async def test_notes_are_a_step_away_on_a_telephone(place: str, tmp_path: Path) -> None:
    words: list[str | tuple[str, float]] = [*["alpha", "bravo", "charlie"] * 60, ("", 2.0)]
    long = spoken(tmp_path / "long.wav", draw_words(words, rate=RATE))
    async with visiting(f"http://{place}/", options=TALKATIVE, viewport=PHONE) as visit:
        await visit.page.set_input_files("#file", long)
        await expect(visit.page.locator("#state")).to_contain_text("Transcribed")
        await visit.page.evaluate("scrollTo(0, 0)")
        link = visit.page.locator("#to-beside")
        await expect(link).to_have_text("Notes")
        await expect(visit.page.locator("#notes")).not_to_be_in_viewport()
        await link.click()
        await expect(visit.page.locator("#notes")).to_be_in_viewport()
        await expect(link).to_have_text("Transcript")
        await link.click()
        await expect(link).to_have_text("Notes")


async def test_options_are_told_to_the_server_and_a_vocabulary_that_is_refused_is_told_of(
    place: str, speech: Path
) -> None:
    async with visiting(f"http://{place}/", speech=speech, options=SCRIPTED) as visit:
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
