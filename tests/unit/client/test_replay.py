"""Tests of re-creating a lost session: what is kept, what is replayed, what is delivered."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from echoic.client.messages import ReceivedFrame, parse_frame
from echoic.client.replay import REPLAY_LEAD, SILENCE_SECONDS, SessionReplay, WordMatcher
from echoic.protocol.frames import Configured, DiarizationSummary, Final, FullTranscript, Insight, Partial
from support.fake_server import CONFIGURED_FRAME, build_final_json

RATE = 16_000
AUDIO_20_MS = bytes(4 * RATE // 50)
PING = '{"type":"ping"}'
COMMIT = '{"type":"commit"}'
STOP = '{"type":"stop"}'
PONG_FRAME = {"type": "pong"}
RESET_FRAME = {"type": "status", "state": "reset"}
REFUSAL = {"type": "error", "code": "invalid_config", "message": "No."}


def build_replay(**values: object) -> SessionReplay:
    configured = msgspec.convert(CONFIGURED_FRAME | values, Configured)
    return SessionReplay({"resumable": True, **values}, configured)


def receive(replay: SessionReplay, frame: Mapping[str, object]) -> list[ReceivedFrame]:
    return replay.filter_frame(parse_frame(msgspec.json.encode(frame), replay.shift_times)[0])


def receive_final(replay: SessionReplay, number: int, start: float, text: str) -> list[str]:
    """Receive a final of a second; return the texts of delivered finals."""
    place = {"segment_start": start, "segment_end": start + 1, "cumulative_audio": start + 1}
    frames = receive(replay, build_final_json(number, text) | place)
    return [frame.text for frame in frames if isinstance(frame, Final)]


def send_audio(replay: SessionReplay, seconds: int) -> None:
    for _ in range(seconds * 50):
        replay.record_message(AUDIO_20_MS)


def stream_words(replay: SessionReplay, *words: str) -> None:
    """Send a second of audio for each word, and receive its final."""
    for second, word in enumerate(words):
        send_audio(replay, 1)
        assert receive_final(replay, second + 1, second, word) == [word]


def count_seconds(messages: list[str | bytes]) -> float:
    return sum(len(message) for message in messages if isinstance(message, bytes)) / 4 / RATE


# ---- sent messages


def test_only_audio_since_shortly_before_the_last_final_is_kept() -> None:
    replay = build_replay()
    stream_words(replay, *["yes"] * 1000)
    assert REPLAY_LEAD <= count_seconds(replay.replay_messages()) <= REPLAY_LEAD + 1


def test_long_silence_is_dropped() -> None:
    replay = build_replay()
    for _ in range(1000):
        send_audio(replay, 1)
        replay.record_message(PING)
        receive(replay, PONG_FRAME)
    messages = replay.replay_messages()
    assert SILENCE_SECONDS <= count_seconds(messages) <= SILENCE_SECONDS + REPLAY_LEAD + 1
    assert PING not in messages


def test_unacknowledged_audio_is_kept_however_long_it_is() -> None:
    replay = build_replay()
    send_audio(replay, 500)
    replay.record_message(COMMIT)
    messages = replay.replay_messages()
    assert count_seconds(messages) == 500
    assert messages[-1] == COMMIT


def test_an_answered_commit_is_not_replayed() -> None:
    replay = build_replay()
    stream_words(replay, "one", "two")
    replay.record_message(COMMIT)
    assert receive(replay, {"type": "full_transcript", "text": "one two"}) == [FullTranscript(text="one two")]
    send_audio(replay, 1)
    messages = replay.replay_messages()
    assert COMMIT not in messages
    assert count_seconds(messages) == 3


def test_a_reset_drops_everything_before_it() -> None:
    replay = build_replay()
    stream_words(replay, "before")
    replay.record_message('{"type":"reset"}')
    send_audio(replay, 2)
    receive(replay, RESET_FRAME)
    assert count_seconds(replay.replay_messages()) == 2
    assert receive_final(replay, 1, 0, "after") == ["after"]


def test_a_config_before_a_reset_stays_in_force() -> None:
    replay = build_replay()
    replay.record_message('{"type":"config","chunk_duration":1.5,"language":"en"}')
    receive(replay, CONFIGURED_FRAME | {"chunk_duration": 1.5})
    send_audio(replay, 5)
    replay.record_message('{"type":"reset"}')
    receive(replay, RESET_FRAME)
    assert replay.replay_messages() == []
    assert replay.config == {
        "resumable": True,
        "chunk_duration": 1.5,
        "overlap_duration": 0.5,
        "language": "en",
    }


def test_answered_configs_become_part_of_the_first_config() -> None:
    replay = build_replay(model="parakeet-onnx", chunk_duration=4.0, overlap_duration=2.0)
    change = '{"type":"config","model":"scripted","chunk_duration":1.0,"language":"en"}'
    replay.record_message(change)
    receive(replay, CONFIGURED_FRAME | {"chunk_duration": 1.0, "overlap_duration": 0.25})
    replay.record_message('{"type":"config","chunk_duration":-1}')
    receive(replay, REFUSAL)
    stream_words(replay, "yes")
    assert count_seconds(messages := replay.replay_messages()) == 1
    assert not any(isinstance(message, str) for message in messages)
    assert replay.config == {
        "resumable": True,
        "model": "scripted",
        "chunk_duration": 1.0,
        "overlap_duration": 0.25,
        "language": "en",
    }


def test_an_unanswered_config_is_replayed_in_its_place() -> None:
    replay = build_replay()
    send_audio(replay, 1)
    change = '{"type":"config","language":"en"}'
    replay.record_message(change)
    send_audio(replay, 1)
    assert replay.replay_messages()[50] == change
    assert isinstance(receive(replay, CONFIGURED_FRAME)[0], Configured)
    assert change not in replay.replay_messages()


def test_a_change_of_the_sample_rate_drops_audio_before_it() -> None:
    replay = build_replay(sample_rate=44_100)
    replay.record_message(bytes(4 * 100_001))
    replay.record_message('{"type":"config","sample_rate":16000}')
    receive(replay, CONFIGURED_FRAME)
    send_audio(replay, 2)
    assert count_seconds(replay.replay_messages()) == 2
    (final,) = receive(replay, build_final_json(1, "yes"))
    assert isinstance(final, Final)
    assert final.segment_start == round(100_001 / 44_100, 6)


# ---- received frames


def test_delivered_words_are_dropped_and_ids_and_times_continue() -> None:
    replay = build_replay()
    stream_words(replay, "one", "two", "three")
    replay.replay_messages()
    assert receive_final(replay, 1, 0.0, "one two") == []
    assert receive_final(replay, 2, 2.0, "three") == []
    (final,) = receive(replay, build_final_json(3, "four") | {"segment_start": 2.5, "segment_end": 4.0})
    assert isinstance(final, Final)
    assert (final.text, final.segment_id) == ("four", 4)
    assert (final.segment_start, final.segment_end, final.new_audio_duration) == (3.0, 4.0, 1.0)


def test_a_final_with_old_and_new_words_is_shortened() -> None:
    replay = build_replay()
    stream_words(replay, "one", "two")
    replay.replay_messages()
    words = [{"word": word, "start": at, "end": at + 0.5} for at, word in enumerate(("One,", "two", "three"))]
    frame = build_final_json(1, "One, two three") | {"segment_end": 3.0, "words": words}
    (final,) = receive(replay, frame)
    assert isinstance(final, Final)
    assert final.text == "three"
    assert [word.word for word in final.words or ()] == ["three"]


def test_a_word_that_was_held_back_is_delivered_with_the_next_final() -> None:
    replay = build_replay()
    stream_words(replay, "one", "two")
    replay.replay_messages()
    assert receive_final(replay, 1, 0.0, "one two late") == []
    assert receive_final(replay, 2, 1.5, "three") == ["late three"]


def test_held_back_words_are_delivered_before_a_transcript() -> None:
    replay = build_replay()
    stream_words(replay, "one", "two")
    replay.record_message(COMMIT)
    replay.replay_messages()
    assert receive_final(replay, 1, 0.0, "one two late") == []
    final, transcript = receive(replay, {"type": "full_transcript", "text": "one two late"})
    assert isinstance(final, Final)
    assert final.text == "late"
    assert transcript == FullTranscript(text="one two late")


def test_words_are_delivered_though_the_old_ones_do_not_come_again() -> None:
    replay = build_replay()
    stream_words(replay, "one", "two", "three", "four")
    replay.replay_messages()
    assert receive_final(replay, 1, 9.0, "new") == ["new"]


def test_partials_of_delivered_words_are_dropped() -> None:
    replay = build_replay()
    stream_words(replay, "one", "two")
    partial = {
        "type": "partial",
        "text": "no",
        "is_final": False,
        "segment_id": 1,
        "segment_start": 0.0,
        "segment_end": 0.5,
        "buffer_duration": 0.5,
        "cumulative_audio": 0.0,
    }
    replay.replay_messages()
    assert receive(replay, partial) == []
    assert receive_final(replay, 1, 0.0, "one two three") == []
    assert receive_final(replay, 2, 2.0, "") == ["three"]
    (shown,) = receive(replay, partial | {"segment_id": 3})
    assert isinstance(shown, Partial)
    assert shown.segment_id == 4


def test_times_and_ids_in_nested_frames_are_shifted() -> None:
    replay = build_replay()
    stream_words(replay, *map(str, range(100)))
    begin = 100 - count_seconds(replay.replay_messages())
    for second in range(int(begin), 100):
        assert receive_final(replay, second - int(begin) + 1, second - begin, str(second)) == []
    insight: dict[str, object] = {
        "type": "insight",
        "insight_id": "a-1",
        "stage": "live",
        "provider": "rules",
        "model": "m",
        "summary": [],
        "action_items": [],
        "decisions": [],
        "topics": [],
        "source": {"segment_range": [1, 21], "start": 0.5, "end": 2.0, "total_segments": 21},
    }
    (shifted,) = receive(replay, insight)
    assert isinstance(shifted, Insight)
    assert shifted.source.segment_range == (81, 101)
    assert (shifted.source.total_segments, shifted.source.start) == (101, begin + 0.5)
    speaker = {"segment_id": 21, "speaker_id": 0, "speaker_label": "SPEAKER_00"}
    summary = {"type": "diarization_summary", "audio_path": None, "speakers": [], "speaker_map": [speaker]}
    (shifted,) = receive(replay, summary)
    assert isinstance(shifted, DiarizationSummary)
    assert shifted.speaker_map[0].segment_id == 101


def test_a_decode_error_in_delivered_audio_is_dropped() -> None:
    replay = build_replay()
    stream_words(replay, "one", "two")
    replay.replay_messages()
    error = {"type": "error", "code": "decode_failed", "message": "No.", "start": 0.0}
    assert receive(replay, error | {"end": 1.5}) == []
    assert len(receive(replay, error | {"end": 2.5})) == 1


def test_a_commit_has_the_words_of_both_sessions() -> None:
    replay = build_replay()
    stream_words(replay, "one", "two")
    replay.record_message(COMMIT)
    replay.replay_messages()
    assert receive_final(replay, 1, 0.0, "one two three") == []
    assert receive_final(replay, 2, 2.0, "four") == ["three four"]
    assert receive(replay, {"type": "full_transcript", "text": "-"}) == [
        FullTranscript(text="one two three four")
    ]


def test_a_stop_is_replayed_though_it_was_answered() -> None:
    replay = build_replay()
    stream_words(replay, "yes")
    replay.record_message(STOP)
    assert receive(replay, {"type": "full_transcript", "text": "yes"}) == [FullTranscript(text="yes")]
    assert replay.replay_messages() == [STOP]
    assert replay.owed_transcript is None


def test_a_transcript_is_owed_if_the_new_session_has_no_words() -> None:
    replay = build_replay()
    stream_words(replay, "yes")
    replay.record_message(STOP)
    assert replay.owed_transcript is None
    replay.replay_messages()
    assert replay.owed_transcript == FullTranscript(text="yes")


def test_an_ignored_pong_is_not_delivered() -> None:
    replay = build_replay()
    replay.ignore_pong()
    assert receive(replay, PONG_FRAME) == []
    assert len(receive(replay, PONG_FRAME)) == 1


# ---- matching of words


@pytest.mark.parametrize(
    ("delivered", "decoded", "new"),
    [
        pytest.param("a b c", "a b c d", "d", id="same"),
        pytest.param("a b c", "A, b. C d", "d", id="other case and punctuation"),
        pytest.param("a b c", "a x c d", "d", id="one word decoded differently"),
        pytest.param("w a b c", "a b c d", "d", id="first word missing"),
        pytest.param("a b c", "w a b c d", "d", id="one word more in front"),
        pytest.param("a a a", "a a a a", "a", id="repeated words"),
        pytest.param("a b", "a b", "", id="nothing new"),
        pytest.param("", "a b", "a b", id="nothing delivered"),
    ],
)
def test_only_words_beyond_the_delivered_ones_are_new(delivered: str, decoded: str, new: str) -> None:
    matcher = WordMatcher(delivered.split())
    for word in decoded.split():
        matcher.push_word(word)
    assert matcher.is_complete
    assert decoded.split()[matcher.repeated_count :] == new.split()


def test_a_match_is_incomplete_while_delivered_words_are_missing() -> None:
    matcher = WordMatcher(["a", "b", "c"])
    matcher.push_word("a")
    matcher.push_word("b")
    assert not matcher.is_complete
    matcher.push_word("c")
    assert matcher.is_complete
