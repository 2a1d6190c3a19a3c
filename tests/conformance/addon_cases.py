"""docs/protocol.md, section 12."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.client_api import (
    CASE_FOLDER,
    build_speech,
    check_list,
    check_transcript,
    filter_finals,
    receive_until,
    send_commit,
    send_config,
    server_case,
    stream_case,
)
from echoic.engines.scripted import VOCABULARY

if TYPE_CHECKING:
    from conformance.client_api import ClientStream, ConformanceServer, Json

ANN, BOB, CYD = VOCABULARY[0], VOCABULARY[10], VOCABULARY[20]
#: One word per speaker, with pauses.
TALK = build_speech(*[part for word in (ANN, BOB, CYD, ANN) for part in ((word, 0.4), ("", 1.1))])


def labels(frames: list[Json]) -> list[object]:
    return [(final.get("speaker_id"), final.get("speaker_label")) for final in filter_finals(frames)]


@stream_case("P12.1", "P12.4")
async def finals_have_speakers(stream: ClientStream) -> None:
    assert (await send_config(stream, diarization=True, enable_partial=False))["diarization"] is True
    await stream.send(TALK)
    frames = await send_commit(stream)
    assert labels(frames) == [(0, "SPEAKER_00"), (1, "SPEAKER_01"), (2, "SPEAKER_02"), (0, "SPEAKER_00")]
    await receive_until(stream, "diarization_summary")
    await send_config(stream, diarization=False)
    await stream.send(build_speech(ANN))
    assert labels(await send_commit(stream)) == [(None, None)]


@stream_case("P12.2")
async def words_have_speakers(stream: ClientStream) -> None:
    await send_config(stream, model="with-times", diarize={}, word_timestamps=True, enable_partial=False)
    await stream.send(build_speech((ANN, 0.5), (BOB, 0.3)))
    (final,) = filter_finals(await send_commit(stream))
    assert [word["speaker_id"] for word in check_list(final["words"])] == [0, 1]
    assert final["speaker_id"] == 0


@stream_case("P12.3", "P12.4")
async def a_commit_sends_a_diarization_summary(stream: ClientStream) -> None:
    await send_config(stream, diarization=True, enable_partial=False)
    await stream.send(build_speech(ANN, ("", 2.0), BOB))
    assert check_transcript(await send_commit(stream)) == f"{ANN} {BOB}"
    assert await receive_until(stream, "diarization_summary") == [
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
    await stream.send(build_speech(BOB))
    await send_commit(stream)
    (summary,) = await receive_until(stream, "diarization_summary")
    assert [one["segment_id"] for one in check_list(summary["speaker_map"])] == [3]
    assert len(check_list(summary["speakers"])) == 2
    await stream.send({"type": "reset"})
    await receive_until(stream, "status")
    await stream.send(build_speech(BOB))
    await stream.send({"type": "stop"})
    (summary,) = [
        f for f in await receive_until(stream, "diarization_summary") if f["type"] == "diarization_summary"
    ]
    assert summary["speakers"] == [{"speaker_id": 0, "label": "SPEAKER_00"}]


@stream_case("P12.5")
async def the_number_of_speakers_is_respected(stream: ClientStream) -> None:
    for wish, most in (("num_speakers", 1), ("max_speakers", 2)):
        await send_config(stream, diarization={wish: most}, enable_partial=False)
        await stream.send(TALK)
        assert {final["speaker_id"] for final in filter_finals(await send_commit(stream))} <= set(range(most))
        await receive_until(stream, "diarization_summary")
    await stream.send({"type": "config", "diarization": {"num_speakers": 0}})
    error = await stream.receive()
    assert (error["code"], error["field"]) == ("invalid_config", "diarization.num_speakers")


@stream_case("P12.6")
async def diarization_changes_no_words(stream: ClientStream) -> None:
    seen = []
    for wanted in (False, True):
        await send_config(stream, diarization=wanted, enable_partial=False)
        await stream.send(TALK)
        seen.append([final["text"] for final in filter_finals(await send_commit(stream))])
        await stream.send({"type": "reset"})
        await receive_until(stream, "status")
    assert seen[0] == seen[1] == [ANN, BOB, CYD, ANN]


@server_case("P12.7", speakers_audio_dir=CASE_FOLDER)
async def audio_is_recorded_on_request(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        await send_config(stream, diarization={"store_audio": True}, enable_partial=False)
        await stream.send(build_speech(ANN))
        await send_commit(stream)
        (summary,) = await receive_until(stream, "diarization_summary")
        assert str(summary["audio_path"]).endswith(".wav")
        assert "/" not in str(summary["audio_path"])


@server_case("P12.7")
async def without_a_folder_recording_is_warned_about(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        await stream.send({"type": "config", "diarization": {"store_audio": True}})
        warning, status = await receive_until(stream, "status")
        assert warning["code"] == "audio_persistence_unavailable"
        assert status["diarization"] is True
        await stream.send(build_speech(ANN))
        await send_commit(stream)
        assert (await receive_until(stream, "diarization_summary"))[-1]["audio_path"] is None


@server_case("P12.8", "P12.10")
async def a_commit_sends_an_insight_last(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        status = await send_config(stream, insights=True, diarization=True, enable_partial=False)
        assert status["insights"] is True
        await stream.send(TALK)
        frames = [*await send_commit(stream), *await receive_until(stream, "insight")]
        kinds = [frame["type"] for frame in frames]
        assert kinds == ["final"] * 4 + ["full_transcript", "diarization_summary", "insight"]
        insight = frames[-1]
        assert (insight["stage"], insight["provider"]) == ("final", "rules")
        first, *_, last = filter_finals(frames)
        source = {"start": first["segment_start"], "end": last["segment_end"], "total_segments": 4}
        assert insight["source"] == {"segment_range": [1, 4], **source}
        await stream.send({"type": "commit"})
        await receive_until(stream, "full_transcript")
        await stream.send(build_speech(ANN))
        await stream.send({"type": "stop"})
        assert [f["type"] for f in await receive_until(stream, "insight")][-1] == "insight"
        assert await stream.receive() == {"type": "close", "code": 1000}


@server_case("P12.9", insights_interval_seconds=1.0)
async def a_live_insight_follows_new_finals_after_the_interval(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        await send_config(stream, insights={"interval_seconds": 1}, enable_partial=False)
        await stream.send(TALK)
        insight = (await receive_until(stream, "insight"))[-1]
        assert insight["stage"] == "live"


@server_case("P12.11", insights_provider="llm", insights_base_url="http://127.0.0.1:9", insights_model="m")
async def a_failed_insight_is_only_an_insight_error(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        await send_config(stream, insights=True, enable_partial=False)
        await stream.send(build_speech(ANN))
        await send_commit(stream)
        (error,) = await receive_until(stream, "insight_error")
        assert error["stage"] == "final"
        await stream.send(build_speech(ANN))
        assert check_transcript(await send_commit(stream)) == ANN
