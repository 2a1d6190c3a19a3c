"""Re-creates a lost session: keeps the recent audio, replays it, and drops words already delivered."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final, Literal

import msgspec

from echoic.client.messages import ReceivedFrame
from echoic.errors import ErrorCode
from echoic.protocol import frames
from echoic.protocol.frames import Configured, Error, FullTranscript, Partial, Pong, Status, Word
from echoic.units import TIME_DECIMALS

MessageKind = Literal["audio", "ping", "commit", "config", "reset", "stop"]

#: Seconds before the last final that are replayed at least. Words can be pending for as long: a decoder
#: holds back what later audio may still change.
REPLAY_LEAD: Final = 20.0
#: Seconds after the last final by which every word before it has been decoded again.
_SETTLE_SECONDS: Final = 5.0
#: Audio that the server received this many seconds ago and that produced no final counts as silence and is
#: dropped.
SILENCE_SECONDS: Final = 120.0
#: Bytes of a sample: this client sends mono float32.
_SAMPLE_BYTES: Final = 4
#: Keys whose values are seconds on the session's clock.
_TIME_KEYS: Final = frozenset(
    {f"{name}_{edge}" for name in ("segment", "chunk", "spoken") for edge in ("start", "end")}
    | {"cumulative_audio", "start", "end"}
)
#: Keys whose values are ids of finals, or count them.
_SEGMENT_ID_KEYS: Final = frozenset({"segment_id", "total_segments"})
_CONFIG_ERROR_CODES: Final = frozenset(
    {ErrorCode.INVALID_CONFIG, ErrorCode.MODEL_UNAVAILABLE, ErrorCode.BAD_JSON}
)


class SentLog:
    """Sent messages that a new session needs: recent audio, and control messages without an answer.

    Args:
        config: The config that opened the session.
        configured: Its answer.
    """

    def __init__(self, config: Mapping[str, object], configured: Configured) -> None:
        #: The config in force at ``start``.
        self.config = _resolve_config(config, configured)
        #: Seconds on the session's clock at which the log begins.
        self.start = 0.0
        self._sample_rate = configured.sample_rate
        self._messages: deque[tuple[MessageKind, str | bytes]] = deque()

    @property
    def messages(self) -> list[str | bytes]:
        """The messages in the order in which they were sent."""
        return [message for _, message in self._messages]

    def append(self, message: str | bytes) -> None:
        """Add a message."""
        kind: MessageKind = "audio" if isinstance(message, bytes) else msgspec.json.decode(message)["type"]
        self._messages.append((kind, message))

    def has_unanswered(self, kind: MessageKind) -> bool:
        """Return whether a message of this kind has no answer yet."""
        return self._locate(kind) is not None

    def remove(self, kind: MessageKind) -> float | None:
        """Remove the oldest message of a kind, whose answer has arrived.

        Returns:
            Its time in seconds on the session's clock, or None if there is no such message.
        """
        if (found := self._locate(kind)) is None:
            return None
        index, second = found
        del self._messages[index]
        return second

    def apply_config(self, configured: Configured) -> None:
        """Merge the oldest logged ``config``, whose answer has arrived, into the config for a new session.

        Audio before it is kept, unless the sample rate changes: a session is replayed at one rate.
        """
        if (found := self._locate("config")) is None:
            return
        changes = msgspec.json.decode(self._messages[found[0]][1])
        self.config = _resolve_config(_merge_configs(self.config, changes), configured)
        if configured.sample_rate != self._sample_rate:
            self.discard_until("config")
        self.remove("config")
        self._sample_rate = configured.sample_rate

    def discard_until(self, kind: MessageKind) -> None:
        """Drop everything before the first message of a kind."""
        if (found := self._locate(kind)) is not None:
            index, second = found
            for _ in range(index):
                self._messages.popleft()
            self.start = round(second, TIME_DECIMALS)

    def restart_clock(self) -> None:
        """Drop everything up to the oldest ``reset``, whose answer has arrived: it sets the clock to zero."""
        self.discard_until("reset")
        self.remove("reset")
        self.start = 0.0

    def discard_before(self, second: float) -> None:
        """Drop audio before a second on the clock, in whole samples."""
        samples = round((second - self.start) * self._sample_rate)
        while samples > 0 and self._messages and isinstance(audio := self._messages[0][1], bytes):
            self._messages.popleft()
            taken = min(samples, len(audio) // _SAMPLE_BYTES)
            if rest := audio[taken * _SAMPLE_BYTES :]:
                self._messages.appendleft(("audio", rest))
            samples -= taken
            self.start += taken / self._sample_rate

    def _locate(self, kind: MessageKind) -> tuple[int, float] | None:
        """Return the index of the first message of a kind, and its second on the clock."""
        size = 0
        for index, (one, message) in enumerate(self._messages):
            if one == kind:
                return index, self.start + size / _SAMPLE_BYTES / self._sample_rate
            if one == "audio":
                size += len(message)
        return None


def _merge_configs(config: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Return a config with changes; one that names a model and no variant drops the old variant."""
    new_values = {key: value for key, value in changes.items() if value is not None and key != "type"}
    variants = (
        {"model_variant", "variant"} if new_values.keys() & {"model", "model_variant", "variant"} else set()
    )
    return {key: value for key, value in config.items() if key not in variants} | new_values


def _resolve_config(config: Mapping[str, object], configured: Configured) -> dict[str, object]:
    """Return a config with the durations in force: one of them alone might not fit the other's default."""
    return {
        **config,
        "chunk_duration": configured.chunk_duration,
        "overlap_duration": configured.overlap_duration,
    }


class WordMatcher:
    """Finds how many of the words of a new session were delivered by the lost one.

    All delivered words are aligned with the beginning of the decoded ones by edit distance, so a word
    that is decoded differently the second time does not matter.

    Source:
        P. H. Sellers, "The theory and computation of evolutionary distances", J. Algorithms 1, 1980.

    Args:
        delivered: Words that the lost session delivered from the replayed audio.
    """

    def __init__(self, delivered: Iterable[str]) -> None:
        self._delivered = [_normalize(word) for word in delivered]
        #: Distance of each prefix of the delivered words to all decoded words.
        self._distances = list(range(len(self._delivered) + 1))
        self._lowest = len(self._delivered)
        self._count = 0
        #: How many of the decoded words are known to be repetitions.
        self.repeated_count = 0

    def push_word(self, word: str) -> None:
        """Add the next decoded word."""
        self._count += 1
        decoded, diagonal = _normalize(word), self._distances[0]
        self._distances[0] = self._count
        for index, delivered in enumerate(self._delivered, start=1):
            substituted = diagonal + (delivered != decoded)
            diagonal = self._distances[index]
            self._distances[index] = min(substituted, diagonal + 1, self._distances[index - 1] + 1)
        if self._distances[-1] < self._lowest:
            self._lowest, self.repeated_count = self._distances[-1], self._count

    @property
    def is_complete(self) -> bool:
        """Whether the decoded words have probably passed the end of the delivered ones."""
        return self._lowest <= min(self._distances[:-1], default=self._lowest)


def _normalize(word: str) -> str:
    return "".join(letter for letter in word.casefold() if letter.isalnum())


class SessionReplay:
    """What is needed to continue a lost session in a new one.

    The new session decodes the audio since shortly before the last final once more. Words that were delivered
    are dropped; times, ids and transcripts continue those of the lost session.

    Args:
        config: The config that opened the session.
        configured: Its answer.
    """

    def __init__(self, config: Mapping[str, object], configured: Configured) -> None:
        self._log = SentLog(config, configured)
        self._is_replaying = False
        self._ignored_pongs = 0
        self._texts: list[str] = []  # of finals since the last commit
        self._reset_clock()

    def _reset_clock(self) -> None:
        self._time_shift, self._id_shift = 0.0, 0  # added to the server's times and ids
        self._last_end, self._last_id = 0.0, 0
        self._delivered: deque[tuple[float, list[str]]] = deque()  # ends and words of finals in the log
        self._stop_matching()

    def _stop_matching(self) -> None:
        self._matcher: WordMatcher | None = None
        self._held_words: list[tuple[str, Word | None]] = []
        self._held_final: frames.Final | None = None

    # ---- sent messages

    @property
    def config(self) -> Mapping[str, object]:
        """The config that a new session needs."""
        return self._log.config

    def record_message(self, message: str | bytes) -> None:
        """Record a message before or after it is sent."""
        self._log.append(message)

    def replay_messages(self) -> list[str | bytes]:
        """Return the messages that a new session needs; from here on frames are those of that session."""
        self._is_replaying, self._ignored_pongs = True, 0
        self._time_shift, self._id_shift = self._log.start, self._last_id
        self._stop_matching()
        if words := [word for _, words in self._delivered for word in words]:
            self._matcher = WordMatcher(words)
        return self._log.messages

    def ignore_pong(self) -> None:
        """Drop one ``pong``: the answer to a ping that the user did not send."""
        self._ignored_pongs += 1

    # ---- received frames

    def shift_times(self, body: Any) -> None:  # noqa: ANN401  # any JSON value
        """Change the times and ids in a frame of a new session to those of the first session, in place."""
        if isinstance(body, list):
            for item in body:
                self.shift_times(item)
        if not isinstance(body, dict) or not self._is_replaying:
            return
        for key, value in body.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                if key in _TIME_KEYS:
                    body[key] = round(value + self._time_shift, TIME_DECIMALS)
                elif key in _SEGMENT_ID_KEYS:
                    body[key] = value + self._id_shift
            elif key == "segment_range" and isinstance(value, list):
                body[key] = [item + self._id_shift if isinstance(item, int) else item for item in value]
            else:
                self.shift_times(value)

    def filter_frame(self, frame: ReceivedFrame) -> list[ReceivedFrame]:
        """Record a frame and return the frames to deliver: none if they were delivered before."""
        handle = self._HANDLERS.get(type(frame))
        return [frame] if handle is None else handle(self, frame)

    @property
    def owed_transcript(self) -> FullTranscript | None:
        """The transcript of a stopped stream if the new session had no words, and so sends none."""
        is_owed = self._is_replaying and self._log.has_unanswered("stop") and self._texts
        return FullTranscript(text=" ".join(self._texts)) if is_owed else None

    def _on_final(self, frame: frames.Final) -> list[ReceivedFrame]:
        if self._matcher is None:
            return [self._deliver_final(frame, [word for word, _ in _split_words(frame)])]
        for word in _split_words(frame):
            self._matcher.push_word(word[0])
            self._held_words.append(word)
        self._held_final = frame
        is_new = frame.segment_end > self._last_end and self._matcher.is_complete
        if is_new or frame.segment_start >= self._last_end + _SETTLE_SECONDS:
            return self._release_final()
        self._id_shift -= frame.segment_id - self._last_id
        return []

    def _release_final(self) -> list[ReceivedFrame]:
        """Return the words of the held finals that are new, as one final; later finals are all new."""
        frame, matcher, held = self._held_final, self._matcher, self._held_words
        self._stop_matching()
        if frame is None or matcher is None:
            return []
        words = held[matcher.repeated_count :]
        if not words:
            self._id_shift -= frame.segment_id - self._last_id
            return []
        if isinstance(frame.words, tuple):
            frame = replace(frame, words=tuple(word for _, word in words if word is not None))
        texts = [text for text, _ in words]
        return [self._deliver_final(replace(frame, text=" ".join(texts)), texts)]

    def _deliver_final(self, frame: frames.Final, words: list[str]) -> frames.Final:
        if self._is_replaying:
            start = max(frame.segment_start, self._last_end)
            end = max(frame.segment_end, start)
            self._id_shift += self._last_id + 1 - frame.segment_id
            frame = replace(
                frame,
                segment_id=self._last_id + 1,
                segment_start=start,
                segment_end=end,
                new_audio_duration=round(end - start, TIME_DECIMALS),
                cumulative_audio=end,
            )
        self._last_id, self._last_end = frame.segment_id, frame.segment_end
        self._texts.append(frame.text)
        self._delivered.append((frame.segment_end, words))
        ends = [end for end, _ in self._delivered if end <= self._last_end - REPLAY_LEAD]
        if ends and not self._log.has_unanswered("reset"):
            self._discard_before(ends[-1])
        return frame

    def _discard_before(self, second: float) -> None:
        """Drop audio before a second on the clock, and the finals that lie there."""
        self._log.discard_before(second)
        while self._delivered and self._delivered[0][0] <= self._log.start:
            self._delivered.popleft()

    def _on_partial(self, frame: Partial) -> list[ReceivedFrame]:
        return [] if self._matcher is not None else [frame]

    def _on_full_transcript(self, frame: FullTranscript) -> list[ReceivedFrame]:
        late = self._release_final()
        second = self._log.remove("commit")
        if is_commit := second is not None:
            self._last_end = max(self._last_end, second)
        else:
            self._log.discard_until("stop")  # which stays: a new session must be stopped too
            self._discard_before(self._log.start)
        text, self._texts = " ".join(self._texts), []
        if not self._is_replaying:
            return [frame]
        return [*late, replace(frame, text=text)] if text or is_commit else late

    def _on_configured(self, frame: Configured) -> list[ReceivedFrame]:
        late = self._release_final()
        self._log.apply_config(frame)
        self._discard_before(self._log.start)
        return [*late, frame]

    def _on_status(self, frame: Status) -> list[ReceivedFrame]:
        if frame.state == "reset":
            self._log.restart_clock()
            self._texts = []
            self._reset_clock()
        return [frame]

    def _on_pong(self, frame: Pong) -> list[ReceivedFrame]:
        if self._ignored_pongs:
            self._ignored_pongs -= 1
            return []
        second = self._log.remove("ping")
        if second is not None and not self._log.has_unanswered("reset"):
            silent_since = second - SILENCE_SECONDS
            if silent_since > max(self._last_end, self._log.start + REPLAY_LEAD):
                self._discard_before(silent_since)
        return [frame]

    def _on_error(self, frame: Error) -> list[ReceivedFrame]:
        if frame.code in _CONFIG_ERROR_CODES:
            self._log.remove("config")
        end = frame.detail.get("end")
        is_old = self._matcher is not None and isinstance(end, float) and end <= self._last_end
        return [] if is_old and frame.code == ErrorCode.DECODE_FAILED else [frame]

    _HANDLERS: ClassVar[Mapping[type, Callable[..., list[ReceivedFrame]]]] = {
        frames.Final: _on_final,
        Configured: _on_configured,
        Error: _on_error,
        FullTranscript: _on_full_transcript,
        Partial: _on_partial,
        Pong: _on_pong,
        Status: _on_status,
    }


def _split_words(frame: frames.Final) -> list[tuple[str, Word | None]]:
    if isinstance(frame.words, tuple):
        return [(word.word, word) for word in frame.words]
    return [(text, None) for text in frame.text.split()]
