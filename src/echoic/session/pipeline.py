"""Words as they are said to the client: those of a vocabulary in place of what was heard, times kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from echoic.audio.buffer import Tape
from echoic.audio.resample import Resampler
from echoic.audio.vad import AllSpeech, Ear
from echoic.interfaces.diarizer import Sound
from echoic.interfaces.engine import DecodeOptions, Hypothesis, ModelAnswer, Window, WindowNeeds
from echoic.interfaces.vad import VoiceActivity
from echoic.session.config import StreamConfig
from echoic.session.decoding.local_agreement import UtteranceReading
from echoic.session.decoding.overlap import PlainReading
from echoic.session.decoding.stateful import CarriedReading
from echoic.session.decoding.strategy import Answer, Cut, Piece, Reading, Spoken
from echoic.session.segments import Segments, Span
from echoic.session.speaker_tracking import Gatherer, Hearing
from echoic.text.replacements import Replacements
from echoic.units import TIME_DECIMALS, rescale, to_seconds

#: Seconds of audio without a new word after which the beginning of a phrase is said as it is.
_PATIENCE = 1.0


class Wording:
    """Says the words of one stretch, segment by segment.

    What may be the beginning of a phrase that is to be replaced waits until it is known how it goes on.
    """

    def __init__(self) -> None:
        self._held: list[Spoken] = []
        self._held_since = 0.0

    def say(
        self, words: Sequence[Spoken], replacements: Replacements, end: float, *, flush: bool
    ) -> list[Spoken]:
        """Return what is to be said of a segment's words.

        Args:
            words: Those that are new with it.
            replacements: What is put in place of what.
            end: Seconds on the session's clock at which it ends.
            flush: Everything is to be said.
        """
        known = [*self._held, *words]
        whole = len(known)
        if words:
            self._held_since = end
        if not flush and replacements.has_phrases and end - self._held_since < _PATIENCE:
            whole = replacements.unfinished([word.word for word in known])
        self._held = known[whole:]
        return reworded(known[:whole], replacements)

    def glimpse(self, words: Sequence[Spoken], replacements: Replacements) -> list[Spoken]:
        """Return what would be said of words that may still change."""
        return reworded([*self._held, *words], replacements)


def reworded(words: Sequence[Spoken], replacements: Replacements) -> list[Spoken]:
    """Return words with what was meant in place of what was heard.

    As many words as before keep their times, one by one. More or fewer share the time of those whose place
    they take, each by its letters; their confidence is that of the least sure.
    """
    said: list[Spoken] = []
    done = 0
    for edit in replacements.edits([word.word for word in words]) if replacements else ():
        said += words[done : edit.first]
        said += _put_in(words[edit.first : edit.end], edit.words)
        done = edit.end
    return [*said, *words[done:]]


def _put_in(heard: Sequence[Spoken], meant: Sequence[str]) -> list[Spoken]:
    if len(heard) == len(meant):
        return [replace(old, word=new) for old, new in zip(heard, meant, strict=True)]
    known = [word.confidence for word in heard if word.confidence is not None]
    ends = heard[0].about and heard[-1].about and (heard[0].about[0], heard[-1].about[1])
    like = replace(heard[0], confidence=min(known) if known else None, about=ends)
    start, end = heard[0].start, heard[-1].end
    if start is None or end is None:
        return [replace(like, word=word, start=None, end=None) for word in meant]
    whole = sum(len(word) for word in meant)
    edges = [start + (end - start) * part / whole for part in accumulate(map(len, meant), initial=0)]
    return [
        replace(like, word=word, start=begins, end=ends)
        for word, (begins, ends) in zip(meant, pairwise(edges), strict=True)
    ]


#: Hypotheses kept for windows that are asked for again: those of the last partials.
_KNOWN = 8


@dataclass(slots=True)
class Slot:
    """A planned window and what became of it.

    Attributes:
        piece: Where the window lies on the tape.
        key: The decode under way, or None.
        begins: Seconds on the session's clock of the window's first sample, once it was cut.
        failures: How often its decode failed.
        answer: What came back.
        known: The answer was there before the window was planned.
    """

    piece: Piece
    key: int | None = None
    begins: float = 0.0
    failures: int = 0
    answer: Answer | None = None
    known: bool = False

    @property
    def begun(self) -> bool:
        """Whether its decode is under way or done."""
        return self.key is not None or self.answer is not None

    @property
    def lost(self) -> bool:
        """Whether its decode was given up, and no later window brings its words."""
        return self.answer is not None and self.answer.hypothesis is None and self.piece.vital

    def settle(self, hypothesis: Hypothesis | None) -> None:
        """Take the hypothesis, or None: the decode is given up."""
        self.answer = Answer(self.piece, self.begins, hypothesis)


@dataclass(slots=True, eq=False)
class Plan:
    """The windows of one segment or one partial.

    Attributes:
        span: The segment's place, in samples of the client's audio.
        stretch: Where its audio is.
        slots: Its windows.
        flush: Everything heard is to be said.
        glimpse: It is for a partial.
        edge: float32, what the resampler still held back when the plan was made; for these windows
            it follows the tape's position ``edge_at``.
        edge_at: The tape's end when the plan was made.
        timed: Whether its words go out with their times.
        replacements: What is put in place of what in its words.
        silent: It has no audio; only words that were held back are said.
        hearing: Its sound on the way to the diarizer and back, or None: nobody asks who speaks.
    """

    span: Span
    stretch: Stretch
    slots: tuple[Slot, ...]
    flush: bool
    glimpse: bool
    edge: NDArray[np.float32] = field(repr=False)
    edge_at: int
    timed: bool
    replacements: Replacements
    silent: bool = False
    hearing: Hearing | None = None

    @property
    def running(self) -> tuple[int, ...]:
        """Keys of the decodes under way."""
        return tuple(slot.key for slot in self.slots if slot.key is not None)

    @property
    def complete(self) -> list[Answer] | None:
        """All answers, or None while some are missing."""
        answers = [slot.answer for slot in self.slots if slot.answer is not None]
        return answers if len(answers) == len(self.slots) else None

    @property
    def ready(self) -> bool:
        """Whether its words are known, and who says them if anybody listens for that."""
        return self.complete is not None and not (self.hearing and self.hearing.waits)

    @property
    def decoded(self) -> float:
        """Seconds of audio that it decodes."""
        return self.stretch.decoded_seconds(self.slots)


class Stretch:
    """The audio of a session since its sample rate or its engine last changed.

    Args:
        config: The session's settings.
        model: The engine that decodes it.
        voice: Makes the voice-activity detector, or None: everything is taken for speech.
        base: Seconds on the session's clock where the stretch begins.
    """

    def __init__(
        self,
        config: StreamConfig,
        model: ModelAnswer,
        voice: Callable[[], VoiceActivity] | None,
        base: float = 0.0,
    ) -> None:
        self.model = model
        self.segments = Segments(config.sample_rate, config.chunk_duration, config.overlap_duration, base)
        self._rate = model.needs.sample_rate or config.sample_rate
        self._resampler = Resampler(config.sample_rate, self._rate)
        self._tape = Tape()
        self._ear = Ear(voice(), self._rate, model.needs.longest) if voice else None
        self.reading: Reading = self._reading(model.needs)
        self._wording = Wording()
        self._phrase_is_open = False
        self._known: dict[tuple[int, int], Hypothesis] = {}
        self._gatherer: Gatherer | None = None
        self.take(config)

    def take(self, config: StreamConfig) -> None:
        """Use these settings for what is planned from here on, but for the sample rate and the windows."""
        words = config.vocabulary
        self.options = DecodeOptions(config.language, words.hotwords, words.prompt)
        self.timed, self._replacements = config.word_timestamps, words.replacements

    def _reading(self, needs: WindowNeeds) -> Reading:
        speech = self._ear.speech_between if self._ear else None
        match needs.reading:
            case "carried":
                return CarriedReading(needs, self._rate, self._clock, speech)
            case "utterance":
                self._ear = self._ear or Ear(AllSpeech(), self._rate, needs.longest)
                return UtteranceReading(self._ear, needs.step, needs.sure)
            case "plain":
                return PlainReading(self._rate, self._clock, speech, timed=needs.times)

    def _clock(self, position: int) -> float:
        """Return a position on the tape as seconds on the session's clock."""
        return round(self.segments.base + position / self._rate, TIME_DECIMALS)

    def place(self, piece: Piece) -> tuple[float, float]:
        """Return where a window's new audio begins and where the window ends, on the session's clock."""
        return self._clock(piece.new), self._clock(piece.end)

    def hear(self, samples: NDArray[np.float32]) -> int:
        """Take samples up to the end of the window that is due and return how many were taken."""
        taken = samples[: self.segments.due - self.segments.heard]
        heard = self._resampler.push(taken)
        self._tape.append(heard)
        if self._ear:
            self._ear.push(heard)
        if self._gatherer:
            self._gatherer.add(taken, heard)
        self.segments.heard += len(taken)
        return len(taken)

    def gather(self, *, wanted: bool) -> None:
        """Gather audio for ``sound`` from here on, or no more."""
        if not wanted:
            self._gatherer = None
        elif self._gatherer is None:
            self._gatherer = Gatherer(self.segments.rate, self._rate, self._tape.end)

    def sound(self, *, last: bool) -> Sound | None:
        """Return the audio gathered since the last call, and where there is speech in it."""
        if self._gatherer is None:
            return None
        audio, begin, end = self._gatherer.take()
        spoken = self._ear.spoken_between(begin, end) if self._ear else ((begin, end),)
        here = self._gatherer.here
        speech = tuple((here(start, begin), min(here(stop, begin), len(audio))) for start, stop in spoken)
        return Sound(audio, self._clock(begin), speech, last=last)

    @property
    def holds(self) -> bool:
        """Whether words of the segments before may still be unsaid."""
        return self.reading.holds or self._phrase_is_open

    def close_segment(self, *, flush: bool) -> Plan:
        """End the segment here and return the windows that its words are in."""
        silent = not (self.segments.pending or self.reading.holds)
        span = self.segments.close()
        pieces = () if silent else self.reading.plan(self._cut(span, flush=flush))
        self._phrase_is_open = not flush and self._replacements.has_phrases
        plan = self._plan(span, pieces, flush=flush, glimpse=False)
        plan.silent = silent
        return plan

    def say(self, plan: Plan, answers: Sequence[Answer]) -> list[Spoken]:
        """Return the words that are new with a segment, as they are to be said."""
        words = [] if plan.silent else self.reading.say(answers, flush=plan.flush)
        end = self.segments.seconds(plan.span.end)
        return self._wording.say(words, plan.replacements, end, flush=plan.flush)

    def glimpse(self, plan: Plan, answers: Sequence[Answer]) -> list[Spoken]:
        """Return the words heard beyond what was said, settled or not, as they would be said."""
        return self._wording.glimpse(self.reading.glimpse(answers), plan.replacements)

    def glance(self) -> Plan:
        """Return the windows for a partial at what is heard."""
        span = self.segments.span()
        return self._plan(span, self.reading.look(self._cut(span, flush=False)), flush=False, glimpse=True)

    def _cut(self, span: Span, *, flush: bool) -> Cut:
        rate = self.segments.rate
        shared = self.segments.overlap_at(span.end)
        places = (span.context, span.start, span.end, shared)
        context, start, end, shared = (rescale(samples, rate, self._rate) for samples in places)
        return Cut(context, start, end, shared, flush=flush)

    def _plan(self, span: Span, pieces: tuple[Piece, ...], *, flush: bool, glimpse: bool) -> Plan:
        slots = tuple(self._slot(piece) for piece in pieces)
        edge = self._resampler.tail()
        return Plan(span, self, slots, flush, glimpse, edge, self._tape.end, self.timed, self._replacements)

    def _slot(self, piece: Piece) -> Slot:
        slot = Slot(piece, begins=self._clock(piece.start))
        if known := self._known.get((piece.start, piece.end)):
            slot.settle(known)
            slot.known = True
        return slot

    def remember(self, plan: Plan, slot: Slot, hypothesis: Hypothesis) -> None:
        """Keep a hypothesis for when its window is asked for again, if all its audio was on the tape."""
        if self.reading.repeats and slot.piece.end <= plan.edge_at:
            self._known[slot.piece.start, slot.piece.end] = hypothesis
            if len(self._known) > _KNOWN:
                del self._known[next(iter(self._known))]

    def window(self, plan: Plan, slot: Slot) -> Window:
        """Cut a planned window from the tape."""
        piece = slot.piece
        start = max(piece.start, self._tape.start)
        edge_from = min(max(start, plan.edge_at), piece.end)
        audio = self._tape.read(start, edge_from) if start < plan.edge_at else np.empty(0, np.float32)
        if piece.end > edge_from:
            audio = np.concatenate([audio, plan.edge[edge_from - plan.edge_at : piece.end - plan.edge_at]])
        slot.begins = self._clock(start)
        return Window(
            audio,
            self._rate,
            slot.begins,
            left=max(piece.new - start, 0),
            new=piece.right - max(piece.new, start),
            right=piece.end - piece.right,
            last=piece.last,
            glimpse=plan.glimpse,
            carry=self.reading.carry,
            options=self.options,
        )

    def decoded_seconds(self, slots: Iterable[Slot]) -> float:
        """Return the seconds of audio in these windows."""
        samples = sum(slot.piece.end - max(slot.piece.start, 0) for slot in slots)
        return to_seconds(samples, self._rate)

    def forget(self, plans: Iterable[Plan]) -> None:
        """Drop audio that neither these plans nor a later one will ask for."""
        places = [slot.piece.start for p in plans if p.stretch is self for slot in p.slots]
        context = rescale(self.segments.span().context, self.segments.rate, self._rate)
        self._tape.forget(min([*places, context, self.reading.needs_from]))
        if self._ear:
            self._ear.forget(min(context, self.reading.needs_from))
