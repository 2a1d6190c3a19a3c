"""The settings that the table of models is built from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from echoic.engines.onnx_runtime import ExecutionProvider
from echoic.engines.parakeet.engine import ParakeetOptions
from echoic.engines.store.cache import resolve_cache_folder

#: A path in which a leading ``~`` stands for the user's home.
ExpandedPath = Annotated[Path, AfterValidator(Path.expanduser)]


def _parse_quantization(value: object) -> object:
    suffix = value.strip() if isinstance(value, str) else value
    if suffix == "none":
        return ""
    if isinstance(suffix, str) and not suffix.isidentifier():
        message = "it should be none, or the suffix of the model's file names, such as int8"
        raise PydanticCustomError("quantization", message)
    return suffix


class EngineSettings(BaseModel):
    """Where the models are, and how they decode. The descriptions are those of docs/settings.md."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models_dir: ExpandedPath | None = Field(
        default=None,
        description="The folder that models are downloaded to and looked up in. Not set: the user's cache.",
    )
    parakeet_onnx_dir: ExpandedPath | None = Field(
        default=None,
        description=(
            "The folder of the model `parakeet-onnx`. Not set: a [downloaded](engines.md#weights) one."
        ),
    )
    parakeet_nemo_file: ExpandedPath | None = Field(
        default=None,
        description=(
            "The `.nemo` file of the model `parakeet-standard`, or the folder it was unpacked to. "
            "Not set: a downloaded one."
        ),
    )
    parakeet_mlx_dir: ExpandedPath | None = Field(
        default=None, description="The folder of the model `parakeet-mlx`. Not set: a downloaded one."
    )
    whisper_model: str | None = Field(
        default=None,
        min_length=1,
        description=(
            "The size that `whisper` stands for, such as `small`, or a folder. "
            "Not set: the best downloaded size that a CPU decodes in real time."
        ),
    )
    streaming_fallback_to_whisper: bool = Field(
        default=False,
        description=(
            "If Whisper is installed, it is the first fallback, "
            "before another Parakeet and before the bundled model."
        ),
    )
    parakeet_left_context: float | None = Field(
        default=None,
        ge=0.08,
        le=60,
        description=(
            "Left context of a Parakeet window, 0.08 to 60 s. Not set: the "
            "[engine's](engines.md#contexts) default."
        ),
    )
    parakeet_right_context: float | None = Field(
        default=None,
        ge=0,
        le=10,
        description=(
            "Right context of a Parakeet window, 0 to 10 s; finals are delayed by as much. "
            "Not set: the engine's default."
        ),
    )
    parakeet_lanes: int = Field(
        default=8,
        ge=1,
        le=64,
        description="The most windows, of all streams, that Parakeet decodes in one batch.",
    )
    parakeet_quantization: Annotated[str | None, BeforeValidator(_parse_quantization)] = Field(
        default=None,
        description=(
            "The quantization of `parakeet-onnx`, as in its file names (`int8`), or `none` for "
            "full precision. "
            "Not set: the fastest available."
        ),
    )
    decode_cores: int = Field(default=1, ge=1, le=256, description="CPU cores that one decode uses.")
    onnx_provider: ExecutionProvider = Field(
        default="auto",
        description=(
            "The execution provider of onnxruntime: `cpu`, `cuda`, `tensorrt` or `coreml`. "
            "`auto`: CUDA if the installed onnxruntime supports it, otherwise the CPU."
        ),
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description=(
            "The device of torch (`parakeet-standard`) and CTranslate2 (`whisper`): `cpu` or `cuda`. "
            "`auto`: CUDA if available."
        ),
    )

    @property
    def cache_folder(self) -> Path:
        """The folder that models are downloaded to."""
        return self.models_dir or resolve_cache_folder(os.environ)

    def build_parakeet_options(self, max_concurrency: int) -> ParakeetOptions:
        """Return the options of every Parakeet.

        Args:
            max_concurrency: The most decodes that run at the same time.
        """
        default = ParakeetOptions()
        left, right = self.parakeet_left_context, self.parakeet_right_context
        return ParakeetOptions(
            left_context=default.left_context if left is None else left,
            right_context=default.right_context if right is None else right,
            max_batch_size=self.parakeet_lanes,
            max_concurrency=max_concurrency,
        )
