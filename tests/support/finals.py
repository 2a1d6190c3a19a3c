"""Builds finals for tests, and Hypothesis strategies for them."""

from __future__ import annotations

from hypothesis import strategies as st
from msgspec import UNSET

from echoic.protocol.frames import Final, Word


def build_final(
    text: str,
    start: float,
    end: float,
    *,
    words: tuple[Word, ...] | None = None,
    spoken: tuple[float, float] | None = None,
    speaker: str | None = None,
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
        spoken_start=UNSET if spoken is None else spoken[0],
        spoken_end=UNSET if spoken is None else spoken[1],
        speaker_id=UNSET if speaker is None else _to_speaker_id(speaker),
        speaker_label=UNSET if speaker is None else speaker,
    )


def _to_speaker_id(label: str) -> int:
    number = label.rpartition("_")[2]
    return int(number) if number.isdigit() else ord(label[0])


def build_talk_finals() -> list[Final]:
    """Return a final with two speakers, then one without words."""
    words = (
        Word("Where", 0.0, 0.3, speaker_id=0),
        Word("is", 0.3, 0.5, speaker_id=0),
        Word("it?", 0.5, 0.9, speaker_id=0),
        Word("Here.", 1.2, 1.6, speaker_id=1),
    )
    first = build_final("Where is it? Here.", 0, 2, words=words, speaker="SPEAKER_00")
    second = build_final("Thank you.", 2, 3.5, speaker="SPEAKER_00")
    return [first, second]


def build_late_finals(*labels: int | None, pause: float = 0.0) -> list[Final]:
    """Return finals of 2 s with a pause before the second; None: no speaker."""
    names = [None if label is None else f"SPEAKER_{label:02}" for label in labels]
    starts = [at * 2.0 + (pause if at else 0.0) for at in range(len(names))]
    return [
        build_final(f"Part {chr(97 + at)} it is.", start, start + 2, speaker=name)
        for at, (start, name) in enumerate(zip(starts, names, strict=True))
    ]


_times = st.floats(0, 500, allow_nan=False)
_any_word = st.builds(
    Word, st.text(min_size=1, max_size=60), _times, _times, speaker_id=st.sampled_from([UNSET, 0, 1])
)
_any_words = st.lists(_any_word, max_size=8).map(tuple)
#: Any finals, including unrealistic ones.
any_finals = st.lists(
    st.builds(
        lambda text, start, length, words, earlier, speaker: build_final(
            text,
            start,
            start + length,
            words=words,
            spoken=earlier and (start - earlier, start + length / 2),
            speaker=speaker,
        ),
        st.text(max_size=300),
        _times,
        st.floats(0, 60),
        st.none() | _any_words,
        st.none() | st.floats(0.01, 3),
        st.none() | st.sampled_from(["A", "SPEAKER_01", "B <i> & C\n\n--> D\n"]),
    ),
    max_size=8,
)
