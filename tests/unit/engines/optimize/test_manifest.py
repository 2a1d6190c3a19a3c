from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from echoic.engines.optimize.manifest import (
    MANIFEST_FILE,
    OptimizedManifest,
    digest_files,
    read_optimized_manifest,
    write_optimized_manifest,
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "encoder-model.onnx"
    file.write_bytes(b"weights")
    return file


def build_manifest(source: Path) -> OptimizedManifest:
    return OptimizedManifest("encoder-model.rowint8.onnx", ("joint.onnx",), digest_files([source]))


def test_a_written_manifest_is_read_back(source: Path) -> None:
    manifest = build_manifest(source)
    write_optimized_manifest(manifest, source.parent)
    assert read_optimized_manifest(source.parent) == manifest


def test_the_manifest_is_plain_json(source: Path) -> None:
    file = write_optimized_manifest(build_manifest(source), source.parent)
    data = json.loads(file.read_bytes())
    assert data["encoder"] == "encoder-model.rowint8.onnx"
    assert data["sources"]["encoder-model.onnx"]["size"] == len(b"weights")
    assert len(file.read_text().splitlines()) > 5


def test_a_folder_without_a_manifest_has_none(tmp_path: Path) -> None:
    assert read_optimized_manifest(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"encoder": 1, "networks": [], "sources": {}}',
        '{"encoder": "../x", "networks": [], "sources": {}}',
        '{"encoder": "x", "networks": [], "sources": {"../x": {"size": 1, "changed": 1, "digest": ""}}}',
        '{"encoder": "x", "networks": [], "sources": {"x": {"size": 1}}}',
        '"\\ud800"',
    ],
)
def test_an_unreadable_manifest_matches_no_folder(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST_FILE).write_text(text)
    manifest = read_optimized_manifest(tmp_path)
    assert manifest is not None
    assert not manifest.matches_folder(tmp_path)


def test_unchanged_and_missing_sources_match(source: Path) -> None:
    manifest = build_manifest(source)
    assert manifest.matches_folder(source.parent)
    source.unlink()
    assert manifest.matches_folder(source.parent)


def test_a_copy_with_another_time_matches_by_its_digest(source: Path) -> None:
    manifest = build_manifest(source)
    os.utime(source, (1, 1))
    assert manifest.matches_folder(source.parent)


@pytest.mark.parametrize("content", [b"WEIGHTS", b"more weights"])
def test_a_source_with_other_content_does_not_match(source: Path, content: bytes) -> None:
    manifest = build_manifest(source)
    source.write_bytes(content)
    os.utime(source, (1, 1))
    assert not manifest.matches_folder(source.parent)


def test_external_tensors_are_digested_too(source: Path) -> None:
    (source.parent / "encoder-model.onnx.data").write_bytes(b"tensors")
    assert set(digest_files([source])) == {"encoder-model.onnx", "encoder-model.onnx.data"}
