"""The site of the documents: every link and picture is there, and nothing is asked of anybody else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from support.documents import DOCUMENTS, ROOT, links, name_of

if TYPE_CHECKING:
    from pathlib import Path


class Page(HTMLParser):
    """What a page links to, loads, and can be led to."""

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


def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file) for file in sorted(site.rglob("*.html")) if file.name != "404.html"}


def test_every_document_is_a_page_and_so_is_every_file_that_one_links_to(site: Path) -> None:
    for document in DOCUMENTS:
        stem = name_of(document).removesuffix(".md")
        assert (site / ("index" if stem == "README" else stem)).with_suffix(".html").exists(), document
        for link in links(document):
            target = (document.parent / link.partition("#")[0]).resolve()
            if target.is_file() and target.suffix not in {".md", ".png"}:
                name = target.relative_to(ROOT).as_posix()
                assert (site / f"{name}.html").exists(), name


def test_every_link_leads_to_a_page_and_an_anchor_that_are_there(site: Path) -> None:
    found = pages(site)
    for file, page in found.items():
        for link in page.links:
            address = urlsplit(link)
            if not address.scheme:
                target = (file.parent / unquote(address.path)).resolve() if address.path else file
                target = target / "index.html" if target.is_dir() else target
                assert target.exists(), (file, link)
                assert not address.fragment or unquote(address.fragment) in found[target].ids, (file, link)


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for file, page in pages(site).items():
        for load in page.loads:
            address = urlsplit(load)
            assert not address.netloc, (file, load)
            assert address.scheme == "data" or (file.parent / unquote(address.path)).exists(), (file, load)
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import )[\"']?(?:https?:)?//", sheet.read_text("utf-8")), sheet


def test_the_search_knows_every_document(site: Path) -> None:
    items = json.loads((site / "search.json").read_text("utf-8"))["items"]
    places = {item["location"].partition("#")[0] for item in items}
    assert {"docs/protocol.html", "docs/quickstart.html", "SECURITY.html"} <= places
