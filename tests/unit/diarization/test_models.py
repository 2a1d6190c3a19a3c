from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from echoic.diarization import models
from echoic.diarization.embedding import CamPlusPlus
from echoic.diarization.online import OnlineDiarizer
from echoic.errors import ModelUnavailable, Unavailable

SOURCE = str(Path(__file__).parents[3] / "src")


def test_the_packaged_diarizer_loads() -> None:
    assert models.probe_diarizer() is None
    found = models.load_diarizer()
    assert isinstance(found, OnlineDiarizer)
    assert found.name == models.DEFAULT_DIARIZER


def test_an_unknown_name_is_refused_with_the_available_ones() -> None:
    with pytest.raises(ModelUnavailable, match="Available: embedded,"):
        models.load_diarizer("who")


def test_a_missing_file_is_reported_with_the_install_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "EMBEDDING_FILE", tmp_path / "campplus.onnx")
    missing = models.probe_diarizer()
    assert missing == Unavailable("The file campplus.onnx is missing.", models.REINSTALL_COMMAND)
    with pytest.raises(ModelUnavailable, match=r"campplus\.onnx is missing"):
        models.load_diarizer()


def test_a_broken_model_file_is_unavailable(tmp_path: Path) -> None:
    file = tmp_path / "campplus.onnx"
    with pytest.raises(ModelUnavailable, match="is missing"):
        CamPlusPlus(file)
    file.write_bytes(b"no graph")
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        CamPlusPlus(file)


def test_probing_imports_no_model_library() -> None:
    code = (
        "import sys; from echoic.diarization.models import DIARIZER_SPECS, probe_diarizer; "
        "[probe_diarizer(name) for name in DIARIZER_SPECS]; "
        "print([name for name in ('onnxruntime', 'torch', 'nemo', 'pyannote.audio') if name in sys.modules])"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": SOURCE}, capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "[]"
