"""OpenAI's Whisper on faster-whisper (CTranslate2): decodes whole utterances.

Whisper was trained on 30 s: shorter audio is padded with silence up to there, and the encoder costs the same
for any length. On a CPU the padding is shortened (``WhisperOptions.partial_context``), and the session
decodes a growing utterance less often (``WhisperOptions.decode_interval``): docs/decisions/0010.
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

from echoic.engines.token_loops import remove_loop
from echoic.engines.whisper_files import WHISPER_MODEL_ID, build_whisper_error, inspect_whisper_folder
from echoic.engines.windows import check_sample_rate, is_silent
from echoic.interfaces.engine import DecodeOptions, EngineRequirements, Hypothesis, Token, Window

#: Encoder output for one window, an array of CTranslate2.
_EncodedAudio: TypeAlias = Any

SAMPLE_RATE = 16_000
#: Samples of the longest audio that one encoding takes.
MAX_PIECE_SAMPLES = 30 * SAMPLE_RATE
#: Feature frames per second, and the most of one encoding.
FRAMES_PER_SECOND = 100
MAX_FRAMES = 3_000
#: Seconds of encoder input on a CPU while an utterance goes on.
CPU_CONTEXT_SECONDS = 15.0
#: Seconds of the longest utterance.
MAX_UTTERANCE_SECONDS = 20.0
#: Samples of the shortest window that is decoded: 0.1 s.
MIN_SAMPLES = SAMPLE_RATE // 10
#: A window has no speech above the first limit if its words are below the second: Whisper's own limits.
MAX_NO_SPEECH_PROBABILITY, MIN_LOG_PROBABILITY = 0.6, -1.0
#: Text with a higher compression ratio is a repetition: Whisper's own limit.
MAX_COMPRESSION_RATIO = 2.4
#: The most tokens of one text: half of the decoder's 448 positions; the other half is for the prompt.
MAX_TOKENS = 224
#: Limit on tokens: more than speech in any language needs. On unintelligible audio the decoder may loop.
TOKENS_PER_SECOND, MIN_TOKENS = 12, 16
#: Punctuation that is joined to the next word, and to the previous word.
OPENING_PUNCTUATION = "\"'\N{LEFT DOUBLE QUOTATION MARK}\N{INVERTED QUESTION MARK}([{-"
CLOSING_PUNCTUATION = (
    "\"'.\N{IDEOGRAPHIC FULL STOP},\N{FULLWIDTH COMMA}!\N{FULLWIDTH EXCLAMATION MARK}?"
    "\N{FULLWIDTH QUESTION MARK}:\N{FULLWIDTH COLON}\N{RIGHT DOUBLE QUOTATION MARK})]}\N{IDEOGRAPHIC COMMA}"
)
#: Seconds of one encoder frame.
FRAME_SECONDS = 0.02
#: Decimal places of times and confidences.
DECIMALS = 3


@dataclass(frozen=True, slots=True)
class WhisperOptions:
    """Options of a Whisper engine."""

    #: ``cpu``, ``cuda``, or ``auto``: a CUDA device if there is one.
    device: str = "auto"
    #: Cores that one call uses on a CPU.
    cores: int = 1
    #: The most calls at the same time.
    max_concurrency: int = 2
    #: Beams of the search; 1 is a greedy search.
    beam_size: int = 5
    #: Seconds of encoder input, at least, while an utterance goes on. None means 15 on a CPU, else
    #: ``final_context``.
    partial_context: float | None = None
    #: Seconds of encoder input, at least, once an utterance is over; 30 is what Whisper was trained on.
    final_context: float = 30.0
    #: Seconds of silence after the audio, at least.
    trailing_silence: float = 1.0
    #: Seconds between two decodes of an utterance that goes on, at least.
    decode_interval: float = 1.5
    #: Confidence below which a word, and all words after it, wait for the end of the utterance.
    min_confidence: float = 0.5
    #: Text for the decoder to continue, if a session has none, or None.
    prompt: str | None = None


class Whisper:
    """Whisper from a folder in CTranslate2's layout (implements ``Engine``).

    Args:
        folder: The folder of the model.
        name: The id of the model.
        options: Options of the engine.

    Raises:
        ModelUnavailable: A file is missing, broken, or of another model.
    """

    #: On a CPU a batch is no cheaper than single windows.
    max_batch_size = 1

    def __init__(
        self, folder: Path, name: str = WHISPER_MODEL_ID, options: WhisperOptions = WhisperOptions()
    ) -> None:
        inspect_whisper_folder(folder, name)
        self.name, self._options = name, options
        self.max_concurrency = options.max_concurrency
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
        default_context = CPU_CONTEXT_SECONDS if device == "cpu" else options.final_context
        self._partial_context = (
            default_context if options.partial_context is None else options.partial_context
        )
        #: English only, or the hundred languages of the multilingual models.
        self.languages: tuple[str, ...] = tuple(self._model.supported_languages)

    @property
    def requirements(self) -> EngineRequirements:
        """Whole utterances at 16 kHz; a pause between decodes while they grow."""
        return EngineRequirements(
            strategy="local_agreement",
            sample_rate=SAMPLE_RATE,
            max_window_seconds=MAX_UTTERANCE_SECONDS,
            window_step_seconds=self._options.decode_interval,
            min_confidence=self._options.min_confidence,
            has_word_times=True,
            hotword_support="prompt",
        )

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
        check_sample_rate(window, SAMPLE_RATE, "Whisper")
        audio = np.ascontiguousarray(window.audio, dtype=np.float32)
        min_context = self._options.final_context if window.is_last else self._partial_context
        pieces = [
            self._decode_piece(
                audio[start : start + MAX_PIECE_SAMPLES], min_context, window.options, start / SAMPLE_RATE
            )
            for start in range(0, len(audio), MAX_PIECE_SAMPLES)
        ]
        return Hypothesis(volatile=tuple(itertools.chain.from_iterable(pieces)))

    def _decode_piece(
        self, audio: NDArray[np.float32], min_context: float, options: DecodeOptions, offset: float
    ) -> list[Token]:
        """Return the words of up to 30 s of audio that begins ``offset`` seconds after the window."""
        if is_silent(audio, MIN_SAMPLES):
            return []
        seconds = len(audio) / SAMPLE_RATE
        encoded = self._encode_audio(audio, min_context)
        tokenizer = self._build_tokenizer(encoded, options.language)
        token_ids = self._generate_tokens(encoded, tokenizer, options.prompt, seconds)
        return self._align_words(encoded, tokenizer, token_ids, (seconds, offset))

    def _encode_audio(self, audio: NDArray[np.float32], min_context: float) -> _EncodedAudio:
        """Return the encoder output for the audio and the silence that is appended to it."""
        features = self._model.feature_extractor(audio)[:, :MAX_FRAMES]
        frames = features.shape[1]
        seconds = max(min_context, frames / FRAMES_PER_SECOND + self._options.trailing_silence)
        padded = min(MAX_FRAMES, round(seconds * FRAMES_PER_SECOND))
        return self._model.encode(np.pad(features, ((0, 0), (0, max(0, padded - frames)))))

    def _build_tokenizer(self, encoded: _EncodedAudio, language_hint: str | None) -> Tokenizer:
        """Return the tokenizer of the hinted language if the model knows it, else of the likeliest one."""
        multilingual = self._model.model.is_multilingual
        language = (language_hint or "").lower().replace("_", "-").partition("-")[0]
        if language not in self.languages:
            language = self._model.model.detect_language(encoded)[0][0][0][2:-2] if multilingual else "en"
        return Tokenizer(self._model.hf_tokenizer, multilingual, task="transcribe", language=language)

    def _generate_tokens(
        self, encoded: _EncodedAudio, tokenizer: Tokenizer, prompt: str | None, seconds: float
    ) -> list[int]:
        """Return the tokens of the text; none without speech, and a repetition only once."""
        prompt_tokens = self._encode_prompt(tokenizer, prompt or self._options.prompt)
        max_tokens = min(MAX_TOKENS, MIN_TOKENS + int(seconds * TOKENS_PER_SECOND))
        start = [*prompt_tokens, *tokenizer.sot_sequence, tokenizer.no_timestamps]
        [result] = self._model.model.generate(
            encoded,
            [start],
            beam_size=self._options.beam_size,
            max_length=len(start) + max_tokens,
            return_scores=True,
            return_no_speech_prob=True,
        )
        tokens = list(result.sequences_ids[0])
        log_probability = result.scores[0] * len(tokens) / (len(tokens) + 1)
        if result.no_speech_prob > MAX_NO_SPEECH_PROBABILITY and log_probability < MIN_LOG_PROBABILITY:
            return []
        if _is_repetitive(tokenizer.decode(tokens)):
            tokens = remove_loop(tokens)
        return [] if _is_repetitive(tokenizer.decode(tokens)) else tokens

    def _encode_prompt(self, tokenizer: Tokenizer, prompt: str | None) -> list[int]:
        """Return the last tokens of the prompt as the previous text of the decoder; none without a prompt."""
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
        """Return the words with times and confidences, from the decoder's cross-attention.

        Words that begin after the end of the audio are dropped: they are repetitions in the padding.
        """
        seconds, offset = seconds_and_offset
        frames = 2 * int(encoded.shape[1])
        words = self._model.find_alignment(tokenizer, [token_ids], encoded, frames)[0] if token_ids else []
        merge_punctuations(words, OPENING_PUNCTUATION, CLOSING_PUNCTUATION)
        end = math.floor(seconds * 10**DECIMALS) / 10**DECIMALS
        tokens: list[Token] = []
        start = 0.0
        for word in words:
            if word["word"].strip() and word["start"] < end - FRAME_SECONDS:
                start = min(max(start, float(word["start"])), end)
                duration = max(0.0, min(float(word["end"]), end) - start)
                numbers = (offset + start, duration, float(word["probability"]))
                tokens.append(Token(word["word"], *(round(number, DECIMALS) for number in numbers)))
        return tokens


def _resolve_device(requested: str) -> str:
    if requested != "auto":
        return requested
    return "cuda" if ctranslate2.get_cuda_device_count() > 0 else "cpu"


def _is_repetitive(text: str) -> bool:
    data = text.encode()
    return bool(data) and len(data) / len(zlib.compress(data)) > MAX_COMPRESSION_RATIO
