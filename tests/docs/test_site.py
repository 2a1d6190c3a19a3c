"""The site of the documents: links and pictures exist, and no page loads from another host."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import pytest

from support.documents import DOCUMENTS, ROOT, find_file_links, to_relative_name
from web.page import needs_chromium, open_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Documents with wide tables, long lines of code or pictures.
WIDE_DOCUMENTS: Final = (
    "settings",
    "protocol",
    "benchmarks",
    "faults",
    "operations",
    "deploy",
    "architecture",
)


class SilentFileHandler(SimpleHTTPRequestHandler):
    """Serves files without a log."""

    def log_message(self, *_: object) -> None:
        pass


class Page(HTMLParser):
    """The links, loads and ids of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        self.loads += [given[name] for name in ("src", "srcset", "poster", "data") if name in given]
        if "href" in given:
            (self.links if tag == "a" else self.loads).append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, str(ROOT / "docs" / "build_site.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "No issues found" in done.stdout + done.stderr
    return folder / "site"


def parse_pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file) for file in sorted(site.rglob("*.html")) if file.name != "404.html"}


def test_every_document_and_linked_file_has_a_page(site: Path) -> None:
    for document in DOCUMENTS:
        stem = to_relative_name(document).removesuffix(".md")
        assert (site / ("index" if stem == "README" else stem)).with_suffix(".html").exists(), document
        for link in find_file_links(document):
            target = (document.parent / link.partition("#")[0]).resolve()
            if target.is_file() and target.suffix not in {".md", ".png"}:
                name = target.relative_to(ROOT).as_posix()
                assert (site / f"{name}.html").exists(), name


def test_every_link_has_a_page_and_an_anchor(site: Path) -> None:
    found = parse_pages(site)
    for file, page in found.items():
        for link in page.links:
            address = urlsplit(link)
            if not address.scheme:
                target = (file.parent / unquote(address.path)).resolve() if address.path else file
                target = target / "index.html" if target.is_dir() else target
                assert target.exists(), (file, link)
                assert not address.fragment or unquote(address.fragment) in found[target].ids, (file, link)


def test_no_page_loads_from_another_host(site: Path) -> None:
    for file, page in parse_pages(site).items():
        for load in page.loads:
            address = urlsplit(load)
            assert not address.netloc, (file, load)
            assert address.scheme == "data" or (file.parent / unquote(address.path)).exists(), (file, load)
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import )[\"']?(?:https?:)?//", sheet.read_text("utf-8")), sheet


def test_the_search_index_has_every_document(site: Path) -> None:
    items = json.loads((site / "search.json").read_text("utf-8"))["items"]
    places = {item["location"].partition("#")[0] for item in items}
    assert {"docs/protocol.html", "docs/quickstart.html", "SECURITY.html"} <= places


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    handler = partial(SilentFileHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_pages_fit_a_phone_and_the_search_finds_words(address: str, scheme: str) -> None:
    phone = {"width": 390, "height": 844}
    async with open_page(address, microphone=False, options={}, color_scheme=scheme, viewport=phone) as visit:
        for name in WIDE_DOCUMENTS:
            await visit.page.goto(f"{address}docs/{name}.html")
            assert await visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        ink = await visit.page.evaluate("getComputedStyle(document.body).color.match(/\\d+/g)[0]")
        assert (int(ink) > 127) == (scheme == "dark")
        await visit.page.set_viewport_size({"width": 1280, "height": 800})
        await visit.page.wait_for_load_state("networkidle")  # the search index is loaded
        await visit.page.click(".md-search__button")
        await visit.page.get_by_role("combobox").fill("max_backlog_seconds")
        await visit.page.get_by_role("option").first.wait_for()
