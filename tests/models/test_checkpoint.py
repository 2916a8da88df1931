"""Finding models: what is refused, in one line that says what to do, and what a digest depends on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from harness.api import HarnessError
from harness.models.checkpoint import find_checkpoint
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings
from tests.models import tiny
from tests.models.conftest import Weights


@pytest.fixture
def copy(folders: Mapping[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders["llama"], tmp_path / "my-model"))


def test_digest_is_of_what_answers_depend_on(copy: Path, tmp_path: Path) -> None:
    digest = find_checkpoint(str(copy)).digest()
    assert digest.startswith("hf:")
    assert len(digest) == 3 + 20
    moved = Path(shutil.copytree(copy, tmp_path / "elsewhere"))
    assert find_checkpoint(str(moved)).digest() == digest

    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps({**config, "transformers_version": "9", "use_cache": False}))
    assert find_checkpoint(str(moved)).digest() == digest, "incidental fields do not matter"
    (moved / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))
    assert find_checkpoint(str(moved)).digest() != digest

    (moved / "config.json").write_text(json.dumps(config))
    tensors = load_file(moved / "model.safetensors")
    name = sorted(tensors)[3]
    tensors[name].view(-1)[0] += 1e-3
    save_file(tensors, moved / "model.safetensors", metadata={"format": "pt"})
    assert find_checkpoint(str(moved)).digest() != digest


def test_digest_does_not_depend_on_how_tensors_are_spread(tmp_path: Path) -> None:
    whole = find_checkpoint(str(tiny.write(tmp_path / "whole")))
    spread = find_checkpoint(str(tiny.write(tmp_path / "spread", shard="50KB")))
    assert len(whole.shards) == 1 < len(spread.shards)
    assert whole.digest() == spread.digest()


def test_a_changed_chat_template_is_another_model(copy: Path) -> None:
    digest = find_checkpoint(str(copy)).digest()
    (copy / "chat_template.jinja").write_text(tiny.CHAT)
    assert find_checkpoint(str(copy)).digest() != digest


def break_off(folder: Path) -> None:
    shard = folder / "model.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])


def to_bin(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def to_adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def to_missing_shard(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00001.safetensors"}}')


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (to_bin, r"no model\.safetensors \(found pytorch_model\.bin\); only safetensors are loaded"),
        (to_adapter, "is an adapter without its base"),
        (to_missing_shard, r"names model-00001-of-00001\.safetensors, which is missing"),
        (break_off, "is not a complete safetensors file"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 9), "is not a complete safetensors file"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"no tokenizer \(tokenizer\.json\)"),
        (lambda folder: (folder / "config.json").unlink(), r"holds no config\.json"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json cannot be read"),
        (lambda folder: (folder / "config.json").write_text("[]"), "is not a JSON object"),
    ],
)
def test_unusable_folders(copy: Path, spoil: Callable[[Path], None], message: str, weights: Weights) -> None:
    spoil(copy)
    with pytest.raises(HarnessError, match=message) as caught:
        HfModel(HfSettings(path=str(copy)), weights)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.json", '{"model_type": "no_such_family"}', "cannot be loaded"),
        ("tokenizer.json", "{}", "its tokenizer cannot be loaded"),
    ],
)
def test_models_that_only_loading_shows_to_be_unusable(
    copy: Path, file: str, text: str, message: str, weights: Weights
) -> None:
    (copy / file).write_text(text)
    model = HfModel(HfSettings(path=str(copy), device="cpu"), weights)
    with pytest.raises(HarnessError, match=message) as caught:
        _ = model.engine
    assert "\n" not in str(caught.value)


def test_nothing_there_names_the_nearest_folders(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HarnessError, match=r"no such folder\. Did you mean 'my-model'"):
        find_checkpoint(str(tmp_path / "my-modle"))
    with pytest.raises(HarnessError, match="There are models inside: my-model"):
        find_checkpoint(str(tmp_path))
    with pytest.raises(HarnessError, match="is a file"):
        find_checkpoint(str(copy / "config.json"))
    with pytest.raises(HarnessError, match="needs a folder or a hub name"):
        find_checkpoint("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HarnessError, match=r"no such folder, and the hub cannot be reached.*Did you mean 'my-model'"):
        find_checkpoint("my-modle")


def test_bad_settings(folders: Mapping[str, Path], weights: Weights) -> None:
    path = str(folders["llama"])
    with pytest.raises(HarnessError, match="device 'quantum' cannot be used"):
        _ = HfModel(HfSettings(path=path, device="quantum"), weights).engine
    with pytest.raises(HarnessError, match="is not a date"):
        _ = HfModel(HfSettings(path=path, today="tomorrow"), weights).prompts
    with pytest.raises(HarnessError, match="slots must be a positive integer"):
        _ = HfModel(HfSettings(path=path, memory={"slots": 0}), weights).engine


def test_batch_limits_are_recorded_and_given_back(folders: Mapping[str, Path], weights: Weights) -> None:
    first = HfModel(HfSettings(path=str(folders["llama"]), device="cpu"), weights)
    second = HfModel(HfSettings(path=str(folders["llama"]), device="cpu", memory=first.memory()), weights)
    assert second.memory() == first.memory()
    small = {**first.memory(), "slots": 2, "rows": 3}
    assert HfModel(HfSettings(path=str(folders["llama"]), memory=small), weights).memory() == small
