from __future__ import annotations

from pathlib import Path

import pytest

from echoic.engines.model_files import FolderCheck, find_defect
from echoic.errors import ModelUnavailable


@pytest.fixture
def check() -> FolderCheck:
    return FolderCheck(lambda reason: ModelUnavailable("tiny", reason, "echoic models get tiny"))


def test_a_good_file_has_no_defect(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"\0")
    assert find_defect(tmp_path / "weights") is None


@pytest.mark.parametrize(
    ("content", "defect"),
    [
        (None, "weights is missing in "),
        (b"", "weights is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    ],
)
def test_a_defect_is_reported_with_the_command(
    tmp_path: Path, check: FolderCheck, content: bytes | None, defect: str
) -> None:
    if content is not None:
        (tmp_path / "weights").write_bytes(content)
    with pytest.raises(ModelUnavailable, match=defect) as error:
        check.require_file(tmp_path / "weights")
    assert error.value.install == "echoic models get tiny"


def test_a_missing_folder_is_reported(tmp_path: Path, check: FolderCheck) -> None:
    assert check.require_folder(tmp_path) == tmp_path
    with pytest.raises(ModelUnavailable, match="There is no folder"):
        check.require_folder(tmp_path / "none")


def test_a_json_object_is_read(tmp_path: Path, check: FolderCheck) -> None:
    (tmp_path / "config.json").write_text('{"layers": 4}')
    assert check.read_json(tmp_path / "config.json") == {"layers": 4}


@pytest.mark.parametrize(("text", "defect"), [("{", "is not JSON"), ("[]", "is not a JSON object")])
def test_other_content_is_rejected(tmp_path: Path, check: FolderCheck, text: str, defect: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelUnavailable, match=defect):
        check.read_json(tmp_path / "config.json")
