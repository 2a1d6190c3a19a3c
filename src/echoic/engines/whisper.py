"""OpenAI's Whisper by faster-whisper (CTranslate2): whole utterances, one encoding and one decoding each.

Whisper was made for 30 s: shorter audio is followed by silence up to there, and its encoder costs the same
whatever was said. Here the silence is cut short on a processor (``Tuning.spare``), and the session is asked
not to decode a growing utterance too often (``Tuning.step``): docs/decisions/0010.
Source: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision",
https://arxiv.org/abs/2212.04356; the limits on silence and repetition are those of its reference code,
https://github.com/openai/whisper.
"""

from __future__ import annotations

import itertools
import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import merge_punctuations

from echoic.engines.whisper_files import NAME, look_through, unusable
from echoic.session.window import WindowNeeds
from echoic.text.hypothesis import Hypothesis, Token
from echoic.text.loops import without_loop

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from echoic.session.window import DecodeOptions, Window

#: What the encoder made of a window: CTranslate2's own array.
_Heard: TypeAlias = Any

SAMPLE_RATE = 16_000
#: Samples of the longest piece it can be given.
LONGEST = 30 * SAMPLE_RATE
#: Feature frames a second, and the most of them.
FRAMES_PER_SECOND = 100
MOST_FRAMES = 3_000
#: Seconds that the encoder is given on a processor of an utterance that goes on.
ON_PROCESSOR = 15.0
#: Seconds of the longest utterance that is asked for.
LONGEST_UTTERANCE = 20.0
#: Samples below which there is nothing to read.
SHORTEST = SAMPLE_RATE // 10
#: The loudest sample of a window that holds nothing: three steps of 16-bit audio.
SILENCE_PEAK = 1e-4
#: A window is silent if it probably is and its words are improbable: Whisper's own two limits.
NO_SPEECH, LOG_PROBABILITY = 0.6, -1.0
#: Text that shrinks so far when it is compressed repeats itself: Whisper's own limit.
COMPRESSION = 2.4
#: Tokens of the text; Whisper's decoder knows 448 places, half of them for what comes before.
MOST_TOKENS = 224
#: Speech in any language needs fewer tokens than this; the decoder loops on audio that it cannot read.
TOKENS_PER_SECOND, TOKENS_AT_LEAST = 12, 16
#: Punctuation that belongs to the next word, and to the one before.
OPENING = "\"'\N{LEFT DOUBLE QUOTATION MARK}\N{INVERTED QUESTION MARK}([{-"
CLOSING = (
    "\"'.\N{IDEOGRAPHIC FULL STOP},\N{FULLWIDTH COMMA}!\N{FULLWIDTH EXCLAMATION MARK}?"
    "\N{FULLWIDTH QUESTION MARK}:\N{FULLWIDTH COLON}\N{RIGHT DOUBLE QUOTATION MARK})]}\N{IDEOGRAPHIC COMMA}"
)
#: Seconds of what the encoder makes one frame of.
FRAME = 0.02
#: Digits of times and confidences.
DECIMALS = 3


@dataclass(frozen=True, slots=True)
class Tuning:
    """What may be set.

    Attributes:
        device: ``cpu``, ``cuda``, or ``auto``: a CUDA device where there is one.
        cores: Cores that one call uses on a processor.
        threads: The most calls at the same time.
        beam: Beams of the search; 1 takes the most probable token each time.
        context: Seconds that the encoder is given at least of an utterance that goes on; None: 15 on a
            processor, else all that it was trained on.
        whole: The same of one that is over; 30: what it was trained on.
        spare: Seconds of silence that it is given after the audio at least.
        step: Seconds between two decodes of an utterance that goes on, at least.
        sure: Confidence below which a word, and what follows it, waits for the end of its utterance.
        prompt: Text that the decoder takes for what was said before, where a session has none; None: nothing.
    """

    device: str = "auto"
    cores: int = 1
    threads: int = 2
    beam: int = 5
    context: float | None = None
    whole: float = 30.0
    spare: float = 1.0
    step: float = 1.5
    sure: float = 0.5
    prompt: str | None = None


class Whisper:
    """Whisper from a folder in CTranslate2's layout (``engines.base.Engine``).

    Args:
        folder: Where its files are.
        name: Its id.
        tuning: What may be set.

    Raises:
        ModelUnavailable: Something is missing, broken, or of another model.
    """

    def __init__(self, folder: Path, name: str = NAME, tuning: Tuning = Tuning()) -> None:
        look_through(folder, name)
        self._name, self._tuning = name, tuning
        device = _device(tuning.device)
        try:
            self._model = WhisperModel(
                str(folder),
                device=device,
                compute_type="int8" if device == "cpu" else "auto",
                cpu_threads=tuning.cores,
                num_workers=tuning.threads,
                local_files_only=True,
            )
        except (RuntimeError, ValueError, LookupError) as error:
            raise unusable(f"The model in {folder} is broken, or not for this version.", name) from error
        usual = ON_PROCESSOR if device == "cpu" else tuning.whole
        self._context = usual if tuning.context is None else tuning.context
        self._languages = tuple(self._model.supported_languages)

    @property
    def name(self) -> str:
        """The model's own name."""
        return self._name

    @property
    def needs(self) -> WindowNeeds:
        """Whole utterances at 16 kHz, not decoded too often while they grow."""
        return WindowNeeds(
            reading="utterance",
            sample_rate=SAMPLE_RATE,
            longest=LONGEST_UTTERANCE,
            step=self._tuning.step,
            sure=self._tuning.sure,
            times=True,
            terms="prompt",
        )

    @property
    def languages(self) -> tuple[str, ...]:
        """English only, or the hundred it was trained on."""
        return self._languages

    @property
    def lanes(self) -> int:
        """One: on a processor it is no cheaper to decode windows together."""
        return 1

    @property
    def threads(self) -> int:
        """The most ``decode`` calls at the same time."""
        return self._tuning.threads

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return the words of each window with their times; silence has none.

        Raises:
            ValueError: A window is not at 16 kHz.
        """
        return [self._read(window) for window in windows]

    def close(self) -> None:
        """Release the weights."""
        self._model.model.unload_model()

    def _read(self, window: Window) -> Hypothesis:
        if window.sample_rate != SAMPLE_RATE:
            raise ValueError(f"Whisper reads {SAMPLE_RATE} Hz, not {window.sample_rate} Hz.")
        audio = np.ascontiguousarray(window.audio, dtype=np.float32)
        room = self._tuning.whole if window.last else self._context
        pieces = [
            self._piece(audio[start : start + LONGEST], room, window.options, start / SAMPLE_RATE)
            for start in range(0, len(audio), LONGEST)
        ]
        return Hypothesis(volatile=tuple(itertools.chain.from_iterable(pieces)))

    def _piece(
        self, audio: NDArray[np.float32], room: float, options: DecodeOptions, begins: float
    ) -> list[Token]:
        """Return the words of 30 s at most, times counted from ``begins`` seconds before its start."""
        if len(audio) < SHORTEST or float(np.abs(audio).max()) < SILENCE_PEAK:
            return []
        heard = self._encode(audio, room)
        speaks = self._tokenizer(heard, options.language)
        said = self._tokens(heard, speaks, options.prompt, len(audio) / SAMPLE_RATE)
        return self._words(heard, speaks, said, (len(audio) / SAMPLE_RATE, begins))

    def _encode(self, audio: NDArray[np.float32], least: float) -> _Heard:
        """Return what the encoder makes of the audio and the silence that is put behind it."""
        features = self._model.feature_extractor(audio)[:, :MOST_FRAMES]
        frames = features.shape[1]
        wanted = max(least, frames / FRAMES_PER_SECOND + self._tuning.spare)
        room = min(MOST_FRAMES, round(wanted * FRAMES_PER_SECOND))
        return self._model.encode(np.pad(features, ((0, 0), (0, max(0, room - frames)))))

    def _tokenizer(self, heard: _Heard, hint: str | None) -> Tokenizer:
        """Return the tokenizer of the language that is hinted at and known, else of the most probable one."""
        many = self._model.model.is_multilingual
        language = (hint or "").lower().replace("_", "-").partition("-")[0]
        if language not in self._languages:
            language = self._model.model.detect_language(heard)[0][0][0][2:-2] if many else "en"
        return Tokenizer(self._model.hf_tokenizer, many, task="transcribe", language=language)

    def _tokens(self, heard: _Heard, speaks: Tokenizer, prompt: str | None, seconds: float) -> list[int]:
        """Return the tokens of the text; none if there probably is no speech, a loop once."""
        before = self._before(speaks, prompt or self._tuning.prompt)
        room = min(MOST_TOKENS, TOKENS_AT_LEAST + int(seconds * TOKENS_PER_SECOND))
        start = [*before, *speaks.sot_sequence, speaks.no_timestamps]
        [answer] = self._model.model.generate(
            heard,
            [start],
            beam_size=self._tuning.beam,
            max_length=len(start) + room,
            return_scores=True,
            return_no_speech_prob=True,
        )
        said = list(answer.sequences_ids[0])
        probability = answer.scores[0] * len(said) / (len(said) + 1)
        if answer.no_speech_prob > NO_SPEECH and probability < LOG_PROBABILITY:
            return []
        if _repeats(speaks.decode(said)):
            said = without_loop(said)
        return [] if _repeats(speaks.decode(said)) else said

    def _before(self, speaks: Tokenizer, prompt: str | None) -> list[int]:
        """Return the tokens that tell the decoder what came before: the prompt's last ones, or none."""
        if not prompt or not prompt.strip():
            return []
        tokens = speaks.encode(f" {prompt.strip()}")
        return [speaks.sot_prev, *tokens[-(MOST_TOKENS - 1 - len(speaks.sot_sequence)) :]]

    def _words(
        self, heard: _Heard, speaks: Tokenizer, said: list[int], place: tuple[float, float]
    ) -> list[Token]:
        """Return the words with times and confidences, by which frames the decoder looked at for each.

        What it says again once the audio is over it says of the silence behind it: that is left out.
        """
        seconds, begins = place
        room = 2 * int(heard.shape[1])
        words = self._model.find_alignment(speaks, [said], heard, room)[0] if said else []
        merge_punctuations(words, OPENING, CLOSING)
        end = math.floor(seconds * 10**DECIMALS) / 10**DECIMALS
        tokens: list[Token] = []
        at = 0.0
        for word in words:
            if word["word"].strip() and word["start"] < end - FRAME:
                at = min(max(at, float(word["start"])), end)
                long = max(0.0, min(float(word["end"]), end) - at)
                numbers = (begins + at, long, float(word["probability"]))
                tokens.append(Token(word["word"], *(round(number, DECIMALS) for number in numbers)))
        return tokens


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    return "cuda" if ctranslate2.get_cuda_device_count() > 0 else "cpu"


def _repeats(text: str) -> bool:
    data = text.encode()
    return bool(data) and len(data) / len(zlib.compress(data)) > COMPRESSION
