"""The transcript: the finals' texts since the last commit."""

from __future__ import annotations


class Transcript:
    """Collects the texts of finals and joins them."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def add(self, text: str) -> None:
        """Append a final's text; empty texts leave no trace."""
        if text:
            self._texts.append(text)

    @property
    def text(self) -> str:
        """The texts joined by single spaces."""
        return " ".join(self._texts)

    def take(self) -> str:
        """Return the text and start afresh."""
        text = self.text
        self._texts.clear()
        return text
