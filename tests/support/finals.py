"""Finals, made by hand and by chance."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from msgspec import UNSET

from echoic.wire.frames import Final, Word


def final(
    text: str, start: float, end: float, *, words: tuple[Word, ...] | None = None, speaker: str | None = None
) -> Final:
    """Return a final of this text."""
    return Final(
        text=text,
        segment_id=1,
        segment_start=start,
        segment_end=end,
        chunk_duration=end - start,
        overlap=0.0,
        chunk_start=start,
        chunk_end=end,
        new_audio_duration=end - start,
        cumulative_audio=end,
        words=UNSET if words is None else words,
        speaker_label=UNSET if speaker is None else speaker,
    )


def talk() -> list[Final]:
    """A final in which another speaker begins, then one of whose words nothing is known."""
    words = (
        Word("Where", 0.0, 0.3, speaker_id=0),
        Word("is", 0.3, 0.5, speaker_id=0),
        Word("it?", 0.5, 0.9, speaker_id=0),
        Word("Here.", 1.2, 1.6, speaker_id=1),
    )
    first = final("Where is it? Here.", 0, 2, words=words, speaker="SPEAKER_00")
    second = final("Thank you.", 2, 3.5, speaker="SPEAKER_00")
    return [replace(first, speaker_id=0), replace(second, speaker_id=0)]


_times = st.floats(0, 500, allow_nan=False)
_any_words = st.lists(st.builds(Word, st.text(min_size=1, max_size=60), _times, _times), max_size=8).map(
    tuple
)
#: What a recogniser may say, and more.
any_finals = st.lists(
    st.builds(
        lambda text, start, length, words, speaker: final(
            text, start, start + length, words=words, speaker=speaker
        ),
        st.text(max_size=300),
        _times,
        st.floats(0, 60),
        st.none() | _any_words,
        st.none() | st.sampled_from(["A", "B"]),
    ),
    max_size=8,
)
