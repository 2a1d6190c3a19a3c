from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from echoic.engines import models
from echoic.engines.models import build_standard_registry
from echoic.engines.onnx_runtime import list_providers
from echoic.engines.parakeet.engine import ParakeetOptions
from echoic.engines.registry import DEFAULT_MODEL, Registry
from echoic.engines.settings import EngineSettings
from echoic.engines.store.catalogue import EUROPEAN_LANGUAGES, MODEL_SOURCES
from echoic.errors import ModelUnavailable, strip_folders
from echoic.interfaces.engine import ModelRequest
from support.tiny_parakeet import TINY_PARAKEET_FOLDER

HEAVY = ("torch", "nemo", "lightning", "mlx", "parakeet_mlx", "faster_whisper", "ctranslate2")
SOURCE = str(Path(__file__).parents[3] / "src")

STATUS = """
import asyncio, json, sys, httpx
from echoic.protocol.constants import STATUS_PATH
from echoic.server.app import build_app
from echoic.server.settings.groups import Settings

async def ask():
    app = build_app(Settings.model_validate({'models_dir': sys.argv[1]}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
        status = (await client.get(STATUS_PATH)).json()
    return {"status": status, "names": app.state.context.registry.names, "modules": list(sys.modules)}

print(json.dumps(asyncio.run(ask())))
"""


@pytest.fixture
def libraries(tmp_path: Path) -> Path:
    """A folder of packages that raise when they are imported."""
    folder = tmp_path / "libraries"
    for name in HEAVY:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise SystemError('{name} was imported')\n")
    return folder


def write_nemo_file(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("model_config.yaml", "model_weights.ckpt"):
        (folder / name).write_bytes(b"x")
    with tarfile.open(folder / "model.nemo", "w") as archive:
        for name in ("model_config.yaml", "model_weights.ckpt"):
            archive.add(folder / name, f"./{name}")
            (folder / name).unlink()
    return folder / "model.nemo"


def write_whisper_folder(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "vocabulary.json"):
        (folder / name).write_text("{}")
    head = (6).to_bytes(4, "little") + (12).to_bytes(2, "little") + b"WhisperSpec\0"
    (folder / "model.bin").write_bytes(head)


def test_the_status_imports_no_library_of_a_model(tmp_path: Path, libraries: Path) -> None:
    cache = tmp_path / "models"
    write_nemo_file(cache / "parakeet-tdt-0.6b-v3-nemo")
    write_whisper_folder(cache / "whisper-base")
    (cache / "parakeet-tdt-0.6b-v3-onnx").symlink_to(TINY_PARAKEET_FOLDER)
    env = {name: value for name, value in os.environ.items() if not name.startswith("ECHOIC_")}
    done = subprocess.run(
        [sys.executable, "-c", STATUS, str(cache)],
        env=env | {"PYTHONPATH": os.pathsep.join((SOURCE, str(libraries)))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert not set(HEAVY) & set(told["modules"])
    assert "echoic.engines.parakeet.onnx" not in told["modules"]
    assert "huggingface_hub" not in told["modules"]
    rows = {row["id"]: row for row in told["status"]["models"]}
    there = {name for name, row in rows.items() if row["available"]}
    assert there >= {"parakeet-standard", "parakeet-onnx", "whisper", "whisper-base"}
    assert not any(row["loaded"] for row in rows.values())
    assert not rows["parakeet-mlx"]["available"]
    assert rows["parakeet-onnx"]["languages"] == list(EUROPEAN_LANGUAGES)
    assert "whisper-small" not in rows
    assert {"whisper-1", "whisper-base"} <= set(told["names"])
    assert not {"whisper-small", "whisper-turbo"} & set(told["names"])


# ---- with the libraries taken for granted


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "find_spec", lambda _module: object())


def find_missing(registry: Registry, name: str) -> tuple[str | None, str | None]:
    return next((row.reason, row.install) for row in registry.describe_models() if row.id == name)


@pytest.mark.usefixtures("installed")
def test_a_model_without_weights_names_the_download_command(tmp_path: Path) -> None:
    registry = build_standard_registry(EngineSettings(models_dir=tmp_path))
    for name, source in {
        "parakeet-standard": "parakeet-tdt-0.6b-v3-nemo",
        "parakeet-onnx": "parakeet-tdt-0.6b-v3-onnx",
        "whisper": "whisper-base",
    }.items():
        assert find_missing(registry, name) == (
            "Its weights have not been downloaded.",
            f"echoic models get {source}",
        )
        assert source in MODEL_SOURCES
        assert registry.find_weights(name) is None
        assert registry.list_languages(name) == ()
    with pytest.raises(ModelUnavailable) as refused:
        registry.resolve_model(ModelRequest("whisper-turbo", "standard"), fallback=False)
    assert refused.value.install == "echoic models get whisper-large-v3-turbo"


@pytest.mark.usefixtures("installed")
def test_weights_are_found_by_setting_or_in_the_cache(tmp_path: Path) -> None:
    file = write_nemo_file(tmp_path / "parakeet-tdt-0.6b-v2-nemo")
    write_whisper_folder(tmp_path / "whisper-small.en")
    write_whisper_folder(tmp_path / "own")
    fetched = build_standard_registry(EngineSettings(models_dir=tmp_path))
    assert fetched.find_weights("parakeet-standard") == file
    assert fetched.list_languages("parakeet-standard") == ("en",)
    assert fetched.find_weights("whisper") == tmp_path / "whisper-small.en"
    given = build_standard_registry(
        EngineSettings(
            models_dir=tmp_path, parakeet_nemo_file=file.parent, whisper_model=str(tmp_path / "own")
        )
    )
    assert given.find_weights("parakeet-standard") == file.parent
    assert (given.find_weights("whisper"), given.list_languages("whisper")) == (tmp_path / "own", ())
    assert find_missing(given, "whisper") == (None, None)


@pytest.mark.usefixtures("installed")
def test_a_configured_size_that_is_not_downloaded_is_missing(tmp_path: Path) -> None:
    write_whisper_folder(tmp_path / "whisper-base")
    registry = build_standard_registry(EngineSettings(models_dir=tmp_path, whisper_model="small"))
    assert str(find_missing(registry, "whisper")[0]).startswith("There is no folder")
    assert (
        registry.resolve_model(ModelRequest("whisper-base", "standard"), fallback=False).model_id
        == "whisper-base"
    )


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("is_allowed", "name"), [(True, "whisper"), (False, "moonshine-tiny-en")])
def test_whisper_is_a_fallback_only_if_allowed(tmp_path: Path, *, is_allowed: bool, name: str) -> None:
    write_whisper_folder(tmp_path / "whisper-base")
    registry = build_standard_registry(
        EngineSettings(models_dir=tmp_path, streaming_fallback_to_whisper=is_allowed)
    )
    resolved = registry.resolve_model(ModelRequest("parakeet", "standard"), fallback=True)
    assert (resolved.model_id, str(resolved.fallback_reason).count("is used instead")) == (name, 1)


def test_an_engine_is_loaded_with_the_settings() -> None:
    engine_settings = EngineSettings(
        parakeet_onnx_dir=TINY_PARAKEET_FOLDER,
        parakeet_left_context=2.0,
        parakeet_right_context=0.0,
        parakeet_lanes=3,
    )
    engine = build_standard_registry(engine_settings, max_concurrency=1).load_engine("parakeet-onnx")
    assert (engine.requirements.left_context, engine.requirements.right_context) == (2.0, 0.0)
    assert (engine.max_batch_size, engine.max_concurrency) == (3, 1)
    engine.close()
    assert EngineSettings().build_parakeet_options(2) == ParakeetOptions()


def test_a_missing_quantization_is_reported() -> None:
    registry = build_standard_registry(
        EngineSettings(parakeet_onnx_dir=TINY_PARAKEET_FOLDER, parakeet_quantization="int8")
    )
    assert str(find_missing(registry, "parakeet-onnx")[0]).startswith("encoder-model.int8.onnx is missing")


def test_a_missing_provider_makes_the_model_unavailable() -> None:
    registry = build_standard_registry(
        EngineSettings(parakeet_onnx_dir=TINY_PARAKEET_FOLDER, onnx_provider="cuda")
    )
    if "cuda" in list_providers():
        pytest.skip("it is offered here")
    reason, install = find_missing(registry, "parakeet-onnx")
    assert str(reason).startswith("The installed onnxruntime does not support cuda; it supports cpu")
    assert "onnxruntime-gpu" in str(install)


# ---- what clients are told


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("damage", ["absent", "empty", "torn", "deep"])
def test_no_model_reveals_its_folders_to_clients(tmp_path: Path, damage: str) -> None:
    place = tmp_path / "ann smith" / "o'brien" / "p"
    if damage != "absent":
        place.mkdir(parents=True)
        content = {"empty": b"", "torn": b"x", "deep": b"[" * 100_000}[damage]
        for name in ("config.json", "vocab.txt", "model.bin", "tokenizer.json", "model.nemo"):
            (place / name).write_bytes(content)
    engine_settings = EngineSettings(
        models_dir=place.parent,
        parakeet_onnx_dir=place,
        parakeet_nemo_file=place / "model.nemo",
        parakeet_mlx_dir=place,
        whisper_model=str(place),
    )
    registry = build_standard_registry(engine_settings)
    rows = [row for row in registry.describe_models() if row.reason]
    assert {row.id for row in rows} >= {"parakeet-onnx", "parakeet-standard", "parakeet-mlx", "whisper"}
    for row in rows:
        with pytest.raises(ModelUnavailable) as refused:
            registry.resolve_model(ModelRequest(row.id, row.variant), fallback=False)
        told = f"{refused.value.message} {refused.value.detail} {strip_folders(str(row.reason))}"
        assert not any(folder in told for folder in ("smith", "brien", str(tmp_path.parent)))
        assert str(row.reason) in str(refused.value)


def test_all_models_of_this_version_are_listed() -> None:
    assert {row.id for row in build_standard_registry().describe_models()} == {
        "parakeet-standard",
        "parakeet-onnx",
        "parakeet-mlx",
        "whisper",
        "moonshine-tiny-en",
    }


def test_parakeet_onnx_without_weights_names_the_command(tmp_path: Path) -> None:
    rows = {
        row.id: row for row in build_standard_registry(EngineSettings(models_dir=tmp_path)).describe_models()
    }
    row = rows["parakeet-onnx"]
    assert (row.available, row.reason) == (False, "Its weights have not been downloaded.")
    assert row.install == "echoic models get parakeet-tdt-0.6b-v3-onnx"


def test_parakeet_onnx_uses_a_configured_folder_or_the_cache(tmp_path: Path) -> None:
    given = build_standard_registry(
        EngineSettings(parakeet_onnx_dir=TINY_PARAKEET_FOLDER, models_dir=tmp_path)
    )
    assert given.resolve_model(ModelRequest("parakeet-onnx", "onnx"), fallback=False).fallback_reason is None
    assert given.load_engine("parakeet-onnx").requirements.strategy == "stateful"
    (tmp_path / "parakeet-tdt-0.6b-v2-onnx").symlink_to(TINY_PARAKEET_FOLDER)
    fetched = build_standard_registry(EngineSettings(models_dir=tmp_path))
    assert (
        fetched.resolve_model(ModelRequest("parakeet-onnx", "onnx"), fallback=False).model_id
        == "parakeet-onnx"
    )


def test_each_downloaded_parakeet_has_a_name(tmp_path: Path) -> None:
    (tmp_path / "parakeet-tdt-0.6b-v2-onnx").symlink_to(TINY_PARAKEET_FOLDER)
    registry = build_standard_registry(EngineSettings(models_dir=tmp_path))
    answer = registry.resolve_model(ModelRequest("parakeet-tdt-0.6b-v2-onnx", "standard"), fallback=False)
    assert (answer.model_id, answer.fallback_reason) == ("parakeet-tdt-0.6b-v2-onnx", None)
    assert registry.load_engine(answer.model_id).requirements.has_word_times
    assert registry.list_languages(answer.model_id) == ("en",)
    with pytest.raises(ModelUnavailable) as refused:
        registry.resolve_model(ModelRequest("parakeet-tdt_ctc-110m-onnx", "standard"), fallback=False)
    assert refused.value.install == "echoic models get parakeet-tdt_ctc-110m-onnx"


def test_parakeet_onnx_reports_a_defect_of_its_folder(tmp_path: Path) -> None:
    registry = build_standard_registry(EngineSettings(parakeet_onnx_dir=tmp_path / "none"))
    row = next(row for row in registry.describe_models() if row.id == "parakeet-onnx")
    assert str(row.reason).startswith("There is no folder")
    with pytest.raises(ModelUnavailable, match="There is no folder"):
        registry.load_engine("parakeet-onnx")


def test_word_times_are_known_without_loading() -> None:
    registry = build_standard_registry(
        EngineSettings(parakeet_onnx_dir=TINY_PARAKEET_FOLDER), include_scripted=True
    )
    there = [row for row in registry.describe_models() if row.available]
    assert {row.id for row in there} >= {"parakeet-onnx", "scripted"}
    for row in there:
        engine = registry.load_engine(row.id)
        assert engine.requirements.has_word_times is row.word_timestamps, row.id
        engine.close()


def test_parakeet_onnx_is_suggested_where_nemo_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "find_spec", lambda name: None if name == "nemo" else name)
    registry = build_standard_registry(EngineSettings(models_dir=tmp_path))
    installs = {}
    for name in ("parakeet", "parakeet-standard"):
        with pytest.raises(ModelUnavailable) as refused:
            registry.resolve_model(ModelRequest(name, "standard"), fallback=False)
        installs[name] = refused.value.install
    assert installs == {
        "parakeet": "echoic models get parakeet-tdt-0.6b-v3-onnx",
        "parakeet-standard": "pip install 'echoic[nemo]'",
    }


def test_another_parakeet_stands_in_before_the_default() -> None:
    registry = build_standard_registry(EngineSettings(parakeet_onnx_dir=TINY_PARAKEET_FOLDER))
    resolved = registry.resolve_model(ModelRequest("parakeet", "standard"), fallback=True)
    assert resolved.model_id == "parakeet-onnx"
    assert str(resolved.fallback_reason).endswith("The model 'parakeet-onnx' is used instead.")
    refusal = ModelUnavailable("parakeet-onnx", "It is damaged.")
    if not registry.describe_models()[-1].available:
        pytest.skip("the default model is not here")
    assert registry.resolve_fallback("parakeet-onnx", refusal, fallback=True).model_id == DEFAULT_MODEL


def test_missing_libraries_are_named_with_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "find_spec", lambda module: None if module == "nemo" else object())
    models.check_extra_installed("whisper")
    with pytest.raises(ModelUnavailable) as refused:
        models.check_extra_installed("nemo")
    assert refused.value.reason == "The package nemo_toolkit is not installed."
    assert refused.value.install == "pip install 'echoic[nemo]'"
    monkeypatch.setattr(models, "find_spec", lambda _module: None)
    rows = {row.id: row for row in build_standard_registry().describe_models()}
    assert rows["whisper"].reason == "The packages faster-whisper and ctranslate2 are not installed."
    assert rows["parakeet-onnx"].install == "pip install onnxruntime"


def test_the_default_is_unavailable_without_its_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "find_spec", lambda _module: None)
    row = next(row for row in build_standard_registry().describe_models() if row.id == DEFAULT_MODEL)
    assert (row.available, row.install) == (False, "pip install onnxruntime")


def test_the_default_is_unavailable_if_the_import_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("echoic.engines.moonshine", raising=False)
    monkeypatch.setitem(sys.modules, "echoic.engines.moonshine", None)
    row = next(row for row in build_standard_registry().describe_models() if row.id == DEFAULT_MODEL)
    assert not row.available
    assert "cannot be imported" in str(row.reason)


def test_the_scripted_model_is_opt_in() -> None:
    with pytest.raises(ModelUnavailable):
        build_standard_registry().resolve_model(ModelRequest("scripted", "standard"), fallback=True)
    with_it = build_standard_registry(include_scripted=True)
    assert with_it.resolve_model(ModelRequest("scripted", "standard"), fallback=False).model_id == "scripted"
    assert with_it.load_engine("scripted").name == "scripted"
    assert "scripted" not in build_standard_registry().names
