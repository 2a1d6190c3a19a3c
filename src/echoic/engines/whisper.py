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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import merge_punctuations
from numpy.typing import NDArray

from echoic.engines.whisper_files import WHISPER_MODEL_ID, build_whisper_error, inspect_whisper_folder
from echoic.interfaces.engine import DecodeOptions, EngineRequirements, Hypothesis, Token, Window
from echoic.text.overlap import remove_loop

#: What the encoder made of a window: CTranslate2's own array.
_EncodedAudio: TypeAlias = Any

SAMPLE_RATE = 16_000
#: Samples of the longest piece it can be given.
MAX_PIECE_SAMPLES = 30 * SAMPLE_RATE
#: Feature frames a second, and the most of them.
FRAMES_PER_SECOND = 100
MAX_FRAMES = 3_000
#: Seconds that the encoder is given on a processor of an utterance that goes on.
CPU_CONTEXT_SECONDS = 15.0
#: Seconds of the longest utterance that is asked for.
MAX_UTTERANCE_SECONDS = 20.0
#: Samples below which there is nothing to read.
MIN_SAMPLES = SAMPLE_RATE // 10
#: The loudest sample of a window that holds nothing: three steps of 16-bit audio.
SILENCE_PEAK = 1e-4
#: A window is silent if it probably is and its words are improbable: Whisper's own two limits.
MAX_NO_SPEECH_PROBABILITY, MIN_LOG_PROBABILITY = 0.6, -1.0
#: Text that shrinks so far when it is compressed repeats itself: Whisper's own limit.
MAX_COMPRESSION_RATIO = 2.4
#: Tokens of the text; Whisper's decoder knows 448 places, half of them for what comes before.
MAX_TOKENS = 224
#: Speech in any language needs fewer tokens than this; the decoder loops on audio that it cannot read.
TOKENS_PER_SECOND, MIN_TOKENS = 12, 16
#: Punctuation that belongs to the next word, and to the one before.
OPENING_PUNCTUATION = "\"'\N{LEFT DOUBLE QUOTATION MARK}\N{INVERTED QUESTION MARK}([{-"
CLOSING_PUNCTUATION = (
    "\"'.\N{IDEOGRAPHIC FULL STOP},\N{FULLWIDTH COMMA}!\N{FULLWIDTH EXCLAMATION MARK}?"
    "\N{FULLWIDTH QUESTION MARK}:\N{FULLWIDTH COLON}\N{RIGHT DOUBLE QUOTATION MARK})]}\N{IDEOGRAPHIC COMMA}"
)
#: Seconds of what the encoder makes one frame of.
FRAME_SECONDS = 0.02
#: Digits of times and confidences.
DECIMALS = 3


@dataclass(frozen=True, slots=True)
class WhisperOptions:
    """What may be set.

    Attributes:
        device: ``cpu``, ``cuda``, or ``auto``: a CUDA device where there is one.
        cores: Cores that one call uses on a processor.
        max_concurrency: The most calls at the same time.
        beam_size: Beams of the search; 1 takes the most probable token each time.
        partial_context: Seconds that the encoder is given at least of an utterance that goes on; None: 15 on a
            processor, else all that it was trained on.
        final_context: The same of one that is over; 30: what it was trained on.
        trailing_silence: Seconds of silence that it is given after the audio at least.
        decode_interval: Seconds between two decodes of an utterance that goes on, at least.
        min_confidence: Confidence below which a word, and what follows it, waits for the end of its utterance.
        prompt: Text that the decoder takes for what was said before, where a session has none; None: nothing.
    """

    device: str = "auto"
    cores: int = 1
    max_concurrency: int = 2
    beam_size: int = 5
    partial_context: float | None = None
    final_context: float = 30.0
    trailing_silence: float = 1.0
    decode_interval: float = 1.5
    min_confidence: float = 0.5
    prompt: str | None = None


class Whisper:
    """Whisper from a folder in CTranslate2's layout (``engines.base.Engine``).

    Args:
        folder: Where its files are.
        name: Its id.
        options: What may be set.

    Raises:
        ModelUnavailable: Something is missing, broken, or of another model.
    """

    def __init__(
        self, folder: Path, name: str = WHISPER_MODEL_ID, options: WhisperOptions = WhisperOptions()
    ) -> None:
        inspect_whisper_folder(folder, name)
        self._name, self._options = name, options
        device = _resolve_device(options.device)
        try:
            self._model = WhisperModel(
                str(folder),
                device=device,
                compute_type="int8" if device == "cpu" else "auto",
                cpu_threads=options.cores,
                num_workers=options.max_concurrency,
                local_files_only=True,
            )
        except (RuntimeError, ValueError, LookupError) as error:
            raise build_whisper_error(
                f"The model in {folder} is broken, or not for this version.", name
            ) from error
        usual = CPU_CONTEXT_SECONDS if device == "cpu" else options.final_context
        self._partial_context = usual if options.partial_context is None else options.partial_context
        self._languages = tuple(self._model.supported_languages)

    @property
    def name(self) -> str:
        """The model's own name."""
        return self._name

    @property
    def requirements(self) -> EngineRequirements:
        """Whole utterances at 16 kHz, not decoded too often while they grow."""
        return EngineRequirements(
            strategy="local_agreement",
            sample_rate=SAMPLE_RATE,
            max_window_seconds=MAX_UTTERANCE_SECONDS,
            window_step_seconds=self._options.decode_interval,
            min_confidence=self._options.min_confidence,
            has_word_times=True,
            hotword_support="prompt",
        )

    @property
    def languages(self) -> tuple[str, ...]:
        """English only, or the hundred it was trained on."""
        return self._languages

    @property
    def max_batch_size(self) -> int:
        """One: on a processor it is no cheaper to decode windows together."""
        return 1

    @property
    def max_concurrency(self) -> int:
        """The most ``decode`` calls at the same time."""
        return self._options.max_concurrency

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return the words of each window with their times; silence has none.

        Raises:
            ValueError: A window is not at 16 kHz.
        """
        return [self._decode_window(window) for window in windows]

    def close(self) -> None:
        """Release the weights."""
        self._model.model.unload_model()

    def _decode_window(self, window: Window) -> Hypothesis:
        if window.sample_rate != SAMPLE_RATE:
            raise ValueError(f"Whisper reads {SAMPLE_RATE} Hz, not {window.sample_rate} Hz.")
        audio = np.ascontiguousarray(window.audio, dtype=np.float32)
        room = self._options.final_context if window.is_last else self._partial_context
        pieces = [
            self._decode_piece(
                audio[start : start + MAX_PIECE_SAMPLES], room, window.options, start / SAMPLE_RATE
            )
            for start in range(0, len(audio), MAX_PIECE_SAMPLES)
        ]
        return Hypothesis(volatile=tuple(itertools.chain.from_iterable(pieces)))

    def _decode_piece(
        self, audio: NDArray[np.float32], min_context: float, options: DecodeOptions, offset: float
    ) -> list[Token]:
        """Return the words of 30 s at most, times counted from ``offset`` seconds before its start."""
        if len(audio) < MIN_SAMPLES or float(np.abs(audio).max()) < SILENCE_PEAK:
            return []
        heard = self._encode_audio(audio, min_context)
        speaks = self._build_tokenizer(heard, options.language)
        said = self._generate_tokens(heard, speaks, options.prompt, len(audio) / SAMPLE_RATE)
        return self._align_words(heard, speaks, said, (len(audio) / SAMPLE_RATE, offset))

    def _encode_audio(self, audio: NDArray[np.float32], min_context: float) -> _EncodedAudio:
        """Return what the encoder makes of the audio and the silence that is put behind it."""
        features = self._model.feature_extractor(audio)[:, :MAX_FRAMES]
        frames = features.shape[1]
        wanted = max(min_context, frames / FRAMES_PER_SECOND + self._options.trailing_silence)
        room = min(MAX_FRAMES, round(wanted * FRAMES_PER_SECOND))
        return self._model.encode(np.pad(features, ((0, 0), (0, max(0, room - frames)))))

    def _build_tokenizer(self, encoded: _EncodedAudio, language_hint: str | None) -> Tokenizer:
        """Return the tokenizer of the language that is hinted at and known, else of the most probable one."""
        many = self._model.model.is_multilingual
        language = (language_hint or "").lower().replace("_", "-").partition("-")[0]
        if language not in self._languages:
            language = self._model.model.detect_language(encoded)[0][0][0][2:-2] if many else "en"
        return Tokenizer(self._model.hf_tokenizer, many, task="transcribe", language=language)

    def _generate_tokens(
        self, encoded: _EncodedAudio, tokenizer: Tokenizer, prompt: str | None, seconds: float
    ) -> list[int]:
        """Return the tokens of the text; none if there probably is no speech, a loop once."""
        before = self._encode_prompt(tokenizer, prompt or self._options.prompt)
        room = min(MAX_TOKENS, MIN_TOKENS + int(seconds * TOKENS_PER_SECOND))
        start = [*before, *tokenizer.sot_sequence, tokenizer.no_timestamps]
        [answer] = self._model.model.generate(
            encoded,
            [start],
            beam_size=self._options.beam_size,
            max_length=len(start) + room,
            return_scores=True,
            return_no_speech_prob=True,
        )
        said = list(answer.sequences_ids[0])
        probability = answer.scores[0] * len(said) / (len(said) + 1)
        if answer.no_speech_prob > MAX_NO_SPEECH_PROBABILITY and probability < MIN_LOG_PROBABILITY:
            return []
        if _is_repetitive(tokenizer.decode(said)):
            said = remove_loop(said)
        return [] if _is_repetitive(tokenizer.decode(said)) else said

    def _encode_prompt(self, tokenizer: Tokenizer, prompt: str | None) -> list[int]:
        """Return the tokens that tell the decoder what came before: the prompt's last ones, or none."""
        if not prompt or not prompt.strip():
            return []
        tokens = tokenizer.encode(f" {prompt.strip()}")
        return [tokenizer.sot_prev, *tokens[-(MAX_TOKENS - 1 - len(tokenizer.sot_sequence)) :]]

    def _align_words(
        self,
        encoded: _EncodedAudio,
        tokenizer: Tokenizer,
        token_ids: list[int],
        seconds_and_offset: tuple[float, float],
    ) -> list[Token]:
        """Return the words with times and confidences, by which frames the decoder looked at for each.

        What it says again once the audio is over it says of the silence behind it: that is left out.
        """
        seconds, begins = seconds_and_offset
        room = 2 * int(encoded.shape[1])
        words = self._model.find_alignment(tokenizer, [token_ids], encoded, room)[0] if token_ids else []
        merge_punctuations(words, OPENING_PUNCTUATION, CLOSING_PUNCTUATION)
        end = math.floor(seconds * 10**DECIMALS) / 10**DECIMALS
        tokens: list[Token] = []
        at = 0.0
        for word in words:
            if word["word"].strip() and word["start"] < end - FRAME_SECONDS:
                at = min(max(at, float(word["start"])), end)
                long = max(0.0, min(float(word["end"]), end) - at)
                numbers = (begins + at, long, float(word["probability"]))
                tokens.append(Token(word["word"], *(round(number, DECIMALS) for number in numbers)))
        return tokens


def _resolve_device(requested: str) -> str:
    if requested != "auto":
        return requested
    return "cuda" if ctranslate2.get_cuda_device_count() > 0 else "cpu"


def _is_repetitive(text: str) -> bool:
    data = text.encode()
    return bool(data) and len(data) / len(zlib.compress(data)) > MAX_COMPRESSION_RATIO
