from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from echoic.engines.parakeet.nemo import ParakeetNemo
from echoic.engines.parakeet.nemo_files import NEMO_CONFIG_FILE, NEMO_WEIGHTS_FILE
from echoic.errors import ModelUnavailable
from support.tiny_parakeet import write_nemo_file

LOAD_QUIETLY = """
import logging, sys, warnings
from pathlib import Path
warnings.simplefilter("error")
logging.basicConfig(level=logging.WARNING)
shown = warnings.showwarning
from echoic.engines.parakeet.nemo import ParakeetNemo
assert "torch" not in sys.modules
engine = ParakeetNemo(Path(sys.argv[1]))
assert warnings.showwarning is shown
assert "nemo" in sys.modules
"""


def test_missing_packages_name_the_command_that_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delattr("echoic.engines.parakeet.nemo_networks", raising=False)
    monkeypatch.delitem(sys.modules, "echoic.engines.parakeet.nemo_networks", raising=False)
    parts = tmp_path / "parts"
    parts.mkdir()
    for name in (NEMO_CONFIG_FILE, NEMO_WEIGHTS_FILE):
        (parts / name).write_bytes(b"x")
    with pytest.raises(ModelUnavailable, match="torch is missing") as error:
        ParakeetNemo(parts)
    assert error.value.install == "pip install 'echoic[nemo]'"


@pytest.mark.skipif(find_spec("nemo") is None, reason="NeMo is not installed: make test-extras")
def test_importing_loads_no_torch_and_loading_is_silent(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD_QUIETLY, write_nemo_file(tmp_path)],
        capture_output=True,
        check=True,
        timeout=110,
    )
    assert (done.stdout, done.stderr) == (b"", b"")
