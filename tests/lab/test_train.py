"""`harness lab train` and `export`: a run continues where it stopped, and a checkpoint is a loadable model."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from harness_lab.pretraining.course import CHECKPOINT
from harness_lab.pretraining.train import Run, TrainSettings, export
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.cli import main

SETTINGS = TrainSettings(tokens=6 * 768, rows=1, warm_up=2)


def run(out: Path, settings: TrainSettings = SETTINGS) -> Run:
    return Run(settings, out, "cpu", 0, 1)


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    for _ in range(4):
        whole.advance()
    first = run(tmp_path / "parts")
    first.advance()
    first.advance()
    first.save()
    second = run(tmp_path / "parts")
    assert second.step == 2
    second.advance()
    second.advance()
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    run(tmp_path).save()
    with pytest.raises(ValueError, match="made with other settings"):
        run(tmp_path, replace(SETTINGS, seed=2))


def test_a_checkpoint_becomes_a_model_folder(tmp_path: Path) -> None:
    one = run(tmp_path / "run")
    one.advance()
    one.save()
    export(tmp_path / "run" / CHECKPOINT, tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert model.config.max_position_embeddings == 512
    assert len(tokenizer) == model.config.vocab_size
    assert torch.equal(model.model.embed_tokens.weight, one.model.model.embed_tokens.weight)


def test_a_wrong_number_of_processes_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["lab", "train", str(tmp_path), "--processes", "3"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.strip() == "harness: --processes must divide 2, not 3"


def test_the_world_is_written_for_other_tools(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as done:
        main(["lab", "data", str(tmp_path), "--pages", "3", "--grids", "4"])
    assert done.value.code in (0, None)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{kind}_{split}{part}.json"
        for split in ("train", "validation", "test")
        for kind, part in (("facts", ""), ("grids", "_challenges"), ("grids", "_solutions"))
    }
