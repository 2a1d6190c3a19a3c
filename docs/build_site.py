"""Build the site of the documents: ``python docs/build_site.py [FOLDER]``; without a folder into build/.

The documents keep their places, so that the links which hold in the repository hold in the site. A file that
is no document and that one of them links to becomes a page that shows it, a folder a list of what is in it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: A link to a file, in Markdown, up to its anchor.
LINK = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)")
#: A line of docs/index.md: what a document is called, and where it is.
ENTRY = re.compile(r"- \[(.+?)\]\((.+?)\)")
PICTURES = {".gif", ".png", ".svg", ".webp"}
LANGUAGES = {".json": "json", ".py": "python", ".service": "ini", ".yaml": "yaml", ".yml": "yaml"}


class Sources:
    """What the site is built of.

    Args:
        folder: Where it is put; what was there before goes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)

    def add(self, document: Path) -> None:
        """Put a document among them, and what it links to."""
        text = LINK.sub(lambda link: "](" + self._stand_in(document, link[1]), document.read_text("utf-8"))
        self._write(document, text)

    def _stand_in(self, document: Path, link: str) -> str:
        """Return the link to what stands here for what a document links to."""
        target = (document.parent / link).resolve()
        if target.is_dir():
            self._write(target / "index.md", contents(target))
            return link.rstrip("/") + "/index.md"
        if target.suffix == ".md" or not target.exists():
            return link
        if target.suffix in PICTURES:
            shutil.copyfile(target, self._place(target))
            return link
        self._write(target.with_name(target.name + ".md"), shown(target))
        return link + ".md"

    def _write(self, file: Path, text: str) -> None:
        self._place(file).write_text(text, "utf-8")

    def _place(self, file: Path) -> Path:
        place = self.folder / file.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        return place


def shown(file: Path) -> str:
    """Return a page that shows a file."""
    language = LANGUAGES.get(file.suffix, "text")
    return f"# {file.relative_to(ROOT).as_posix()}\n\n````{language}\n{file.read_text('utf-8')}\n````\n"


def contents(folder: Path) -> str:
    """Return a page with the titles of the documents in a folder."""
    titles = {file.name: file.read_text("utf-8").partition("\n")[0] for file in sorted(folder.glob("*.md"))}
    lines = [f"- [{title.lstrip('# ')}]({name})" for name, title in titles.items()]
    return "\n".join([f"# {folder.name.capitalize()}", "", *lines, ""])


def navigation() -> str:
    """Return the navigation as mkdocs.yml has it: the sections of docs/index.md and their links."""
    lines = ["nav:", "  - Home: README.md", "  - All documents: docs/index.md"]
    for line in (ROOT / "docs" / "index.md").read_text("utf-8").splitlines():
        if line.startswith("## "):
            lines.append(f"  - {line[3:]}:")
        elif link := ENTRY.match(line):
            target = (ROOT / "docs" / link[2]).resolve().relative_to(ROOT)
            lines.append(f"    - {link[1]}: {(target if target.suffix else target / 'index.md').as_posix()}")
    return "\n".join([*lines, ""])


def main(folder: Path) -> int:
    """Build the site into a folder; return the builder's exit code."""
    sources = Sources(folder / "documents")
    for document in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))):
        sources.add(document)
    shutil.copyfile(ROOT / "docs" / "site.css", sources.folder / "site.css")
    config = folder / "mkdocs.yml"
    config.write_text((ROOT / "mkdocs.yml").read_text("utf-8") + navigation(), "utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "--config-file", config.name]
    return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build"))
