"""What a client keeps for a new beginning: enough, and not more with time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from echoic.client.incoming import read_frame
from echoic.client.past import LEAD, SILENCE, Past
from echoic.wire.frames import Configured, DiarizationSummary, Final, Insight, Partial, Pong, Status
from support.fake_server import CONFIGURED, final

if TYPE_CHECKING:
    from collections.abc import Mapping

RATE = 16_000
FRAME = bytes(4 * RATE // 50)
PING = '{"type":"ping"}'


def past(**values: object) -> Past:
    return Past({"resumable": True, **values}, configured(**values))


def configured(**values: object) -> Configured:
    return msgspec.convert(CONFIGURED | values, Configured)


def hear(one: Past, frame: Mapping[str, object]) -> object:
    message = msgspec.json.encode(frame)
    return one.heard(read_frame(message, one.move)[0])


def seconds(messages: list[str | bytes]) -> float:
    return sum(len(message) for message in messages if isinstance(message, bytes)) / 4 / RATE


def speak(one: Past, number: int) -> None:
    for _ in range(number * 50):
        one.put(FRAME)


def test_of_a_long_speech_only_the_last_part_is_kept() -> None:
    one = past()
    for second in range(1, 1001):
        speak(one, 1)
        hear(one, final(second, "yes"))
    assert LEAD <= seconds(one.anew()) <= 2 * LEAD + 2


def test_it_begins_in_a_pause_where_there_is_one() -> None:
    one = past(overlap_duration=0.0)
    loud = np.full(RATE // 10, 0.5, "<f4").tobytes()
    for second in range(1, 62):
        for tenth in range(10):
            pause = (second == 20 and tenth > 5) or (second == 21 and tenth < 5)
            one.put(bytes(len(loud)) if pause else loud)
        hear(one, final(second, "yes"))
    assert 41 < seconds(one.anew()) < 41.2


def test_of_a_long_silence_only_the_last_part_is_kept() -> None:
    one = past()
    for _ in range(1000):
        speak(one, 1)
        one.put(PING)
        one.heard(Pong())
    messages = one.anew()
    assert SILENCE <= seconds(messages) <= SILENCE + LEAD + 2
    assert PING not in messages


def test_what_nobody_acknowledged_is_kept_however_long_it_is() -> None:
    one = past()
    speak(one, 500)
    one.put('{"type":"commit"}')
    messages = one.anew()
    assert seconds(messages) == 500
    assert messages[-1] == '{"type":"commit"}'


def test_a_reset_leaves_nothing_of_what_was_before() -> None:
    one = past()
    speak(one, 5)
    hear(one, final(1, "before"))
    one.put('{"type":"reset"}')
    speak(one, 2)
    one.heard(Status(state="reset"))
    assert seconds(one.anew()) == 2
    assert isinstance(hear(one, final(1, "after")), Final)


def test_a_config_that_lies_before_a_reset_stays_in_force() -> None:
    one = past()
    one.put('{"type":"config","chunk_duration":1.5,"language":"en"}')
    one.heard(configured(chunk_duration=1.5))
    speak(one, 5)
    one.put('{"type":"reset"}')
    one.heard(Status(state="reset"))
    assert one.anew() == []
    assert one.values == {
        "resumable": True,
        "chunk_duration": 1.5,
        "overlap_duration": 0.5,
        "language": "en",
    }


def test_times_and_ids_of_another_session_go_on() -> None:
    one = past(overlap_duration=0.0)
    for second in range(1, 101):
        speak(one, 1)
        hear(one, final(second, "yes"))
    begun = 100 - seconds(one.anew())
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
    return final(number, "yes") | {"segment_start": round(start, 6), "segment_end": round(start + 1, 6)}


def test_a_config_that_lies_before_what_is_kept_is_said_at_the_beginning() -> None:
    one = past(model="parakeet-onnx", chunk_duration=4.0, overlap_duration=2.0)
    one.put('{"type":"config","model":"scripted","chunk_duration":1.0,"language":"en"}')
    one.heard(configured(model="scripted", chunk_duration=1.0, overlap_duration=0.25))
    one.put('{"type":"config","chunk_duration":-1}')
    hear(one, {"type": "error", "code": "invalid_config", "message": "No."})
    for second in range(1, 101):
        speak(one, 1)
        hear(one, final(second, "yes"))
    messages = one.anew()
    assert [message for message in messages if isinstance(message, str)] == ['{"type":"commit"}']
    assert one.values == {
        "resumable": True,
        "model": "scripted",
        "chunk_duration": 1.0,
        "overlap_duration": 0.25,
        "language": "en",
    }


def test_a_config_amid_what_is_kept_is_said_again_and_its_answer_swallowed() -> None:
    one = past()
    speak(one, 5)
    hear(one, final(1, "yes"))
    one.put('{"type":"config","sample_rate":8000}')
    one.heard(configured(sample_rate=8_000))
    assert '{"type":"config","sample_rate":8000}' in one.anew()
    warning = {"type": "warning", "code": "language_unsupported", "message": "No."}
    assert hear(one, warning) is None
    assert one.heard(configured(sample_rate=8_000)) is None
    assert hear(one, warning) is not None


def test_what_was_said_of_finals_that_were_told_is_not_said_again_and_the_rest_has_their_ids() -> None:
    one = past(overlap_duration=0.0)
    speaks = {"speaker_id": 0, "speaker_label": "SPEAKER_00"}
    for second in range(1, 101):
        speak(one, 1)
        hear(one, final(second, "yes"))
    summary: dict[str, object] = {
        "type": "diarization_summary",
        "speaker_map": [],
        "audio_path": None,
        "speakers": [],
    }
    assert hear(one, summary | {"speaker_map": [{"segment_id": 100, **speaks}]}) is not None
    begun = 100 - seconds(one.anew())
    assert hear(one, {"type": "full_transcript", "text": ""}) is None
    count = 100 - int(begun) - 1
    for number in range(1, count + 1):
        hear(one, placed(number, int(begun) + number - begun))
    assert hear(one, summary | {"speaker_map": [{"segment_id": count, **speaks}]}) is None
    one.put('{"type":"commit"}')
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
    one.put('{"type":"config","chunk_duration":1.5}')
    one.heard(configured(chunk_duration=1.5, overlap_duration=0.0))
    speak(one, 1)
    one.put('{"type":"config","chunk_duration":-1}')
    one.anew()
    assert hear(one, REFUSAL) is not None
    assert hear(one, placed(1, 0.0)) is None
    assert one.heard(configured(chunk_duration=1.5, overlap_duration=0.0)) is None
    assert isinstance(hear(one, placed(2, 1.0)), Final)
    assert '{"type":"config","chunk_duration":-1}' not in one.anew()


def test_a_config_that_is_said_again_may_be_refused() -> None:
    one = past()
    one.put('{"type":"config","model":"scripted"}')
    one.heard(configured(model="scripted"))
    one.anew()
    one.put('{"type":"config","chunk_duration":1.5}')
    assert hear(one, REFUSAL | {"code": "model_unavailable"}) is not None
    assert isinstance(one.heard(configured(chunk_duration=1.5)), Configured)


def test_a_time_after_a_change_of_the_rate_is_no_place_on_the_grid_of_the_new_one() -> None:
    one = past(sample_rate=44_100, overlap_duration=0.0)
    one.put(bytes(4 * 100_001))
    heard = round(100_001 / 44_100, 6)
    first = final(1, "yes") | {"segment_start": 0.0, "segment_end": heard}
    hear(one, first)
    one.put('{"type":"config","sample_rate":16000}')
    one.heard(configured(overlap_duration=0.0))
    speak(one, 2)
    second = placed(2, heard)
    assert isinstance(hear(one, second), Final)
    one.anew()
    assert hear(one, first) is None
    assert one.heard(configured(overlap_duration=0.0)) is None
    assert hear(one, second) is None
    third = hear(one, placed(3, heard + 1))
    assert isinstance(third, Final)
    assert third.segment_start == round(heard + 1, 6)


def test_after_a_change_of_the_rate_another_session_begins_on_the_grid_counted_from_there() -> None:
    one = past(sample_rate=44_100, overlap_duration=0.0)
    one.put(bytes(4 * 100_001))
    heard = round(100_001 / 44_100, 6)
    hear(one, final(1, "yes") | {"segment_start": 0.0, "segment_end": heard})
    one.put('{"type":"config","sample_rate":16000}')
    one.heard(configured(overlap_duration=0.0))
    for number in range(2, 102):
        speak(one, 1)
        hear(one, placed(number, heard + number - 2))
    steps = (100 - seconds(one.anew())) / 0.16
    assert steps > 100
    assert abs(steps - round(steps)) < 1e-6


def test_an_answered_stop_is_said_again_and_its_transcript_swallowed() -> None:
    one = past()
    speak(one, 1)
    hear(one, final(1, "yes"))
    one.put('{"type":"stop"}')
    assert hear(one, {"type": "full_transcript", "text": "yes"}) is not None
    assert one.anew()[-1] == '{"type":"stop"}'
    assert hear(one, final(1, "yes")) is None
    assert hear(one, {"type": "full_transcript", "text": "yes"}) is None
    assert one.last_words is None
