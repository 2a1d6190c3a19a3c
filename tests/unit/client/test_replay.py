"""What a client keeps for a new beginning: enough, and not more with time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from echoic.client.messages import parse_frame
from echoic.client.replay import REPLAY_LEAD, SILENCE_SECONDS, FrameReplayFilter
from echoic.protocol.frames import Configured, DiarizationSummary, Final, Insight, Partial, Pong, Status
from support.fake_server import CONFIGURED_FRAME, build_final_json

if TYPE_CHECKING:
    from collections.abc import Mapping

RATE = 16_000
FRAME = bytes(4 * RATE // 50)
PING = '{"type":"ping"}'


def past(**values: object) -> FrameReplayFilter:
    return FrameReplayFilter({"resumable": True, **values}, configured(**values))


def configured(**values: object) -> Configured:
    return msgspec.convert(CONFIGURED_FRAME | values, Configured)


def hear(one: FrameReplayFilter, frame: Mapping[str, object]) -> object:
    message = msgspec.json.encode(frame)
    return one.filter_frame(parse_frame(message, one.shift_times)[0])


def seconds(messages: list[str | bytes]) -> float:
    return sum(len(message) for message in messages if isinstance(message, bytes)) / 4 / RATE


def speak(one: FrameReplayFilter, number: int) -> None:
    for _ in range(number * 50):
        one.record_message(FRAME)


def test_of_a_long_speech_only_the_last_part_is_kept() -> None:
    one = past()
    for second in range(1, 1001):
        speak(one, 1)
        hear(one, build_final_json(second, "yes"))
    assert REPLAY_LEAD <= seconds(one.replay_messages()) <= 2 * REPLAY_LEAD + 2


def test_it_begins_in_a_pause_where_there_is_one() -> None:
    one = past(overlap_duration=0.0)
    loud = np.full(RATE // 10, 0.5, "<f4").tobytes()
    for second in range(1, 62):
        for tenth in range(10):
            pause = (second == 20 and tenth > 5) or (second == 21 and tenth < 5)
            one.record_message(bytes(len(loud)) if pause else loud)
        hear(one, build_final_json(second, "yes"))
    assert 41 < seconds(one.replay_messages()) < 41.2


def test_of_a_long_silence_only_the_last_part_is_kept() -> None:
    one = past()
    for _ in range(1000):
        speak(one, 1)
        one.record_message(PING)
        one.filter_frame(Pong())
    messages = one.replay_messages()
    assert SILENCE_SECONDS <= seconds(messages) <= SILENCE_SECONDS + REPLAY_LEAD + 2
    assert PING not in messages


def test_what_nobody_acknowledged_is_kept_however_long_it_is() -> None:
    one = past()
    speak(one, 500)
    one.record_message('{"type":"commit"}')
    messages = one.replay_messages()
    assert seconds(messages) == 500
    assert messages[-1] == '{"type":"commit"}'


def test_a_reset_leaves_nothing_of_what_was_before() -> None:
    one = past()
    speak(one, 5)
    hear(one, build_final_json(1, "before"))
    one.record_message('{"type":"reset"}')
    speak(one, 2)
    one.filter_frame(Status(state="reset"))
    assert seconds(one.replay_messages()) == 2
    assert isinstance(hear(one, build_final_json(1, "after")), Final)


def test_a_config_that_lies_before_a_reset_stays_in_force() -> None:
    one = past()
    one.record_message('{"type":"config","chunk_duration":1.5,"language":"en"}')
    one.filter_frame(configured(chunk_duration=1.5))
    speak(one, 5)
    one.record_message('{"type":"reset"}')
    one.filter_frame(Status(state="reset"))
    assert one.replay_messages() == []
    assert one.config == {
        "resumable": True,
        "chunk_duration": 1.5,
        "overlap_duration": 0.5,
        "language": "en",
    }


def test_times_and_ids_of_another_session_go_on() -> None:
    one = past(overlap_duration=0.0)
    for second in range(1, 101):
        speak(one, 1)
        hear(one, build_final_json(second, "yes"))
    begun = 100 - seconds(one.replay_messages())
    window = int(begun) + 1  # the first that the new session has whole
    assert hear(one, {"type": "full_transcript", "text": ""}) is None
    number = 0
    for number, end in enumerate(range(window + 1, 101), start=1):  # used below
        assert hear(one, placed(number, end - 1 - begun)) is None
    partial = {
        "type": "partial",
        "text": "no",
        "is_final": False,
        "segment_id": number + 1,
        "segment_start": 100 - begun,
        "segment_end": 100.5 - begun,
        "buffer_duration": 0.5,
        "cumulative_audio": 100 - begun,
    }
    shown = hear(one, partial)
    assert isinstance(shown, Partial)
    assert (shown.segment_id, shown.segment_start, shown.cumulative_audio) == (101, 100.0, 100.0)
    last = hear(one, placed(number + 1, 100 - begun))
    assert isinstance(last, Final)
    assert (last.segment_id, last.segment_start, last.new_audio_duration) == (101, 100.0, 1.0)


def placed(number: int, start: float) -> dict[str, object]:
    """Return a final of a second that begins here."""
    return build_final_json(number, "yes") | {
        "segment_start": round(start, 6),
        "segment_end": round(start + 1, 6),
    }


def test_a_config_that_lies_before_what_is_kept_is_said_at_the_beginning() -> None:
    one = past(model="parakeet-onnx", chunk_duration=4.0, overlap_duration=2.0)
    one.record_message('{"type":"config","model":"scripted","chunk_duration":1.0,"language":"en"}')
    one.filter_frame(configured(model="scripted", chunk_duration=1.0, overlap_duration=0.25))
    one.record_message('{"type":"config","chunk_duration":-1}')
    hear(one, {"type": "error", "code": "invalid_config", "message": "No."})
    for second in range(1, 101):
        speak(one, 1)
        hear(one, build_final_json(second, "yes"))
    messages = one.replay_messages()
    assert [message for message in messages if isinstance(message, str)] == ['{"type":"commit"}']
    assert one.config == {
        "resumable": True,
        "model": "scripted",
        "chunk_duration": 1.0,
        "overlap_duration": 0.25,
        "language": "en",
    }


def test_a_config_amid_what_is_kept_is_said_again_and_its_answer_swallowed() -> None:
    one = past()
    speak(one, 5)
    hear(one, build_final_json(1, "yes"))
    one.record_message('{"type":"config","sample_rate":8000}')
    one.filter_frame(configured(sample_rate=8_000))
    assert '{"type":"config","sample_rate":8000}' in one.replay_messages()
    warning = {"type": "warning", "code": "language_unsupported", "message": "No."}
    assert hear(one, warning) is None
    assert one.filter_frame(configured(sample_rate=8_000)) is None
    assert hear(one, warning) is not None


def test_what_was_said_of_finals_that_were_told_is_not_said_again_and_the_rest_has_their_ids() -> None:
    one = past(overlap_duration=0.0)
    speaks = {"speaker_id": 0, "speaker_label": "SPEAKER_00"}
    for second in range(1, 101):
        speak(one, 1)
        hear(one, build_final_json(second, "yes"))
    summary: dict[str, object] = {
        "type": "diarization_summary",
        "speaker_map": [],
        "audio_path": None,
        "speakers": [],
    }
    assert hear(one, summary | {"speaker_map": [{"segment_id": 100, **speaks}]}) is not None
    begun = 100 - seconds(one.replay_messages())
    assert hear(one, {"type": "full_transcript", "text": ""}) is None
    count = 100 - int(begun) - 1
    for number in range(1, count + 1):
        hear(one, placed(number, int(begun) + number - begun))
    assert hear(one, summary | {"speaker_map": [{"segment_id": count, **speaks}]}) is None
    one.record_message('{"type":"commit"}')
    assert hear(one, {"type": "full_transcript", "text": "yes"}) is not None
    news = hear(one, summary | {"speaker_map": [{"segment_id": count + 1, **speaks}]})
    assert isinstance(news, DiarizationSummary)
    assert news.speaker_map[0].segment_id == 101
    insight = {
        "type": "insight",
        "insight_id": "a-1",
        "stage": "live",
        "provider": "rules",
        "model": "m",
        "summary": [],
        "action_items": [],
        "decisions": [],
        "topics": [],
        "source": {"segment_range": [1, count + 1], "start": 0.5, "end": 2.0, "total_segments": count + 1},
    }
    told = hear(one, insight)
    assert hear(one, insight | {"stage": "final"}) is not None, "of the commit"
    assert hear(one, insight | {"stage": "final"}) is None, "of one that was said again"
    assert isinstance(told, Insight)
    assert told.source.segment_range == (101 - count, 101)
    assert told.source.total_segments == 101
    assert told.source.start == round(begun + 0.5, 6)


REFUSAL = {"type": "error", "code": "invalid_config", "message": "No."}


def test_a_refusal_that_overtakes_the_answer_to_a_config_that_is_said_again_is_of_the_other() -> None:
    one = past(overlap_duration=0.0)
    speak(one, 1)
    hear(one, placed(1, 0.0))
    one.record_message('{"type":"config","chunk_duration":1.5}')
    one.filter_frame(configured(chunk_duration=1.5, overlap_duration=0.0))
    speak(one, 1)
    one.record_message('{"type":"config","chunk_duration":-1}')
    one.replay_messages()
    assert hear(one, REFUSAL) is not None
    assert hear(one, placed(1, 0.0)) is None
    assert one.filter_frame(configured(chunk_duration=1.5, overlap_duration=0.0)) is None
    assert isinstance(hear(one, placed(2, 1.0)), Final)
    assert '{"type":"config","chunk_duration":-1}' not in one.replay_messages()


def test_a_config_that_is_said_again_may_be_refused() -> None:
    one = past()
    one.record_message('{"type":"config","model":"scripted"}')
    one.filter_frame(configured(model="scripted"))
    one.replay_messages()
    one.record_message('{"type":"config","chunk_duration":1.5}')
    assert hear(one, REFUSAL | {"code": "model_unavailable"}) is not None
    assert isinstance(one.filter_frame(configured(chunk_duration=1.5)), Configured)


def test_a_time_after_a_change_of_the_rate_is_no_place_on_the_grid_of_the_new_one() -> None:
    one = past(sample_rate=44_100, overlap_duration=0.0)
    one.record_message(bytes(4 * 100_001))
    heard = round(100_001 / 44_100, 6)
    first = build_final_json(1, "yes") | {"segment_start": 0.0, "segment_end": heard}
    hear(one, first)
    one.record_message('{"type":"config","sample_rate":16000}')
    one.filter_frame(configured(overlap_duration=0.0))
    speak(one, 2)
    second = placed(2, heard)
    assert isinstance(hear(one, second), Final)
    one.replay_messages()
    assert hear(one, first) is None
    assert one.filter_frame(configured(overlap_duration=0.0)) is None
    assert hear(one, second) is None
    third = hear(one, placed(3, heard + 1))
    assert isinstance(third, Final)
    assert third.segment_start == round(heard + 1, 6)


def test_after_a_change_of_the_rate_another_session_begins_on_the_grid_counted_from_there() -> None:
    one = past(sample_rate=44_100, overlap_duration=0.0)
    one.record_message(bytes(4 * 100_001))
    heard = round(100_001 / 44_100, 6)
    hear(one, build_final_json(1, "yes") | {"segment_start": 0.0, "segment_end": heard})
    one.record_message('{"type":"config","sample_rate":16000}')
    one.filter_frame(configured(overlap_duration=0.0))
    for number in range(2, 102):
        speak(one, 1)
        hear(one, placed(number, heard + number - 2))
    steps = (100 - seconds(one.replay_messages())) / 0.16
    assert steps > 100
    assert abs(steps - round(steps)) < 1e-6


def test_an_answered_stop_is_said_again_and_its_transcript_swallowed() -> None:
    one = past()
    speak(one, 1)
    hear(one, build_final_json(1, "yes"))
    one.record_message('{"type":"stop"}')
    assert hear(one, {"type": "full_transcript", "text": "yes"}) is not None
    assert one.replay_messages()[-1] == '{"type":"stop"}'
    assert hear(one, build_final_json(1, "yes")) is None
    assert hear(one, {"type": "full_transcript", "text": "yes"}) is None
    assert one.owed_transcript is None
