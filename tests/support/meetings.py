"""Meetings from ``tests/fixtures/meetings``, as the finals that a stream would send of them."""

from __future__ import annotations

from pathlib import Path

from echoic.insights.base import TranscriptSegment

MEETINGS_FOLDER = Path(__file__).parents[1] / "fixtures" / "meetings"
WORDS_PER_FINAL = 5


def read_meeting(name: str) -> list[TranscriptSegment]:
    """Return a fixture's finals: five words in one and a half seconds each."""
    return parse_finals((MEETINGS_FOLDER / f"{name}.txt").read_text("utf-8"))


def parse_finals(text: str) -> list[TranscriptSegment]:
    """Return the finals of lines of talk, each of which may begin with ``SPEAKER_00:``."""
    said: list[TranscriptSegment] = []
    for line in text.splitlines():
        label, colon, rest = line.partition(": ")
        speaker = label if colon and label.startswith("SPEAKER_") else None
        words = (rest if speaker else line).split()
        for start in range(0, len(words), WORDS_PER_FINAL):
            at = len(said) * 1.5
            piece = " ".join(words[start : start + WORDS_PER_FINAL])
            said.append(TranscriptSegment(len(said) + 1, piece, at, at + 1.5, speaker))
    return said
