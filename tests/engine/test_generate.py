"""Decoding many rows under many adapter stacks equals decoding each one alone with merged weights."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.engine import Adapter, Engine, GenerationRow, MemoryPlan
from harness.engine.generate import choose

from .models import FAMILIES, VOCAB, merged, random_adapter, small_model

PLAN = MemoryPlan(slots=3, tokens=200, rows=6, cache_tokens=2000)


def engine_for(model: torch.nn.Module, plan: MemoryPlan = PLAN) -> Engine:
    return Engine(model, eos_token_ids=[2], pad_token_id=0, plan=plan)  # type: ignore[arg-type]


def prompts(count: int, seed: int, longest: int = 30) -> list[tuple[int, ...]]:
    """Random prompts; some share a long beginning, some are equal."""
    rng = random.Random(seed)
    beginning = tuple(rng.randrange(3, VOCAB) for _ in range(45))
    out = []
    for i in range(count):
        own = tuple(rng.randrange(3, VOCAB) for _ in range(rng.randint(1, longest)))
        out.append(beginning + own if i % 3 == 0 else beginning[:7] if i % 7 == 1 else own)
    return out


def reference(model: torch.nn.Module, row: GenerationRow) -> tuple[int, ...]:
    ids = torch.tensor([row.prompt], device=model.device)  # type: ignore[union-attr]
    out = model.generate(  # type: ignore[operator]
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=row.max_tokens,
        do_sample=False,
        eos_token_id=2,
        pad_token_id=0,
    )[0, ids.shape[1] :].tolist()
    return tuple(out[: out.index(2)] if 2 in out else out)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_equals_transformers_on_merged_weights(family: str, products: str, device: torch.device) -> None:
    model = small_model(family).to(device)
    one, two, three = (random_adapter(model, seed, rank=rank) for seed, rank in ((1, 4), (2, 8), (3, 3)))
    stacks = [(), (one,), (two,), (one, three)]
    plain = [merged(model, *stack) for stack in stacks]
    rows = [
        GenerationRow(prompt, stacks[i % 4], max_tokens=3 + i % 9, logprobs=True)
        for i, prompt in enumerate(prompts(20, 5))
    ]
    got = engine_for(model).generate(rows)
    assert [g.ids for g in got] == [reference(plain[i % 4], row) for i, row in enumerate(rows)]
    scored = engine_for(model).logprobs([(row.prompt, g.ids, row.adapters) for row, g in zip(rows, got, strict=True)])
    for g, scores in zip(got, scored, strict=True):
        assert g.logprobs == pytest.approx(scores, abs=1e-4)


def test_logprobs_and_hidden_equal_transformers(products: str, device: torch.device) -> None:
    model = small_model("qwen2").to(device)
    adapter = random_adapter(model, 4)
    plain = merged(model, adapter)
    texts = prompts(7, 2)
    engine = engine_for(model)
    scores = engine.logprobs([(text[:1], text[1:], (adapter,)) for text in texts])
    states = engine.hidden([(text, (adapter,)) for text in texts], layer=-1, pool="last")
    middle = engine.hidden([(text, (adapter,)) for text in texts], layer=1)
    for text, score, last, mean in zip(texts, scores, states, middle, strict=True):
        ids = torch.tensor([text], device=device)
        with torch.no_grad():
            out = plain(ids, output_hidden_states=True)
        expected = out.logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(score), expected.cpu(), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(torch.tensor(last), out.hidden_states[-1][0, -1].cpu(), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(torch.tensor(mean), out.hidden_states[1][0].mean(0).cpu(), atol=1e-4, rtol=1e-4)
    assert engine.logprobs([((), texts[0], (adapter,))])[0] == pytest.approx(scores[0], abs=1e-5)


def test_sliding_window_equals_transformers(products: str, device: torch.device) -> None:
    model = small_model("mistral", sliding_window=16).to(device)
    rows = [GenerationRow(prompt, max_tokens=6) for prompt in prompts(8, 3)]
    assert [g.ids for g in engine_for(model).generate(rows)] == [reference(model, row) for row in rows]


@settings(max_examples=12, deadline=None)
@given(st.permutations(range(14)), st.integers(2, 14))
def test_permuting_rows_changes_nothing(order: list[int], rows_at_once: int) -> None:
    model = small_model("llama")
    adapters = [random_adapter(model, seed) for seed in (1, 2)]
    rows = [
        GenerationRow(
            prompt, (adapters[i % 2],) if i % 3 else (), max_tokens=2 + i % 5, temperature=(0.0, 0.7, 1.3)[i % 3],
            top_p=(1.0, 0.9)[i % 2], seed=i, logprobs=True,
        )
        for i, prompt in enumerate(prompts(14, 9))
    ]  # fmt: skip
    plan = MemoryPlan(slots=3, tokens=200, rows=rows_at_once, cache_tokens=2000)
    straight = engine_for(model, plan).generate(rows)
    shuffled = engine_for(model, plan).generate([rows[i] for i in order])
    assert shuffled == [straight[i] for i in order]  # bit-identical: the batches are the same


def test_sampling_follows_the_models_distribution() -> None:
    logits = torch.tensor([2.0, 1.0, 0.5, -1.0]).expand(4000, -1)
    generator = torch.Generator().manual_seed(0)
    uniforms = torch.rand(4000, generator=generator, dtype=torch.float64).tolist()
    drawn = torch.tensor(choose(logits, [0.8] * 4000, [1.0] * 4000, uniforms)).bincount(minlength=4) / 4000
    torch.testing.assert_close(drawn, (logits[0] / 0.8).softmax(-1), atol=0.03, rtol=0)
    nucleus = torch.tensor(choose(logits, [0.8] * 4000, [0.8] * 4000, uniforms)).bincount(minlength=4) / 4000
    kept = (logits[0] / 0.8).softmax(-1)[:2]
    torch.testing.assert_close(nucleus[:2], kept / kept.sum(), atol=0.03, rtol=0)
    assert nucleus[2:].sum() == 0
    assert choose(logits[:1], [1.0], [0.01], [0.999]) == [0]


def test_stopping() -> None:
    model = small_model("qwen2")
    free = engine_for(model).generate([GenerationRow((5, 6, 7), max_tokens=10)])[0]
    assert len(free.ids) == 10
    assert free.finish == "length"
    assert free.eos is None
    cut = engine_for(model).generate(
        [
            GenerationRow((5, 6, 7), max_tokens=10, stop=(free.ids[3:5],)),
            GenerationRow((5, 6, 7), max_tokens=10, stop=lambda ids: len(ids) == 4),
            GenerationRow((5, 6, 7), max_tokens=0),
        ]
    )
    assert (cut[0].ids, cut[0].finish) == (free.ids[:3], "stop")
    assert (cut[1].ids, cut[1].finish) == (free.ids[:4], "stop")
    assert (cut[2].ids, cut[2].finish) == ((), "length")
    ended = Engine(model, eos_token_ids=[free.ids[2]], pad_token_id=0, plan=PLAN).generate([GenerationRow((5, 6, 7))])[
        0
    ]
    assert (ended.ids, ended.finish, ended.eos) == (free.ids[:2], "stop", free.ids[2])


def test_model_is_untouched_and_foreign_models_are_refused() -> None:
    from transformers import MambaConfig, MambaForCausalLM

    model = small_model("qwen2")
    before = {name: p.clone() for name, p in model.named_parameters()}
    config = model.config._attn_implementation
    engine_for(model).generate([GenerationRow((5, 6), (random_adapter(model, 1),), max_tokens=3)])
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    assert model.config._attn_implementation == config
    assert not any("forward" in module.__dict__ for module in model.modules())
    mamba = MambaForCausalLM(MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, state_size=4))
    with pytest.raises(ValueError, match=r"MambaMixer|Conv1d"):
        engine_for(mamba)
    head = Adapter({"lm_head": (torch.zeros(1, 32), torch.zeros(VOCAB, 1))}, 1, 1.0, ("lm_head",))
    with pytest.raises(ValueError, match="'lm_head', which the engine cannot"):
        engine_for(model).generate([GenerationRow((5, 6), (head,))])
    wider = random_adapter(small_model("qwen2", hidden_size=64), 1)
    with pytest.raises(ValueError, match="in the adapter"):
        engine_for(model).generate([GenerationRow((5, 6), (wider,))])
