"""Output queue of a session: sends finals and replies in order and requests the decodes that they need."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from echoic.errors import DecodeFailed
from echoic.interfaces.diarizer import DiarizationResult, SpeakerTurn
from echoic.interfaces.engine import Hypothesis
from echoic.protocol.frames import DiarizationSummary, FullTranscript, ServerFrame, Status
from echoic.session.decoding.strategy import TimedWord
from echoic.session.effects import CancelDecodes, Close, Decode, Diarize, Effect, FinalizeDiarization, Send
from echoic.session.pipeline import PendingSegment, PendingWindow, RecognitionPipeline
from echoic.session.rendering import build_decode_error, build_diarization_warning, build_final, build_partial
from echoic.session.sized_queue import SizedQueue
from echoic.session.speaker_tracking import DiarizationRequest, SpeakerTracker

_MICROSECONDS_PER_SECOND = 1_000_000
#: Maximum decodes of one window.
_MAX_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class PendingFrame:
    """A frame to send after earlier segments."""

    frame: ServerFrame


@dataclass(frozen=True, slots=True)
class PendingTranscript:
    """A transcript to send after earlier segments."""

    is_required: bool
    """Whether to send it even if it is empty."""


@dataclass(slots=True, eq=False)
class PendingDiarizationSummary:
    """A diarization summary to send once the turns of the whole session are finalized."""

    tracker: SpeakerTracker
    """Speakers of the session."""
    key: int | None = None
    """Key of the running request, or None."""
    is_answered: bool = False
    """Whether the request is done."""
    turns: tuple[SpeakerTurn, ...] | None = None
    """Final turns, or None if finalizing failed and the earlier turns remain."""


@dataclass(frozen=True, slots=True)
class ResetDone:
    """Confirms a reset; ids and transcript start again."""


@dataclass(frozen=True, slots=True)
class CloseAfter:
    """Closes the connection after all earlier items."""

    code: int


#: A segment, or an item between segments.
OutputItem = (
    PendingSegment | PendingFrame | PendingTranscript | PendingDiarizationSummary | ResetDone | CloseAfter
)


def count_microseconds(item: OutputItem) -> int:
    """Return the microseconds of new audio in an item: at least 1 for a segment, 0 for others."""
    if not isinstance(item, PendingSegment):
        return 0
    return max(1, round(_MICROSECONDS_PER_SECOND * item.seconds))


class Transcript:
    """Texts of finals, joined by single spaces."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def add(self, text: str) -> None:
        """Append the text of a final; an empty text is ignored."""
        if text:
            self._texts.append(text)

    @property
    def text(self) -> str:
        """The joined texts."""
        return " ".join(self._texts)

    def take_text(self) -> str:
        """Return the joined texts and clear the transcript."""
        text = self.text
        self._texts.clear()
        return text


class OutputQueue:
    """Segments and replies on their way to the client, in order, and at most one partial beside them."""

    def __init__(self) -> None:
        self._items: SizedQueue[OutputItem] = SizedQueue(count_microseconds)
        self._added_microseconds = 0
        self._partial: PendingSegment | None = None
        self._running: dict[int, tuple[PendingSegment, PendingWindow]] = {}
        self._diarizing: dict[int, DiarizationRequest | PendingDiarizationSummary] = {}
        self._keys = itertools.count(1)
        self._final_count = 0
        self._transcript = Transcript()
        #: Name of the session's recording for the diarization summary, or None.
        self.recording: str | None = None
        #: Whether the connection was closed.
        self.is_over = False

    # ---- items

    def add_item(self, item: OutputItem) -> None:
        """Add an item behind all others."""
        self._items.append(item)
        self._added_microseconds += count_microseconds(item)

    def discard_segments(self) -> Iterator[Effect]:
        """Discard the partial, and segments that no later reply depends on."""
        yield from self._cancel_partial()
        cancelled: list[int] = []
        while self._items and isinstance(segment := self._items[-1], PendingSegment):
            self._items.pop()
            cancelled += segment.running_keys
            if segment.diarization and segment.diarization.key is not None:
                self._diarizing.pop(segment.diarization.key, None)
        yield from self._cancel_decodes(cancelled)

    def replace_partial(self, partial: PendingSegment) -> Iterator[Effect]:
        """Replace the pending partial, if any."""
        yield from self._cancel_partial()
        self._partial = partial

    @property
    def pending_segments(self) -> list[PendingSegment]:
        """Segments that are not delivered, then the partial."""
        segments = [item for item in self._items if isinstance(item, PendingSegment)]
        return [*segments, self._partial] if self._partial else segments

    @property
    def pending_finals(self) -> int:
        """Number of segments that are not delivered."""
        return self._items.sized_count

    @property
    def pending_replies(self) -> int:
        """Number of other items that are not delivered."""
        return self._items.unsized_count

    @property
    def pending_seconds(self) -> float:
        """Seconds of audio in the segments that are not delivered."""
        return self._items.size / _MICROSECONDS_PER_SECOND

    @property
    def progress(self) -> tuple[int, int]:
        """Microseconds of audio in all segments so far, and in the delivered ones."""
        return self._added_microseconds, self._added_microseconds - self._items.size

    # ---- results

    def on_decoded(self, key: int, outcome: Hypothesis | DecodeFailed) -> None:
        """Store the result of a decode; results of cancelled decodes are ignored."""
        segment, window = self._running.pop(key, (None, None))
        if segment is None or window is None:
            return
        window.key = None
        if not isinstance(outcome, DecodeFailed):
            segment.set_hypothesis(window, outcome)
        elif segment is self._partial:
            self._partial = None
        else:
            window.failures += _MAX_ATTEMPTS if outcome.is_last else 1
            if window.failures >= _MAX_ATTEMPTS:
                window.set_hypothesis(None)

    def on_diarized(self, key: int, result: DiarizationResult | None) -> list[Effect]:
        """Store the result of ``Diarize``, or None if it failed."""
        request = self._diarizing.pop(key, None)
        if isinstance(request, DiarizationRequest) and request.tracker.on_result(request, result):
            return [Send(build_diarization_warning())]
        return []

    def on_diarization_finalized(self, key: int, turns: tuple[SpeakerTurn, ...] | None) -> None:
        """Store the result of ``FinalizeDiarization``, or None if it failed."""
        summary = self._diarizing.pop(key, None)
        if isinstance(summary, PendingDiarizationSummary):
            summary.is_answered, summary.turns = True, turns

    # ---- sending

    def send_ready_finals(self) -> list[Effect]:
        """Send the finals and replies that are ready, in order, and request decodes for the others."""
        effects: list[Effect] = []
        if self.pending_finals:
            effects += self._cancel_partial()
        while self._items:
            item = self._items[0]
            if isinstance(item, PendingSegment) and not item.is_ready:
                break
            if (
                isinstance(item, PendingDiarizationSummary)
                and not item.is_answered
                and item.tracker.has_unreported
            ):
                effects += self._request_finalization(item)
                break
            self._items.popleft()
            effects += self._send_item(item)
        effects += self._send_partial()
        if segments := self.pending_segments:  # usually none
            effects += self._request_decodes(segments)
        return effects

    def _send_item(self, item: OutputItem) -> Iterator[Effect]:
        match item:
            case PendingFrame(frame):
                yield Send(frame)
            case PendingTranscript(is_required):
                text = self._transcript.take_text()
                if text or is_required:
                    yield Send(FullTranscript(text=text))
            case PendingDiarizationSummary():
                yield from self._send_summary(item)
            case ResetDone():
                self._final_count = 0
                self._transcript.take_text()
                yield Send(Status(state="reset"))
            case CloseAfter(code):
                yield from self._close_stream(code)
            case PendingSegment():
                yield from self._send_final(item)
            case _:
                assert_never(item)

    def _send_final(self, segment: PendingSegment) -> Iterator[Effect]:
        """Send the segment's final if it has words, after an error if audio was lost."""
        words = segment.emit_words()
        if segment.has_lost_audio:
            yield Send(build_decode_error(segment))
        if words:
            self._final_count += 1
            speakers = self._label_words(segment, words)
            final = build_final(segment, self._final_count, words, speakers)
            self._transcript.add(final.text)
            yield Send(final)

    def _label_words(self, segment: PendingSegment, words: Sequence[TimedWord]) -> Sequence[int | None]:
        """Return the speakers of the words of the next final; empty if unknown."""
        request = segment.diarization
        if request is None or not request.is_answered:
            return ()
        start, end = segment.start_seconds, segment.end_seconds
        return request.tracker.label_words(self._final_count, words, start, end)

    def _send_summary(self, summary: PendingDiarizationSummary) -> Iterator[Effect]:
        if summary.tracker.has_unreported:
            segments, speakers = summary.tracker.take_summary(summary.turns)
            yield Send(DiarizationSummary(speaker_map=segments, audio_path=self.recording, speakers=speakers))

    def _send_partial(self) -> Iterator[Effect]:
        partial = self._partial
        if partial is None or partial.results is None:
            return
        self._partial = None
        if words := partial.preview_words():
            yield Send(build_partial(partial, self._final_count + 1, words))

    def _close_stream(self, code: int) -> Iterator[Effect]:
        self._partial = None
        self.is_over = True
        yield from self._cancel_decodes(tuple(self._running))
        yield Close(code)

    # ---- requests

    def _request_decodes(self, segments: Sequence[PendingSegment]) -> Iterator[Effect]:
        """Request decodes in order, at most ``max_ahead`` per pipeline at a time.

        For the oldest segment of a pipeline, only running decodes count against ``max_ahead``. For later
        segments, finished decodes count too, so that a pipeline does not decode far ahead of its output.
        """
        windows = [(s.pipeline, window) for s in segments for window in s.windows if not window.is_cached]
        started: Counter[RecognitionPipeline] = Counter(p for p, window in windows if window.is_started)
        running: Counter[RecognitionPipeline] = Counter(p for p, window in windows if window.key is not None)
        oldest: dict[RecognitionPipeline, PendingSegment] = {}
        for segment in segments:
            pipeline = segment.pipeline
            count = running if oldest.setdefault(pipeline, segment) is segment else started
            for window in segment.windows:
                if not window.is_started and count[pipeline] < segment.max_ahead:
                    running[pipeline] += 1
                    started[pipeline] += 1
                    yield self._request_decode(segment, window)
            yield from self._request_diarization(segment)

    def _request_decode(self, segment: PendingSegment, window: PendingWindow) -> Decode:
        window.key = next(self._keys)
        self._running[window.key] = (segment, window)
        is_final = segment is not self._partial
        return Decode(window.key, segment.cut_window(window), segment.model_name, is_final=is_final)

    def _request_diarization(self, segment: PendingSegment) -> Iterator[Effect]:
        """Request diarization of a segment, one at a time: the state goes from chunk to chunk."""
        request = segment.diarization
        if request and request.is_waiting and request.key is None and not request.tracker.is_busy:
            key = next(self._keys)
            self._diarizing[key] = request
            yield Diarize(key, request.tracker.start_request(request, key))

    def _request_finalization(self, summary: PendingDiarizationSummary) -> Iterator[Effect]:
        if summary.key is None:
            summary.key = next(self._keys)
            self._diarizing[summary.key] = summary
            yield FinalizeDiarization(summary.key, summary.tracker.state)

    def _cancel_partial(self) -> Iterator[Effect]:
        partial, self._partial = self._partial, None
        if partial:
            yield from self._cancel_decodes(partial.running_keys)

    def _cancel_decodes(self, keys: Sequence[int]) -> Iterator[Effect]:
        for key in keys:
            del self._running[key]
        if keys:
            yield CancelDecodes(tuple(keys))
