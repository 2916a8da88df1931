"""Every family that docs/models.md lists, as a tiny random model: scored, decoded and trained as transformers and peft
do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from harness.engine import (
    Engine,
    GenerationRow,
    HyperParameters,
    MemoryPlan,
    TrainJob,
    TrainSequence,
    plain_weights,
)
from harness.engine.score import ScoreRow

from .models import merged, random_adapter
from .oracle import assert_same, train_alone

FAMILIES: dict[str, dict[str, Any]] = {
    "cohere": {}, "exaone4": {}, "gemma": {}, "gemma2": {"query_pre_attn_scalar": 8, "attn_logit_softcapping": 2.0},
    "gemma3_text": {"query_pre_attn_scalar": 8}, "glm": {}, "gpt2": {"n_inner": 48}, "gpt_neox": {},
    "granite": {}, "llama": {}, "mistral": {}, "mixtral": {"num_local_experts": 4}, "olmo": {}, "olmo2": {},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2}, "phi": {}, "phi3": {}, "qwen2": {}, "qwen3": {},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}, "smollm3": {},
    "starcoder2": {},
}  # fmt: skip
REFUSED = {"bloom": "change each other", "stablelm": "cannot be run by the engine, which packs texts"}
DOCS = Path(__file__).parents[2] / "docs" / "models.md"


def tiny(family: str, **more: Any) -> PreTrainedModel:
    """Two layers of width 32; weights are drawn wide enough that logits differ clearly between tokens."""
    config = AutoConfig.for_model(
        family, vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        **more,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    for parameter in model.parameters():
        if parameter.dim() >= 2:
            with torch.no_grad():
                parameter.normal_(0, 0.25)
    found: PreTrainedModel = model.eval()
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_served_as_transformers_and_peft_do(family: str) -> None:
    model = tiny(family, **FAMILIES[family])
    engine = Engine(model, eos_token_ids=[2], pad_token_id=0, plan=MemoryPlan())
    adapter = random_adapter(model, 1, targets=None)
    draw = torch.Generator().manual_seed(0)
    ids = tuple(torch.randint(3, 64, (12,), generator=draw).tolist())
    rows = [ScoreRow(ids[:5], ids[5:]), ScoreRow(ids[:5], ids[5:], (adapter,)), ScoreRow(ids[3:5], ids[7:9])]
    plain, adapted, _ = engine.logprobs(rows)
    said = engine.generate(
        [GenerationRow(ids[:5], max_tokens=4), GenerationRow(ids[:5], max_tokens=4, adapters=(adapter,))]
    )
    for found, one, reference in ((plain, said[0], model), (adapted, said[1], merged(model, adapter))):
        with torch.no_grad():
            logprobs = reference(torch.tensor([ids])).logits[0].log_softmax(-1)
            text = list(ids[:5])
            for _ in range(4):
                text.append(int(reference(torch.tensor([text])).logits[0, -1].argmax()))
        assert found == pytest.approx([logprobs[at - 1, ids[at]].item() for at in range(5, 12)], abs=2e-4)
        expected = text[5 : text.index(2, 5)] if 2 in text[5:] else text[5:]
        assert list(one.ids) == expected
    assert plain != pytest.approx(adapted, abs=1e-3)

    hp = HyperParameters(rank=4, alpha=8, targets=None, epochs=2, learning_rate=1e-3)
    job = TrainJob("job", (TrainSequence(ids), TrainSequence(ids[2:9])), hp, seed=3)
    [result] = engine.train([job])
    assert result.adapter is not None
    assert_same(result.adapter, train_alone(model, job))


@pytest.mark.parametrize("family", REFUSED)
def test_a_family_that_cannot_be_run_exactly_is_refused(family: str) -> None:
    with pytest.raises(ValueError, match=REFUSED[family]):
        Engine(tiny(family), eos_token_ids=[2], pad_token_id=0)


def test_what_gpt2_stores_transposed_is_written_as_it_was(tmp_path: Path) -> None:
    model = tiny("gpt2")
    ids = torch.tensor([[5, 6, 7, 8]])
    before, stored = model(ids).logits, {name: tensor.clone() for name, tensor in model.state_dict().items()}
    engine = Engine(model, eos_token_ids=[2], pad_token_id=0, plan=MemoryPlan())
    assert torch.allclose(engine.model(ids).logits, before, atol=1e-5)
    model.save_pretrained(tmp_path, state_dict=plain_weights(model))
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in again.state_dict().items())
    adapter = random_adapter(model, 1, targets=None)
    adapter.save(tmp_path / "adapter")
    adapted = PeftModel.from_pretrained(again, tmp_path / "adapter")(ids).logits
    [found] = engine.logprobs([ScoreRow((5,), (6, 7, 8), (adapter,))])
    expected = adapted[0].log_softmax(-1)[[0, 1, 2], [6, 7, 8]].tolist()
    assert found == pytest.approx(expected, abs=1e-4), "peft applies it to the model as transformers loads it"


def test_the_documentation_lists_these_families() -> None:
    text = " ".join(DOCS.read_text(encoding="utf-8").split())
    [served] = re.findall(r"Tested as tiny random models: (.*?)\. ", text)
    assert re.findall(r"`(\w+)`", served) == list(FAMILIES)
    [refused] = re.findall(r"Refused when loaded: (.*?)\. ", text)
    assert re.findall(r"`(\w+)`", refused) == list(REFUSED)
