"""Builds keys, recordings and meeting transcripts."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from echoic.auth.identity import ALL_SCOPES, Scope
from echoic.auth.key_database import KeyDatabase
from echoic.auth.keys import GeneratedKey
from echoic.engines.scripted import draw_words
from echoic.insights.base import TranscriptSegment


async def make_key_in(
    file: Path,
    user: str = "anna",
    tier: str | None = None,
    *,
    scopes: frozenset[Scope] = ALL_SCOPES,
    expires: datetime | None = None,
) -> GeneratedKey:
    """Return a new key of the store in ``file``, which is created if it does not exist."""
    store = KeyDatabase(str(file))
    await store.open()
    new, _ = await store.create_key(user, tier, scopes=scopes, expires=expires)
    await store.close()
    return new


def write_recording(file: Path, words: Sequence[str | tuple[str, float]]) -> Path:
    """Write the words to a WAV file of 16 kHz and 16 bits; return its path."""
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes((draw_words(words) * 32768).astype("<i2").tobytes())
    return file


MEETINGS_FOLDER = Path(__file__).parents[1] / "fixtures" / "meetings"
WORDS_PER_FINAL = 5


def read_meeting(name: str) -> list[TranscriptSegment]:
    """Return a fixture's finals: five words in one and a half seconds each."""
    return parse_finals((MEETINGS_FOLDER / f"{name}.txt").read_text("utf-8"))


def parse_finals(text: str) -> list[TranscriptSegment]:
    """Return the finals of lines of text, each with an optional ``SPEAKER_00:`` before it."""
    segments: list[TranscriptSegment] = []
    for line in text.splitlines():
        label, colon, rest = line.partition(": ")
        speaker = label if colon and label.startswith("SPEAKER_") else None
        words = (rest if speaker else line).split()
        for start in range(0, len(words), WORDS_PER_FINAL):
            at = len(segments) * 1.5
            piece = " ".join(words[start : start + WORDS_PER_FINAL])
            segments.append(TranscriptSegment(len(segments) + 1, piece, at, at + 1.5, speaker))
    return segments
