"""docs/protocol.md, section 12."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.line import FOLDER, case, commit, configure, finals, list_of, say, served, text, until
from echoic.engines.scripted import VOCABULARY

if TYPE_CHECKING:
    from conformance.line import Door, Json, Line

ANN, BOB, CYD = VOCABULARY[0], VOCABULARY[10], VOCABULARY[20]
#: Each says a word, and there is a pause.
TALK = say(*[part for word in (ANN, BOB, CYD, ANN) for part in ((word, 0.4), ("", 1.1))])


def labels(frames: list[Json]) -> list[object]:
    return [(final.get("speaker_id"), final.get("speaker_label")) for final in finals(frames)]


@case("P12.1", "P12.4")
async def finals_say_who_speaks(line: Line) -> None:
    assert (await configure(line, diarization=True, enable_partial=False))["diarization"] is True
    await line.send(TALK)
    frames = await commit(line)
    assert labels(frames) == [(0, "SPEAKER_00"), (1, "SPEAKER_01"), (2, "SPEAKER_02"), (0, "SPEAKER_00")]
    await until(line, "diarization_summary")
    await configure(line, diarization=False)
    await line.send(say(ANN))
    assert labels(await commit(line)) == [(None, None)]


@case("P12.2")
async def words_say_it_too(line: Line) -> None:
    await configure(line, model="with-times", diarize={}, word_timestamps=True, enable_partial=False)
    await line.send(say((ANN, 0.5), (BOB, 0.3)))
    (final,) = finals(await commit(line))
    assert [word["speaker_id"] for word in list_of(final["words"])] == [0, 1]
    assert final["speaker_id"] == 0


@case("P12.3", "P12.4")
async def a_commit_sums_up_who_spoke(line: Line) -> None:
    await configure(line, diarization=True, enable_partial=False)
    await line.send(say(ANN, ("", 2.0), BOB))
    assert text(await commit(line)) == f"{ANN} {BOB}"
    assert await until(line, "diarization_summary") == [
        {
            "type": "diarization_summary",
            "speaker_map": [
                {"segment_id": 1, "speaker_id": 0, "speaker_label": "SPEAKER_00"},
                {"segment_id": 2, "speaker_id": 1, "speaker_label": "SPEAKER_01"},
            ],
            "audio_path": None,
            "speakers": [{"speaker_id": 0, "label": "SPEAKER_00"}, {"speaker_id": 1, "label": "SPEAKER_01"}],
        }
    ]
    await line.send(say(BOB))
    await commit(line)
    (summary,) = await until(line, "diarization_summary")
    assert [one["segment_id"] for one in list_of(summary["speaker_map"])] == [3]
    assert len(list_of(summary["speakers"])) == 2
    await line.send({"type": "reset"})
    await until(line, "status")
    await line.send(say(BOB))
    await line.send({"type": "stop"})
    (summary,) = [f for f in await until(line, "diarization_summary") if f["type"] == "diarization_summary"]
    assert summary["speakers"] == [{"speaker_id": 0, "label": "SPEAKER_00"}]


@case("P12.5")
async def what_is_known_of_the_speakers_is_heeded(line: Line) -> None:
    for wish, most in (("num_speakers", 1), ("max_speakers", 2)):
        await configure(line, diarization={wish: most}, enable_partial=False)
        await line.send(TALK)
        assert {final["speaker_id"] for final in finals(await commit(line))} <= set(range(most))
        await until(line, "diarization_summary")
    await line.send({"type": "config", "diarization": {"num_speakers": 0}})
    error = await line.receive()
    assert (error["code"], error["field"]) == ("invalid_config", "diarization.num_speakers")


@case("P12.6")
async def who_speaks_changes_no_word(line: Line) -> None:
    seen = []
    for wanted in (False, True):
        await configure(line, diarization=wanted, enable_partial=False)
        await line.send(TALK)
        seen.append([final["text"] for final in finals(await commit(line))])
        await line.send({"type": "reset"})
        await until(line, "status")
    assert seen[0] == seen[1] == [ANN, BOB, CYD, ANN]


@served("P12.7", speakers_audio_dir=FOLDER)
async def audio_is_stored_for_whom_asks(door: Door) -> None:
    async with door.open() as line:
        await configure(line, diarization={"store_audio": True}, enable_partial=False)
        await line.send(say(ANN))
        await commit(line)
        (summary,) = await until(line, "diarization_summary")
        assert str(summary["audio_path"]).endswith(".wav")
        assert "/" not in str(summary["audio_path"])


@served("P12.7")
async def without_a_folder_none_is(door: Door) -> None:
    async with door.open() as line:
        await line.send({"type": "config", "diarization": {"store_audio": True}})
        warning, status = await until(line, "status")
        assert warning["code"] == "audio_persistence_unavailable"
        assert status["diarization"] is True
        await line.send(say(ANN))
        await commit(line)
        assert (await until(line, "diarization_summary"))[-1]["audio_path"] is None


@served("P12.8", "P12.10")
async def a_commit_brings_an_insight_after_everything_else(door: Door) -> None:
    async with door.open() as line:
        status = await configure(line, insights=True, diarization=True, enable_partial=False)
        assert status["insights"] is True
        await line.send(TALK)
        frames = [*await commit(line), *await until(line, "insight")]
        kinds = [frame["type"] for frame in frames]
        assert kinds == ["final"] * 4 + ["full_transcript", "diarization_summary", "insight"]
        insight = frames[-1]
        assert (insight["stage"], insight["provider"]) == ("final", "rules")
        first, *_, last = finals(frames)
        source = {"start": first["segment_start"], "end": last["segment_end"], "total_segments": 4}
        assert insight["source"] == {"segment_range": [1, 4], **source}
        await line.send({"type": "commit"})
        await until(line, "full_transcript")
        await line.send(say(ANN))
        await line.send({"type": "stop"})
        assert [f["type"] for f in await until(line, "insight")][-1] == "insight"
        assert await line.receive() == {"type": "close", "code": 1000}


@served("P12.9", insights_interval_seconds=1.0)
async def a_live_one_comes_when_something_is_new_and_the_time_has_passed(door: Door) -> None:
    async with door.open() as line:
        await configure(line, insights={"interval_seconds": 1}, enable_partial=False)
        await line.send(TALK)
        insight = (await until(line, "insight"))[-1]
        assert insight["stage"] == "live"


@served("P12.11", insights_provider="llm", insights_base_url="http://127.0.0.1:9", insights_model="m")
async def an_insight_that_fails_is_an_insight_error_and_no_more(door: Door) -> None:
    async with door.open() as line:
        await configure(line, insights=True, enable_partial=False)
        await line.send(say(ANN))
        await commit(line)
        (error,) = await until(line, "insight_error")
        assert error["stage"] == "final"
        await line.send(say(ANN))
        assert text(await commit(line)) == ANN
