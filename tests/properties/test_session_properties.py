"""Properties of the session for any input, docs/protocol.md sections 2 to 6."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from echoic.engines.scripted import LOCAL_AGREEMENT, OVERLAP, STATEFUL, PlateauDetector, ScriptedEngine
from echoic.errors import ErrorCode, ProtocolError
from echoic.interfaces.engine import EngineRequirements
from echoic.protocol.codec import decode_message
from echoic.protocol.frames import Audio, Config
from echoic.protocol.pcm import decode_pcm
from echoic.session.config import StreamConfig, parse_config
from echoic.session.session import Session
from support.random_messages import generate_random_messages
from support.session_driver import SessionDriver, filter_frames, frame_texts
from support.simple_engines import FunctionEngine, TimedScripted, build_fixed_engine
from support.strategies import (
    CHUNK_AND_OVERLAP,
    CODINGS,
    SampleCoding,
    SpokenWords,
    cut_bytes,
    cut_places,
    spoken_words,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from echoic.interfaces.engine import Engine, Hypothesis, Window
    from echoic.interfaces.vad import VoiceActivityDetector
    from support.session_driver import Json

COMMIT: Json = {"type": "commit"}
STEPPED = replace(LOCAL_AGREEMENT, window_step_seconds=1.2)
READINGS = st.sampled_from([STATEFUL, OVERLAP, LOCAL_AGREEMENT, STEPPED])
VOICES = st.sampled_from([None, PlateauDetector])


def build_config(durations: tuple[float, float], **more: object) -> Json:
    chunk, overlap = durations
    return {"type": "config", "chunk_duration": chunk, "overlap_duration": overlap, **more}


def list_words(frames: list[Json]) -> list[str]:
    """Return the words of all transcripts, in order."""
    return " ".join(frame_texts(frames, "full_transcript")).split()


def run_conversation(
    driver: SessionDriver,
    speech: SpokenWords,
    places: list[int],
    coding: SampleCoding | None = None,
    commits: Sequence[int] = (),
) -> list[Json]:
    """Send speech in messages, with commits after some of them and at the end."""
    coding = coding or SampleCoding(speech.rate)
    for read_number, piece in enumerate(cut_bytes(coding.encode(speech.samples), coding.frame_bytes, places)):
        driver.send(piece)
        if read_number in commits:
            driver.send(COMMIT)
    driver.send(COMMIT)
    return driver.frames


def read_number(frame: Json, key: str) -> float:
    value = frame[key]
    assert isinstance(value, int | float)
    return value


class WindowRecorder(ScriptedEngine):
    """Records the windows of finals."""

    def __init__(self, requirements: EngineRequirements) -> None:
        super().__init__(requirements)
        self.heard: list[tuple[float, int, int, int, bytes]] = []

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        self.heard += [
            (w.start, w.left_context, w.new_samples, w.right_context, w.audio.tobytes()) for w in windows
        ]
        return super().decode(windows)


@given(st.data(), CHUNK_AND_OVERLAP, CODINGS, READINGS, VOICES)
def test_windows_and_finals_do_not_depend_on_the_messages(
    data: st.DataObject,
    durations: tuple[float, float],
    coding: SampleCoding,
    needs: EngineRequirements,
    build_detector: Callable[[], VoiceActivityDetector] | None,
) -> None:
    speech = data.draw(spoken_words(rate=coding.rate))
    consumed, said = [], []
    for places in ([], data.draw(cut_places(len(speech.samples)))):
        engine = WindowRecorder(needs)
        driver = SessionDriver(engine, Session(build_detector))
        driver.send(build_config(durations, enable_partial=False, **coding.config_values))
        run_conversation(driver, speech, places, coding)
        consumed.append(engine.heard)
        said.append(driver.frames)
    assert said[0] == said[1]
    assert set(consumed[0]) == set(consumed[1])


@given(st.data(), CHUNK_AND_OVERLAP, VOICES)
def test_partials_change_no_final(
    data: st.DataObject,
    durations: tuple[float, float],
    build_detector: Callable[[], VoiceActivityDetector] | None,
) -> None:
    speech = data.draw(spoken_words())
    places = data.draw(cut_places(len(speech.samples)))
    frames = []
    for partial in (True, False):
        driver = SessionDriver(ScriptedEngine(), Session(build_detector))
        driver.send(
            build_config(durations, enable_partial=partial, partial_interval=0.1, min_partial_duration=0)
        )
        frames.append(run_conversation(driver, speech, places))
    assert [f for f in frames[0] if f["type"] in ("final", "full_transcript")] == frames[1][1:]


@given(st.data(), CHUNK_AND_OVERLAP, VOICES, st.sampled_from([STATEFUL, OVERLAP, LOCAL_AGREEMENT]))
def test_reducing_partials_changes_no_final(
    data: st.DataObject,
    durations: tuple[float, float],
    build_detector: Callable[[], VoiceActivityDetector] | None,
    needs: EngineRequirements,
) -> None:
    speech = data.draw(spoken_words())
    places = data.draw(cut_places(len(speech.samples)))
    frames = []
    for paces in (st.just(1), st.sampled_from([1, 2, 4, 64])):
        driver = SessionDriver(ScriptedEngine(needs), Session(build_detector))
        driver.send(build_config(durations, partial_interval=0.1, min_partial_duration=0))
        for piece in cut_bytes(SampleCoding(speech.rate).encode(speech.samples), 4, places):
            driver.session.partial_every = data.draw(paces)
            driver.send(piece)
        driver.send(COMMIT)
        frames.append([f for f in driver.frames if f["type"] != "partial"])
    assert frames[0] == frames[1]


@given(st.data(), CHUNK_AND_OVERLAP, st.sampled_from([8_000, 16_000, 44_100]))
def test_every_sample_is_new_exactly_once(
    data: st.DataObject, durations: tuple[float, float], rate: int
) -> None:
    samples = data.draw(st.integers(1, 12 * rate))
    places = data.draw(cut_places(samples))
    commits = data.draw(st.sets(st.integers(0, len(places)), max_size=4))
    driver = SessionDriver(build_fixed_engine("foo"))
    driver.send(build_config(durations, enable_partial=False, sample_rate=rate))
    run_conversation(
        driver, SpokenWords((), rate, np.zeros(samples, np.float32)), places, commits=tuple(commits)
    )
    finals = filter_frames(driver.frames, "final")
    edges = [0.0, *(read_number(f, "segment_end") for f in finals)]
    assert [f["segment_start"] for f in finals] == edges[:-1]
    assert edges[-1] == pytest.approx(samples / rate, abs=1e-6)
    assert [f["segment_id"] for f in finals] == list(range(1, len(finals) + 1))
    for final, (start, end) in zip(finals, pairwise(edges), strict=True):
        assert read_number(final, "new_audio_duration") == pytest.approx(end - start, abs=3e-6)
        assert read_number(final, "overlap") == pytest.approx(min(durations[1], start), abs=1e-4)
        assert read_number(final, "chunk_start") == pytest.approx(
            start - read_number(final, "overlap"), abs=3e-6
        )
        assert read_number(final, "chunk_duration") == pytest.approx(
            end - read_number(final, "chunk_start"), abs=3e-6
        )


@given(st.data(), CHUNK_AND_OVERLAP, CODINGS, VOICES)
def test_a_stateful_engine_neither_repeats_nor_loses_words(
    data: st.DataObject,
    durations: tuple[float, float],
    coding: SampleCoding,
    build_detector: Callable[[], VoiceActivityDetector] | None,
) -> None:
    speech = data.draw(spoken_words(rate=coding.rate))
    places = data.draw(cut_places(len(speech.samples)))
    commits = data.draw(st.sets(st.integers(0, len(places)), max_size=4))
    driver = SessionDriver(ScriptedEngine(STATEFUL), Session(build_detector))
    driver.send(build_config(durations, **coding.config_values))
    frames = run_conversation(driver, speech, places, coding, tuple(commits))
    assert list_words(frames) == list(speech.words)
    assert " ".join(frame_texts(frames)).split() == list(speech.words)


@given(st.data(), st.sampled_from([0.0, 0.1, 0.4]), st.sampled_from([0.1, 0.5, 1.0]))
def test_a_right_context_neither_repeats_nor_loses_words(
    data: st.DataObject, right: float, left: float
) -> None:
    speech = data.draw(spoken_words())
    places = data.draw(cut_places(len(speech.samples)))
    commits = data.draw(st.sets(st.integers(0, len(places)), max_size=4))
    driver = SessionDriver(
        ScriptedEngine(EngineRequirements("stateful", left_context=left, right_context=right))
    )
    driver.send(build_config(data.draw(CHUNK_AND_OVERLAP)))
    assert list_words(run_conversation(driver, speech, places, commits=tuple(commits))) == list(speech.words)


@given(st.data(), CHUNK_AND_OVERLAP, VOICES)
def test_word_times_neither_repeat_nor_lose_words(
    data: st.DataObject,
    durations: tuple[float, float],
    build_detector: Callable[[], VoiceActivityDetector] | None,
) -> None:
    assume(durations[1])  # without an overlap a cut word is two words to an engine without state
    speech = data.draw(spoken_words())
    places = data.draw(cut_places(len(speech.samples)))
    commits = data.draw(st.sets(st.integers(0, len(places)), max_size=4))
    driver = SessionDriver(TimedScripted(), Session(build_detector))
    driver.send(build_config(durations))
    assert list_words(run_conversation(driver, speech, places, commits=tuple(commits))) == list(speech.words)


@given(st.data(), CHUNK_AND_OVERLAP, READINGS)
def test_a_reset_session_equals_a_fresh_one(
    data: st.DataObject, durations: tuple[float, float], needs: EngineRequirements
) -> None:
    old, fresh = SessionDriver(ScriptedEngine(needs)), SessionDriver(ScriptedEngine(needs))
    for driver in (old, fresh):
        driver.send(build_config(durations))
    before, after = data.draw(spoken_words()), data.draw(spoken_words())
    places = data.draw(cut_places(len(before.samples)))
    for piece in cut_bytes(before.samples.tobytes(), 4, places):
        old.send(piece)
    assert old.send({"type": "reset"}) == [{"type": "status", "state": "reset"}]
    places = data.draw(cut_places(len(after.samples)))
    for driver in (old, fresh):
        driver.frames.clear()
        run_conversation(driver, after, places)
    assert old.frames == fresh.frames


@given(st.data(), CHUNK_AND_OVERLAP, st.integers(0, 2**32), READINGS)
def test_the_order_of_decodes_changes_no_frame(
    data: st.DataObject, durations: tuple[float, float], seed: int, needs: EngineRequirements
) -> None:
    speech = data.draw(spoken_words())
    places = data.draw(cut_places(len(speech.samples)))
    frames = []
    for shuffle in (None, seed):
        driver = SessionDriver(ScriptedEngine(needs), shuffle_seed=shuffle)
        driver.send(build_config(durations))
        frames.append(run_conversation(driver, speech, places))
    assert frames[0] == frames[1]


@given(st.data(), CHUNK_AND_OVERLAP, READINGS)
def test_late_decodes_change_no_final(
    data: st.DataObject, durations: tuple[float, float], needs: EngineRequirements
) -> None:
    speech = data.draw(spoken_words())
    places = data.draw(cut_places(len(speech.samples)))
    prompt = SessionDriver(ScriptedEngine(needs))
    prompt.send(build_config(durations))
    run_conversation(prompt, speech, places)
    late = SessionDriver(ScriptedEngine(needs))
    late.send(build_config(durations))
    for piece in cut_bytes(speech.samples.tobytes(), 4, places):
        late.perform_effects(late.session.receive(Audio(piece)))
        while keys := [decode.key for decode in late.open_decodes]:
            if not data.draw(st.booleans()):
                break
            late.finish_decode(data.draw(st.sampled_from(keys)))
    late.send(COMMIT)
    assert [f for f in late.frames if f["type"] != "partial"] == [
        f for f in prompt.frames if f["type"] != "partial"
    ]


FRAMES: st.SearchStrategy[Json | bytes] = st.sampled_from(
    [
        {"type": "ping"},
        {"type": "commit"},
        {"type": "reset"},
        {"type": "auth", "token": "x"},
        {"type": "config", "chunk_duration": 0.5, "overlap_duration": 0.2},
        {"type": "config", "sample_rate": 8000},
        {"type": "config", "model": "whisper"},
        {"type": "config", "channels": 99},
        np.full(4_000, 0.25, np.float32).tobytes(),
        np.zeros(40_000, np.float32).tobytes(),
        b"odd",
    ]
)


@given(st.lists(FRAMES, max_size=12), st.lists(FRAMES, max_size=6), st.booleans())
def test_nothing_follows_a_close(
    before: list[Json | bytes],
    after: list[Json | bytes],
    stop: bool,  # noqa: FBT001  # Hypothesis draws it
) -> None:  # Hypothesis draws it
    driver = SessionDriver(ScriptedEngine())
    for frame in before:
        driver.send(frame)
    if stop:
        driver.send({"type": "stop"})
    else:
        driver.perform_effects(driver.session.end_stream(1001))
        driver.finish_all()
    assert driver.close_code == (1000 if stop else 1001)
    assert all(driver.send(frame) == [] for frame in after)
    assert not driver.open_decodes


@given(st.lists(FRAMES, max_size=15))
def test_clock_and_ids_only_increase_until_a_reset(frames: list[Json | bytes]) -> None:
    driver = SessionDriver(build_fixed_engine("foo"))
    for frame in frames:
        driver.send(frame)
    since: list[Json] = []
    for one in driver.frames:
        if one == {"type": "status", "state": "reset"}:
            since = []
        elif one["type"] == "final":
            since.append(one)
            assert one["segment_id"] == len(since)
    for first, second in pairwise(since):
        assert second["segment_start"] == first["segment_end"]


def list_refused_messages(seed: int, count: int, config: StreamConfig) -> list[str | bytes]:
    """Return messages that are invalid in a session with this config."""
    return list(islice((m for m in generate_random_messages(seed) if is_refused(m, config)), count))


def is_refused(message: str | bytes, config: StreamConfig) -> bool:
    try:
        frame = decode_message(message)
        if isinstance(frame, Audio):
            decode_pcm(frame.data, config.audio_format, config.channels)
        elif isinstance(frame, Config):
            parse_config(frame.values, config)
    except ProtocolError:
        return True
    return False


def send_message(driver: SessionDriver, message: str | bytes) -> None:
    """Send a message as the server does: an invalid one becomes an error frame."""
    try:
        frame = decode_message(message)
    except ProtocolError as error:
        driver.frames.append({"type": "error", "code": str(error.code)})
        return
    driver.perform_effects(driver.session.receive(frame))
    driver.finish_all()


@given(st.data(), CHUNK_AND_OVERLAP, st.integers(0, 2**32))
def test_garbage_between_messages_changes_nothing(
    data: st.DataObject, durations: tuple[float, float], seed: int
) -> None:
    speech = data.draw(spoken_words())
    places = data.draw(cut_places(len(speech.samples)))
    clean, dirty = SessionDriver(ScriptedEngine()), SessionDriver(ScriptedEngine())
    chunk, overlap = durations
    bad = iter(
        list_refused_messages(
            seed, 3 * (len(places) + 2), StreamConfig(chunk_duration=chunk, overlap_duration=overlap)
        )
    )
    for driver in (clean, dirty):
        driver.send(build_config(durations))
    for piece in cut_bytes(speech.samples.tobytes(), 4, places):
        clean.send(piece)
        for message in islice(bad, 3):
            before = len(dirty.frames)
            send_message(dirty, message)
            (answer,) = dirty.frames[before:]
            assert answer["type"] == "error"
            assert answer["code"] in set(ErrorCode)
        dirty.send(piece)
    clean.send(COMMIT)
    dirty.send(COMMIT)
    assert [f for f in dirty.frames if f["type"] != "error"] == clean.frames


@pytest.mark.parametrize("strategy", ["stateful", "overlap", "local_agreement"])
@pytest.mark.parametrize("build_detector", [None, PlateauDetector])
def test_an_hour_of_audio_is_processed_in_constant_memory(
    strategy: str, build_detector: Callable[[], VoiceActivityDetector] | None
) -> None:
    rate = 16_000
    engine: Engine = FunctionEngine(lambda _: "foo", EngineRequirements(strategy, sample_rate=rate))  # type: ignore[arg-type]  # all are strategies
    driver = SessionDriver(engine, Session(build_detector, StreamConfig(enable_partial=False)))
    rng = np.random.default_rng(1)
    sounds = [np.zeros(8 * rate, np.float32), np.full(8 * rate, 0.25, np.float32)]
    consumed, longest = 0, 0
    while consumed < 3_600 * rate:
        message = sounds[rng.integers(2)][: int(rng.integers(1, 8 * rate))]
        driver.push_audio(message)
        driver.frames.clear()
        driver.requested_decodes.clear()
        consumed += len(message)
        pipeline = driver.session._pipeline  # noqa: SLF001  # what it holds is seen nowhere else
        assert pipeline
        longest = max(longest, pipeline._buffer.nbytes)  # noqa: SLF001  # memory is not visible from outside
    assert longest < 60 * rate * 4
