"""Full fine-tuning: a state with its own weights, which works like any other state."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from harness.api import HarnessError, Request, State, Updated, UpdateJob
from harness.updaters.full import Full, FullSettings
from harness.updaters.lora import Lora, LoraSettings
from tests.models.conftest import Weights, random_adapter
from tests.updaters.conftest import FACTS, SmallSession, edit, job

SMALL: dict[str, Any] = {"learning_rate": 2e-3, "epochs": 6, "batch_size": 2, "grad_accumulation": 1, "max_length": 96}


def apply(updater: Any, jobs: list[UpdateJob], session: SmallSession) -> dict[str, Updated]:
    return {updated.job: updated for updated in updater.apply(jobs, cast(Any, session))}


def full(**changes: Any) -> Full:
    return Full(FullSettings(**{**SMALL, **changes}))


def states(done: dict[str, Updated]) -> dict[str, State]:
    found = {}
    for name, updated in done.items():
        assert updated.status == "ok", updated.reason
        assert updated.state is not None
        found[name] = updated.state
    return found


def test_it_learns_and_gives_the_base_back(session: SmallSession, weights: Weights) -> None:
    model = session.model
    before = {name: tensor.clone() for name, tensor in model.engine.model.state_dict().items()}
    policy = weights.put(random_adapter(model, 1, size=0.1))
    jobs = [job(model, "base"), job(model, "on-policy", adapters=(policy,)), job(model, "again")]
    done = apply(full(), jobs, session)
    assert done["base"].log["steps"] == 12
    got = states(done)
    for name, tensor in model.engine.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert got["base"] == got["again"], "the same job gives the same weights"
    assert got["on-policy"].adapters[0] == policy
    assert len(got["on-policy"].adapters) == 2
    asks = [(state, "", FACTS[0]) for state in (State(model.base), got["base"], got["on-policy"])]
    untrained, trained, on_policy = (sum(row) for row in model.logprobs(asks))
    assert trained > untrained + 20
    assert on_policy > untrained + 20


def test_adapters_are_learnt_on_top(session: SmallSession, weights: Weights) -> None:
    model = session.model
    base = states(apply(full(), [job(model, "cpt")], session))["cpt"]
    news = "The bridge at Orrin was painted green in 1902."
    jobs = [UpdateJob("top", base, (edit("e", news),), 0), job(model, "beside", edit("e", news))]
    lora = Lora(LoraSettings(rank=4, alpha=8.0, epochs=15, learning_rate=1e-2, max_length=96))
    got = states(apply(lora, jobs, session))
    assert got["top"].adapters[0] == base.adapters[0]
    asks = [(state, "", news) for state in (base, got["top"])]
    before, after = (sum(row) for row in model.logprobs(asks))
    assert after > before + 5
    everyone = [State(model.base), base, got["top"], got["beside"]]
    requests = [Request(state, "The bridge", max_tokens=8) for state in everyone]
    assert model.generate(requests) == [row for one in requests for row in model.generate([one])]


def test_settings_and_failures(session: SmallSession) -> None:
    model = session.model
    jobs = [
        job(model, "job", epochs=1),
        job(model, "asks", edit("e", *FACTS, learning_rate=1e-3)),
        job(model, "long", edit("e", "word " * 200)),
        job(model, "ours", learning_rate=1e25),
    ]
    done = apply(full(), jobs, session)
    assert done["job"].log["steps"] == 2
    assert done["asks"].status == "failed"
    assert "which a full fine-tune does not allow" in done["asks"].reason
    assert done["long"].status == "failed"
    assert done["long"].reason.startswith("context length")
    assert (done["ours"].status, done["ours"].state) == ("error", None)
    assert done["ours"].reason.startswith("diverged")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"warmup_ratio": 2.0}, "warmup_ratio must be in"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"devices": "gpu:2"}, "devices 'gpu:2': write cuda:0,1"),
    ],
)
def test_bad_configurations_are_refused(session: SmallSession, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(HarnessError, match=f"updater full: {message}"):
        full(**changes)
    with pytest.raises(HarnessError, match="learnin_rate"):
        apply(full(), [job(session.model, "a", learnin_rate=1.0)], session)
