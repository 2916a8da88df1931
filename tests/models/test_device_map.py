"""A model that is divided among several GPUs, because it is larger than one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from transformers import AutoModelForCausalLM

from harness.api import Example, HarnessError, Request, State, TrainItem
from harness.engine import HyperParameters, TrainSequence, full_finetune
from harness.engine.split import device_map
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings
from tests.engine.models import small_model
from tests.engine.pretended import Pretended
from tests.models.conftest import Weights


@pytest.mark.parametrize(
    ("settings", "count", "said"),
    [
        ({"device_map": "auto"}, 1, "divides a model among GPUs, and torch sees 1 of them"),
        ({"device_map": "cuda:0,2"}, 2, "there is no cuda:2; torch sees 2 GPUs"),
        ({"device_map": "cuda:0"}, 2, "write auto .* or cuda:0,1"),
        ({"device_map": "cpu:2"}, 2, "write auto .* or cuda:0,1"),
        ({"device_map": "cuda:0,1,2"}, 3, "2 layers cannot be divided among 3 devices"),
        ({"device_map": "cuda:0,1", "device": "cpu"}, 2, "so device .cpu. cannot"),
    ],
)
def test_a_model_that_cannot_be_divided_is_refused(
    settings: dict[str, str],
    count: int,
    said: str,
    folders: Mapping[str, Path],
    weights: Weights,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(HarnessError, match=said):
        _ = HfModel(HfSettings(path=str(folders["llama"]), **settings), weights).engine  # type: ignore[arg-type]


def test_a_divided_model_learns_and_answers_as_a_whole_one(
    folders: Mapping[str, Path], weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two GPUs that are not there: the loader is told which module goes where, and the test puts it there."""
    settings: dict[str, Any] = {
        "path": str(folders["llama"]),
        "dtype": "float32",
        "memory": {"slots": 2, "tokens": 256},
    }
    item = {"rank": 4, "epochs": 3}
    ready, device = AutoModelForCausalLM.from_pretrained(settings["path"], dtype=torch.float32), Pretended()

    def placed(path: str, *, device_map: Mapping[str, str], **options: Any) -> Any:
        for name, where in device_map.items():
            device.move(ready.get_submodule(name), torch.device(where))
        return add_hook_to_module(ready, AlignDevicesHook(io_same_device=True))

    def asked(model: HfModel) -> tuple[list[float], list[str], list[float]]:
        state = State(model.base)
        [done] = model.train([TrainItem("one", state, (Example("", "Ada Marsh built the tower."),), 3, item)])
        assert done.adapter is not None
        weights.put(done.adapter)
        learnt = State(model.base, (done.adapter.digest(),))
        answers = [
            c.text for [c] in model.generate([Request(one, "Question:", max_tokens=5) for one in (state, learnt)])
        ]
        [scores] = model.logprobs([(learnt, "who built", " the tower?")])
        return done.log["losses"], answers, list(scores)

    wanted = asked(HfModel(HfSettings(**settings, device="cpu"), weights))  # type: ignore[arg-type]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", placed)
    with device:
        divided = HfModel(HfSettings(**settings, device_map="auto"), weights)  # type: ignore[arg-type]
        losses, answers, scores = asked(divided)
        assert {one.weight.device.index for one in divided.engine.model.modules() if hasattr(one, "weight")} == {0, 1}
        assert not hasattr(divided.engine.model, "_hf_hook"), "accelerate would bring the logits back to the first GPU"
        assert divided.identity["device"] == "cuda"
        with divided.borrow(State(divided.base)) as lent, pytest.raises(ValueError, match="is divided among several"):
            full_finetune(lent.module, [TrainSequence((1, 2, 3))], HyperParameters(), plan=lent.plan)
        merged = divided.merge(State(divided.base))
    assert losses == pytest.approx(wanted[0], rel=1e-4)
    assert answers == wanted[1]
    assert scores == pytest.approx(wanted[2], abs=1e-4)
    assert all(tensor.device.type == "cpu" for tensor in merged.tensors.values())


@pytest.mark.parametrize("tied", [False, True])
def test_layers_stay_in_order_and_each_gpu_has_its_share(tied: bool) -> None:
    model = small_model("llama", num_hidden_layers=7, tie_word_embeddings=tied)
    found = device_map(model, ["cuda:0", "cuda:1", "cuda:2"])
    layers = [found[f"model.layers.{i}"] for i in range(7)]
    assert layers == sorted(layers)
    assert {layers.count(f"cuda:{i}") for i in range(3)} <= {1, 2, 3}
    assert found["model.embed_tokens"] == found["model.rotary_emb"] == "cuda:0"
    assert found["model.norm"] == "cuda:2"
    assert found["lm_head"] == ("cuda:0" if tied else "cuda:2"), "a shared weight lies in one place"
    for name, _ in model.named_parameters():
        assert any(name.startswith(f"{module}.") for module in found)
