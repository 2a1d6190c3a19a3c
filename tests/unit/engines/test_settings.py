from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from echoic.engines.parakeet.engine import ParakeetOptions
from echoic.engines.settings import EngineSettings


def test_defaults_leave_parakeet_as_it_declares_itself() -> None:
    assert EngineSettings().build_parakeet_options(2) == ParakeetOptions()


def test_parakeet_options_follow_the_settings() -> None:
    settings = EngineSettings(parakeet_left_context=2.0, parakeet_right_context=0.5, parakeet_lanes=4)
    assert settings.build_parakeet_options(5) == ParakeetOptions(
        2.0, 0.5, max_batch_size=4, max_concurrency=5
    )


def test_a_set_folder_replaces_the_cache(tmp_path: Path) -> None:
    assert EngineSettings(models_dir=tmp_path).cache_folder == tmp_path
    assert EngineSettings().cache_folder.is_absolute()


@pytest.mark.parametrize(("given", "suffix"), [("none", ""), (" int8 ", "int8")])
def test_a_quantization_is_a_suffix_of_file_names(given: str, suffix: str) -> None:
    assert EngineSettings(parakeet_quantization=given).parakeet_quantization == suffix


def test_a_quantization_that_is_a_path_is_rejected() -> None:
    with pytest.raises(ValidationError, match="such as int8"):
        EngineSettings(parakeet_quantization="../int8")
