"""Training changes the generator and nothing else, and continues where it stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from harness_generative_adapter import training
from harness_generative_adapter.generator import Generator, GeneratorConfig
from harness_generative_adapter.prepare import prepared
from harness_generative_adapter.training import Document, TrainingSettings
from harness_generative_adapter.updater import Generated, GeneratedSettings
from torch import nn

from harness.api import Recipe, SelfEdit, State, Updated, UpdateJob
from harness.errors import UsageError
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings
from harness.session.service import SessionService
from harness.tasks.squad import Squad
from harness.testing import open_session
from tests.models import tiny
from tests.models.conftest import Weights

CONFIG = GeneratorConfig(keys=16, values=16, rank=8, normalise="frobenius", scale=1.0)
QUICK = TrainingSettings(text_steps=4, question_steps=30, batch=4, learning_rate=1e-2, warmup=2, save_every=7)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> HfModel:
    folder = tiny.write(tmp_path_factory.mktemp("m") / "llama")
    return HfModel(HfSettings(path=str(folder), device="cpu"), Weights())


def documents() -> list[Document]:
    """Every document holds a number of its own, which its question asks for."""
    draw = torch.Generator().manual_seed(0)
    found = []
    for n in range(8):
        text = tuple(int(token) for token in torch.randint(20, 300, (12,), generator=draw))
        found.append(Document((*text, 100 + n), (((7, 8, 9), (100 + n, 2)),)))
    return found


def trained(module: nn.Module, folder: Path, settings: TrainingSettings = QUICK) -> dict[str, Any]:
    made = Generator.fresh(module, CONFIG, settings.seed)
    return training.train(made, module, documents(), settings, folder)


def test_losses_fall_and_the_model_itself_stays_as_it_was(model: HfModel, tmp_path: Path) -> None:
    module = model.engine.model
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    short = trained(module, tmp_path / "short", replace(QUICK, question_steps=1))
    long = trained(module, tmp_path / "long", replace(QUICK, question_steps=120))
    assert long["loss"]["questions"] < 0.7 * short["loss"]["questions"]
    assert all(torch.equal(weight, before[name]) for name, weight in module.state_dict().items())
    assert all(weight.grad is None for weight in module.parameters())


def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    model: HfModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = model.engine.model
    whole = trained(module, tmp_path / "whole")

    class Stopped(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("step 14/"):
            raise Stopped

    made = Generator.fresh(module, CONFIG, QUICK.seed)
    with pytest.raises(Stopped):
        training.train(made, module, documents(), QUICK, tmp_path / "stopped", say=stop)
    again = trained(module, tmp_path / "stopped")
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}
    one, two = (Generator.load(tmp_path / name).state_dict() for name in ("whole", "stopped"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not list((tmp_path / "stopped").glob("*.pt*"))
    assert json.loads((tmp_path / "whole" / "training.json").read_text())["steps"] == 34


def test_a_folder_with_another_training_is_refused(model: HfModel, tmp_path: Path) -> None:
    module = model.engine.model

    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(Generator.fresh(module, CONFIG), module, documents(), QUICK, tmp_path, say=stop)
    with pytest.raises(UsageError, match="other settings"):
        trained(module, tmp_path, replace(QUICK, learning_rate=0.5))


def test_there_must_be_something_to_learn_from(model: HfModel, tmp_path: Path) -> None:
    made = Generator.fresh(model.engine.model, CONFIG)
    with pytest.raises(UsageError, match="no documents"):
        training.train(made, model.engine.model, [], QUICK, tmp_path)


def squad(folder: Path) -> str:
    records = [
        {"title": f"Page {n}", "context": f"Ada Marsh built {n}.", "questions": [{"question": "?", "answer": str(n)}]}
        for n in range(10)
    ]
    (folder / "p.json").write_text(json.dumps(records), encoding="utf-8")
    return str(folder / "p.json")


def test_a_tasks_train_split_becomes_documents(model: HfModel, tmp_path: Path) -> None:
    tables: dict[str, dict[str, Any]] = {
        "task": {"data": squad(tmp_path)},
        "generator": {"keys": 16, "values": 16},
        "training": {"batch": 2},
    }
    made, settings, found = prepared(model, "squad", "", tables)
    assert settings.batch == 2
    assert 0 < len(found) < 10
    assert model.prompts.decode(found[0].text).startswith("Page")
    assert found[0].questions[0][1][-1] == model.prompts.end_token_id
    assert made(model.engine.model).config.base == model.base
    with pytest.raises(UsageError, match=r"generator\.key"):
        prepared(model, "squad", "", {**tables, "generator": {"key": 16}})


def session(folder: Path, model: HfModel, updater: Generated) -> SessionService:
    task = Squad(Squad.Settings(data=squad(folder)))
    s = open_session(folder / "run", task, {"student": model}, {"updater": ("updater", updater)})
    model._weights = s.context.weights
    return s


def jobs(s: SessionService, start: State, *counts: int) -> list[UpdateJob]:
    """One job for each count, with that many passages."""
    every = [e for split in ("train", "validation", "test") for e in s.episodes(split)]  # type: ignore[arg-type]
    edits = [SelfEdit(f"{e.id}/0", e.id, (Recipe("repeat", {"times": 1}),)) for e in every]
    return [UpdateJob(f"j{n}", start, tuple(edits[:count]), 0) for n, count in enumerate(counts)]


@pytest.fixture
def generator(model: HfModel, tmp_path: Path) -> str:
    made = Generator.fresh(model.engine.model, replace(CONFIG, base=model.base), 0)
    for _, cell in made.named_cells():
        nn.init.normal_(cell.b.weight, std=1.0, generator=torch.Generator().manual_seed(1))
    made.save(tmp_path / "generator")
    return str(tmp_path / "generator")


def updated(folder: Path, model: HfModel, generator: str, regime: Any, count: int) -> tuple[Updated, Any]:
    folder.mkdir()
    s = session(folder, model, Generated(GeneratedSettings(generator, regime)))
    [one] = s.update("updater", jobs(s, s.roles["student"], count))
    weights = s.context.weights.adapter(one.state.adapters[0]) if one.state else None
    s.journal.close()
    return one, weights


def test_one_text_is_the_same_in_every_regime_and_several_are_not(
    model: HfModel, tmp_path: Path, generator: str
) -> None:
    alone, several = {}, {}
    for regime in ("concatenated", "summed", "sequential"):
        _, alone[regime] = updated(tmp_path / f"{regime}1", model, generator, regime, 1)
        _, several[regime] = updated(tmp_path / f"{regime}3", model, generator, regime, 3)
    assert len({weights.digest() for weights in alone.values()}) == 1
    assert len({weights.digest() for weights in several.values()}) == 3


def test_a_text_that_is_too_long_fails_its_update_alone(model: HfModel, tmp_path: Path, generator: str) -> None:
    (tmp_path / "s").mkdir()
    s = session(tmp_path / "s", model, Generated(GeneratedSettings(generator)))
    fine, long = s.update("updater", jobs(s, s.roles["student"], 1, 10))
    assert fine.status == "ok"
    assert fine.log["steps"] == 0
    assert (long.status, long.state) == ("failed", None)
    assert "context length" in long.reason


def test_a_generator_of_another_model_is_refused(model: HfModel, tmp_path: Path) -> None:
    Generator.fresh(model.engine.model, replace(CONFIG, base="another"), 0).save(tmp_path / "other")
    s = session(tmp_path, model, Generated(GeneratedSettings(str(tmp_path / "other"))))
    with pytest.raises(UsageError, match="was trained for the model another"):
        s.update("updater", jobs(s, s.roles["student"], 1))
    with pytest.raises(UsageError, match="name the generator"):
        Generated(GeneratedSettings())
