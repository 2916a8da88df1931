"""The local backend through the public surface of :class:`harness.api.LM`, compared with plain transformers."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.api import HarnessError, Request, State
from harness.books.artefacts import FullWeights
from harness.errors import PluginError
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings
from tests.models.conftest import Weights, random_adapter

PROMPTS = [
    "The lighthouse at Kemble Point",
    "Question: who built the tower? Answer:",
    "A",
    "The storm of 1871 was the worst that Ada Marsh had seen since she built the tower. A list of implications:",
    "",
]


def state(model: HfModel, *adapters: str) -> State:
    return State(model.base, adapters)


def by_hand(model: HfModel, prompt: tuple[int, ...], continuation: tuple[int, ...]) -> list[float]:
    """Log-probabilities of a continuation by one plain forward pass of the module."""
    with torch.no_grad():
        logits = model.engine.model(torch.tensor([prompt + continuation])).logits[0].log_softmax(-1)
    first = len(prompt)
    return [float(logits[first + i - 1, token]) for i, token in enumerate(continuation)]


def test_what_it_can(llama: HfModel, instruct: HfModel, folders: Mapping[str, Path], weights: Weights) -> None:
    assert llama.can == {"generate", "logprobs", "hidden", "dropout", "train", "seed"}
    assert instruct.can == llama.can | {"chat"}
    base = HfModel(HfSettings(path=str(folders["qwen"]), device="cpu"), weights)
    assert "chat" not in base.can, "a base model with a template is still a base model"
    forced = HfModel(HfSettings(path=str(folders["qwen"]), device="cpu", chat=True), weights)
    assert "chat" in forced.can
    off = HfModel(HfSettings(path=str(folders["instruct"]), device="cpu", chat=False), weights)
    assert "chat" not in off.can
    with pytest.raises(HarnessError, match="no chat template"):
        _ = HfModel(HfSettings(path=str(folders["llama"]), chat=True), weights).can


def test_greedy_equals_plain_transformers(llama: HfModel) -> None:
    asks = [Request(state(llama), prompt, max_tokens=12) for prompt in PROMPTS]
    got = [completion.text for [completion] in llama.generate(asks)]
    for prompt, text in zip(PROMPTS, got, strict=True):
        ids = torch.tensor([llama.prompts.prompt_ids(prompt)])
        out = llama.engine.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        assert text == llama.prompts.decode(out[0, ids.shape[1] :].tolist())


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(8)), temperature=st.sampled_from([0.0, 0.7, 1.3]))
def test_permuted_batches_give_the_same_texts(llama: HfModel, order: list[int], temperature: float) -> None:
    asks = [
        Request(
            state(llama), PROMPTS[i % 5], n=1 + i % 3, temperature=temperature, top_p=0.95, max_tokens=4 + i, seed=i
        )
        for i in range(8)
    ]
    straight = [[c.text for c in row] for row in llama.generate(asks)]
    mixed = [[c.text for c in row] for row in llama.generate([asks[i] for i in order])]
    assert mixed == [straight[i] for i in order]
    alone = [c.text for c in llama.generate([asks[order[0]]])[0]]
    assert alone == straight[order[0]]


def test_samples_differ_and_repeat(llama: HfModel) -> None:
    ask = Request(state(llama), PROMPTS[0], n=6, temperature=1.0, max_tokens=10, seed=5)
    [first], [again] = llama.generate([ask]), llama.generate([ask])
    assert [c.text for c in first] == [c.text for c in again]
    assert len({c.text for c in first}) > 3
    [other] = llama.generate([dataclasses.replace(ask, seed=6)])
    assert [c.text for c in other] != [c.text for c in first]


def test_logprobs_equal_a_hand_computation(llama: HfModel, weights: Weights) -> None:
    texts = [" was built in 1871.", " Ada Marsh", "x", " nobody knows, not even Ada", "alone"]
    asks = [(state(llama), prompt, text) for prompt, text in zip(PROMPTS, texts, strict=True)]
    for (_, prompt, text), got in zip(asks, llama.logprobs(asks), strict=True):
        before, after = llama.prompts.continuation_ids(prompt, text)
        assert list(got) == pytest.approx(by_hand(llama, before, after), abs=1e-4)
        assert llama.prompts.decode(after) == text

    digest = weights.put(random_adapter(llama, 1))
    adapted = llama.logprobs([(state(llama, digest), prompt, text) for _, prompt, text in asks])
    with llama.borrow(state(llama, digest)) as (module, _):
        for (_, prompt, text), got in zip(asks, adapted, strict=True):
            before, after = llama.prompts.continuation_ids(prompt, text)
            logits = module(torch.tensor([before + after])).logits[0].log_softmax(-1)
            hand = [float(logits[len(before) + i - 1, token]) for i, token in enumerate(after)]
            assert list(got) == pytest.approx(hand, abs=1e-4)


def test_sampled_completions_carry_tokens_and_their_logprobs(llama: HfModel) -> None:
    ask = Request(state(llama), PROMPTS[1], n=3, temperature=1.0, top_p=0.9, max_tokens=8, seed=1)
    [row] = llama.generate([ask])
    prompt = llama.prompts.prompt_ids(PROMPTS[1])
    for completion in row:
        assert completion.tokens is not None
        assert llama.prompts.decode(completion.tokens) == completion.text
        assert completion.logprobs == pytest.approx(by_hand(llama, prompt, completion.tokens), abs=1e-4)
    assert [c.cost["prompt_tokens"] for c in row] == [len(prompt), 0, 0]


def test_hidden_states(llama: HfModel) -> None:
    texts = PROMPTS[:4]
    for layer in (0, 1, -1):
        got = llama.hidden([(state(llama), text) for text in texts], layer=layer, pool="mean")
        for text, vector in zip(texts, got, strict=True):
            ids = torch.tensor([llama.prompts.prompt_ids(text)])
            with torch.no_grad():
                states = llama.engine.model(ids, output_hidden_states=True).hidden_states[layer][0]
            assert vector == pytest.approx(states.mean(0).tolist(), abs=1e-4)
    with pytest.raises(HarnessError, match="layer 9"):
        llama.hidden([(state(llama), "x")], layer=9)


def test_adapters_change_answers_and_leave_the_base_as_it_was(llama: HfModel, weights: Weights) -> None:
    before = {name: tensor.clone() for name, tensor in llama.engine.model.state_dict().items()}
    one, two = (weights.put(random_adapter(llama, seed)) for seed in (1, 2))
    stacks = [(), (one,), (two,), (one, two)]
    asks = [Request(state(llama, *stack), prompt, max_tokens=10) for stack in stacks for prompt in PROMPTS]
    mixed = [c.text for [c] in llama.generate(asks)]
    apart = [c.text for ask in asks for [c] in llama.generate([ask])]
    assert mixed == apart, "states that share a batch do not touch each other"
    answers = [tuple(mixed[i * 5 : i * 5 + 5]) for i in range(4)]
    assert len(set(answers)) == 4
    for name, tensor in llama.engine.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_borrow_merges_and_restores_bit_for_bit(llama: HfModel, weights: Weights) -> None:
    one, two = (weights.put(random_adapter(llama, seed)) for seed in (1, 2))
    before = {name: tensor.clone() for name, tensor in llama.engine.model.state_dict().items()}
    asks = [Request(state(llama, one, two), prompt, max_tokens=10) for prompt in PROMPTS]
    stacked = [c.text for [c] in llama.generate(asks)]
    with llama.borrow(state(llama, one, two)) as (module, tokenizer):
        for prompt, text in zip(PROMPTS, stacked, strict=True):
            ids = torch.tensor([llama.prompts.prompt_ids(prompt)])
            out = module.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, do_sample=False)
            assert tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True) == text
        with pytest.raises(PluginError, match="is lent"):
            llama.generate(asks)
    for name, tensor in llama.engine.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    with pytest.raises(RuntimeError, match="inside"), llama.borrow(state(llama, one)):
        raise RuntimeError("inside")
    for name, tensor in llama.engine.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("change", ["bit", "swap", "module"])
def test_a_borrower_that_leaves_changes_behind_is_caught(llama: HfModel, change: str) -> None:
    ask = [Request(state(llama), PROMPTS[0], max_tokens=10)]
    clean = llama.generate(ask)

    def spoil() -> None:
        with llama.borrow(state(llama)) as (module, _), torch.no_grad():
            mlp = module.model.layers[0].mlp
            if change == "bit":
                mlp.up_proj.weight.view(torch.int32)[0, 0] ^= 1
            elif change == "swap":
                mlp.up_proj.weight[[0, 1]] = mlp.up_proj.weight[[1, 0]].clone()
            else:
                mlp.up_proj = torch.nn.Sequential(mlp.up_proj)

    with pytest.raises(PluginError, match="came back with"):
        spoil()
    assert llama.generate(ask) == clean, "the weights are loaded anew"


def test_full_weights_replace_everything_before_them(llama: HfModel, weights: Weights) -> None:
    one, two = random_adapter(llama, 1), random_adapter(llama, 2)
    digest = weights.put(one)
    with llama.borrow(state(llama, digest)) as (module, _):
        tensors = {name: tensor.detach().clone() for name, tensor in module.named_parameters()}
    full, on_top = weights.put(FullWeights(tensors)), weights.put(two)
    stacks = [(digest,), (full,), (digest, two.digest()), (digest, full, on_top), (full, on_top), ()]
    asks = [Request(state(llama, *stack), prompt, max_tokens=8) for stack in stacks for prompt in PROMPTS]
    texts = [c.text for [c] in llama.generate(asks)]
    by_stack = [texts[i * 5 : i * 5 + 5] for i in range(6)]
    assert by_stack[0] == by_stack[1]
    assert by_stack[2] == by_stack[3] == by_stack[4]
    assert by_stack[5] != by_stack[0] != by_stack[2]


def test_stop_texts_end_and_are_cut(llama: HfModel) -> None:
    ask = Request(state(llama), PROMPTS[0], n=8, temperature=1.0, max_tokens=40, seed=2)
    [free] = llama.generate([ask])
    for completion in free:
        for width in (1, 2, 3):
            mark = completion.text[5 : 5 + width]
            if len(mark) < width or "\ufffd" in completion.text:
                continue
            [stopped] = llama.generate([dataclasses.replace(ask, stop=(mark, "never written"))])
            for full, cut in zip(free, stopped, strict=True):
                if mark in full.text:
                    assert (cut.text, cut.finish) == (full.text[: full.text.find(mark)], "stop")
                    assert len(cut.tokens or ()) <= len(full.tokens or ())
                else:
                    assert (cut.text, cut.finish) == (full.text, full.finish)


def test_truncation_is_said(llama: HfModel) -> None:
    asks = [Request(state(llama), PROMPTS[0], max_tokens=m, temperature=1.0, n=20, seed=1) for m in (3, 100)]
    short, long = llama.generate(asks)
    assert {c.finish for c in short} <= {"length", "stop"}
    assert all(len(c.tokens or ()) == 3 for c in short if c.finish == "length")
    assert any(c.finish == "length" for c in short)
    ended = [c for c in long if c.finish == "stop"]
    assert ended
    for c in ended:
        assert c.tokens is not None
        assert c.tokens[-1] in llama.prompts.eos_token_ids
        assert c.cost["completion_tokens"] == len(c.tokens)


def test_over_long_prompts_fail_and_are_never_cut(llama: HfModel) -> None:
    long = "Ada Marsh built the tower. " * 40
    fits, too_long, no_room = llama.generate(
        [
            Request(state(llama), PROMPTS[0], max_tokens=4),
            Request(state(llama), long, n=2, max_tokens=4),
            Request(state(llama), PROMPTS[0], max_tokens=1024),
        ]
    )
    count = len(llama.prompts.prompt_ids(long))
    assert fits[0].finish in ("length", "stop")
    assert [(c.text, c.finish, c.reason) for c in too_long] == [("", "failed", f"context length {count} + 4 > 128")] * 2
    assert (no_room[0].finish, no_room[0].reason[:14]) == ("failed", "context length")
    with pytest.raises(HarnessError, match="context length"):
        llama.logprobs([(state(llama), long, "x")])


def test_what_it_does_not_do(llama: HfModel, weights: Weights) -> None:
    bad: list[Any] = [
        Request(state(llama), "x", schema={"type": "object"}),
        Request(State("hf:other"), "x"),
        Request(state(llama), (("user", "x"),)),
    ]
    for ask in bad:
        with pytest.raises(HarnessError):
            llama.generate([ask])


def test_answers_do_not_depend_on_python_or_torch_seeds(llama: HfModel) -> None:
    ask = [Request(state(llama), PROMPTS[0], temperature=1.0, max_tokens=10, seed=5)]
    random.seed(0)
    torch.manual_seed(0)
    first = llama.generate(ask)
    random.seed(1)
    torch.manual_seed(1)
    assert llama.generate(ask) == first


def test_a_pack_is_what_the_engine_takes_at_once(llama: HfModel) -> None:
    assert (llama.chunk, llama.wave) == (2 * llama.memory()["rows"], llama.memory()["slots"])
