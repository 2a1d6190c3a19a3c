"""Tests of the output queue and its transcript."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from echoic.errors import DecodeFailed
from echoic.interfaces.engine import EngineRequirements, OpenedModel, build_text_hypothesis
from echoic.protocol.frames import FullTranscript, Pong, Status
from echoic.session.config import StreamConfig
from echoic.session.effects import Close, Decode, Send
from echoic.session.output_queue import (
    CloseAfter,
    OutputQueue,
    PendingFrame,
    PendingTranscript,
    ResetDone,
    Transcript,
    count_microseconds,
)
from echoic.session.pipeline import RecognitionPipeline
from support.session_driver import build_silence


def test_texts_are_joined_by_single_spaces() -> None:
    transcript = Transcript()
    for text in ("Good morning", "", "everyone."):
        transcript.add(text)
    assert transcript.text == "Good morning everyone."


def test_taking_the_text_clears_the_transcript() -> None:
    transcript = Transcript()
    transcript.add("one")
    assert transcript.take_text() == "one"
    assert transcript.take_text() == ""
    transcript.add("two")
    assert transcript.text == "two"


@given(st.lists(st.lists(st.from_regex(r"\w+", fullmatch=True)).map(" ".join)))
def test_no_word_is_lost_or_added(texts: list[str]) -> None:
    transcript = Transcript()
    for text in texts:
        transcript.add(text)
    assert transcript.text.split() == " ".join(texts).split()


def build_pipeline() -> RecognitionPipeline:
    model = OpenedModel("fixed", EngineRequirements("overlap", sample_rate=None))
    return RecognitionPipeline(StreamConfig(), model, None)


def test_items_are_delivered_in_order() -> None:
    queue = OutputQueue()
    for item in (PendingFrame(Pong()), PendingTranscript(is_required=True), ResetDone(), CloseAfter(1000)):
        queue.add_item(item)
    assert queue.pending_replies == 4
    assert queue.send_ready_finals() == [
        Send(Pong()),
        Send(FullTranscript(text="")),
        Send(Status(state="reset")),
        Close(1000),
    ]
    assert queue.is_over


def test_an_empty_transcript_is_sent_only_if_required() -> None:
    queue = OutputQueue()
    queue.add_item(PendingTranscript(is_required=False))
    assert queue.send_ready_finals() == []


def test_a_segment_waits_for_its_decode_and_holds_back_replies() -> None:
    pipeline, queue = build_pipeline(), OutputQueue()
    pipeline.push_audio(build_silence(2.0))
    segment = pipeline.close_segment(flush=True)
    queue.add_item(segment)
    queue.add_item(PendingTranscript(is_required=True))
    (decode,) = queue.send_ready_finals()
    assert isinstance(decode, Decode)
    assert (queue.pending_finals, queue.pending_seconds) == (1, 2.0)
    assert queue.progress == (2_000_000, 0)
    queue.on_decoded(decode.key, build_text_hypothesis("hello"))
    texts = [effect.frame.text for effect in queue.send_ready_finals()]  # type: ignore[union-attr]
    assert texts == ["hello", "hello"]
    assert queue.progress == (2_000_000, 2_000_000)


def test_a_failed_decode_is_requested_once_more() -> None:
    pipeline, queue = build_pipeline(), OutputQueue()
    pipeline.push_audio(build_silence(2.0))
    queue.add_item(pipeline.close_segment(flush=True))
    (first,) = queue.send_ready_finals()
    assert isinstance(first, Decode)
    queue.on_decoded(first.key, DecodeFailed())
    (second,) = queue.send_ready_finals()
    assert isinstance(second, Decode)
    assert second.key != first.key
    queue.on_decoded(second.key, DecodeFailed())
    (error,) = queue.send_ready_finals()
    assert isinstance(error, Send)
    assert queue.pending_finals == 0


def test_a_decode_that_must_not_be_retried_is_given_up_at_once() -> None:
    pipeline, queue = build_pipeline(), OutputQueue()
    pipeline.push_audio(build_silence(2.0))
    queue.add_item(pipeline.close_segment(flush=True))
    (decode,) = queue.send_ready_finals()
    assert isinstance(decode, Decode)
    queue.on_decoded(decode.key, DecodeFailed(is_last=True))
    (error,) = queue.send_ready_finals()
    assert isinstance(error, Send)


def test_only_segments_count_as_audio() -> None:
    pipeline = build_pipeline()
    pipeline.push_audio(build_silence(0.5))
    assert count_microseconds(pipeline.close_segment(flush=True)) == 500_000
    assert count_microseconds(pipeline.close_segment(flush=True)) == 1
    assert count_microseconds(ResetDone()) == 0
