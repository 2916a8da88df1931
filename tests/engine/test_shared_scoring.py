"""Scoring after common beginnings equals scoring one by one; thinned networks are named by their seeds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.engine import Engine, HiddenRow, MemoryPlan, ScoreRow, Thinned
from harness.engine import score as scoring

from .models import FAMILIES, VOCAB, random_adapter, small_model

PLAN = MemoryPlan(slots=2, tokens=200, rows=6, cache_tokens=600)


def engine_for(model: Any, plan: MemoryPlan = PLAN) -> Engine:
    return Engine(model, eos_token_ids=[2], pad_token_id=0, plan=plan)


def rows_for(model: Any, seed: int, count: int = 24) -> list[ScoreRow]:
    """Continuations after two long beginnings, after prompts of their own and after none, under three stacks."""
    rng = random.Random(seed)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(rng.randrange(3, VOCAB) for _ in range(n))

    beginnings = [ids(50), ids(37), ids(8), ()]
    stacks = [(), (random_adapter(model, 1),), (random_adapter(model, 2), random_adapter(model, 3))]
    out = [
        ScoreRow(beginnings[rng.randrange(4)] + ids(rng.randrange(5)), ids(rng.randrange(1, 6)), stacks[i % 3])
        for i in range(count)
    ]
    return [*out, ScoreRow(out[0].prompt, ids(2), out[0].adapters), ScoreRow(out[0].prompt, (), ()), out[1]]


def one_by_one(engine: Engine, rows: Sequence[ScoreRow]) -> list[tuple[list[float], bool]]:
    return [engine.likelihoods([row])[0] for row in rows]


@pytest.mark.parametrize("family", FAMILIES)
def test_shared_beginnings_change_no_score(family: str, device: torch.device) -> None:
    model = small_model(family).to(device)
    rows = rows_for(model, 3)
    engine = engine_for(model)
    for (alone, first), (together, second) in zip(one_by_one(engine, rows), engine.likelihoods(rows), strict=True):
        assert together == pytest.approx(alone, abs=1e-5)
        assert first == second


def test_a_beginning_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model("llama")
    engine = engine_for(model, MemoryPlan(tokens=2048))
    read: list[int] = []
    inner = engine._frozen.logits
    monkeypatch.setattr(
        engine._frozen, "logits", lambda ids, *rest, **more: (read.append(len(ids)), inner(ids, *rest, **more))[1]
    )
    beginning = tuple(range(3, 63))
    engine.logprobs([((*beginning, token), (9,), ()) for token in range(3, 43)])
    assert read == [60, 40 * 2]


@settings(max_examples=12, deadline=None)
@given(st.permutations(range(27)), st.sampled_from([60, 90, 200, 2048]), st.sampled_from([1, 70, 600, 65536]))
def test_the_order_of_rows_changes_no_bit_and_no_limit_a_score(order: list[int], tokens: int, cache: int) -> None:
    model = small_model("llama")
    rows = rows_for(model, 5)
    plan = MemoryPlan(slots=2, tokens=tokens, rows=6, cache_tokens=cache)
    straight = engine_for(model, plan).likelihoods(rows)
    assert engine_for(model, plan).likelihoods([rows[i] for i in order]) == [straight[i] for i in order]
    for (found, _), (alone, _) in zip(straight, one_by_one(engine_for(model), rows), strict=True):
        assert found == pytest.approx(alone, abs=1e-5)


def test_a_pack_keeps_to_the_plan() -> None:
    model = small_model("llama")
    rows = rows_for(model, 7, 60)
    members = []
    stacks = [scoring.stack_digest(row.adapters) for row in rows]
    runs = [
        run
        for run in scoring.common_beginnings(list(zip(stacks, [r.prompt for r in rows], strict=True)))
        if len(run.members) > 1
    ]
    for pack in scoring._parts_of(runs, rows, PLAN):
        mine = [i for run in pack for i in run.members]
        lengths = [len(rows[i].prompt) + len(rows[i].continuation) for i in mine]
        assert len({run.stack for run in pack}) <= PLAN.slots
        assert len(mine) == 1 or max(lengths) * len(mine) <= PLAN.cache_tokens
        read = sum(
            run.shared + sum(len(rows[i].prompt) + len(rows[i].continuation) - run.shared for i in run.members)
            for run in pack
        )
        assert len(mine) == 1 or read <= PLAN.tokens
        members += mine
    assert sorted(members) == sorted(i for run in runs for i in run.members)


# --- dropout ---


def thin(rows: Sequence[ScoreRow], rate: float, seed: int) -> list[ScoreRow]:
    return [row._replace(thinned=Thinned(rate, seed)) for row in rows]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_thinned_network_is_named_by_its_seed(family: str, products: str) -> None:
    model = small_model(family)
    rows, engine = rows_for(model, 3), engine_for(model)
    plain = engine.logprobs(rows)
    once = engine.logprobs(thin(rows, 0.2, 1))
    assert once == engine.logprobs(thin(rows, 0.2, 1))
    assert once != plain
    assert once != engine.logprobs(thin(rows, 0.2, 2))
    assert engine.logprobs(rows) == plain, "nothing of it stays"
    for row, found in zip(thin(rows, 0.2, 1), once, strict=True):
        assert engine.logprobs([row])[0] == pytest.approx(found, abs=1e-5), "whatever shares its batch"
    mixed = engine.logprobs([thin([row], 0.2, i)[0] if i % 2 else row for i, row in enumerate(rows)])
    for i, row in enumerate(rows):
        alone = engine.logprobs([thin([row], 0.2, i)[0]])[0] if i % 2 else plain[i]
        assert mixed[i] == pytest.approx(alone, abs=1e-5)


def test_a_thinned_network_reads_thinned_inputs() -> None:
    """Against transformers with the masks multiplied in by hand."""
    from harness.engine.dropout import masks

    model = small_model("llama")
    engine = engine_for(model)
    groups = engine._frozen.groups
    factors = masks([Thinned(0.3, 4)], [next(iter(group.values())).in_features for group in groups])
    values = torch.cat([factor.flatten() for factor in factors])
    assert {round(float(v), 4) for v in values.unique()} == {0.0, round(1 / 0.7, 4)}
    assert 0.2 < float((values == 0).float().mean()) < 0.4
    text = (5, 6, 7, 8, 9)
    found = engine.hidden([HiddenRow(text, (), Thinned(0.3, 4))], layer=-1, pool="last")[0]
    handles = [
        linear.register_forward_pre_hook(lambda _, given, by=factor: (given[0] * by[0],))
        for group, factor in zip(groups, factors, strict=True)
        for linear in group.values()
    ]
    with torch.no_grad():
        out = model(torch.tensor([text]), output_hidden_states=True)
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(torch.tensor(found), out.hidden_states[-1][0, -1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        engine_for(small_model("llama")).logprobs(thin([ScoreRow((5,), (6,))], rate, 1))
