"""The default updater: precedence of settings, whose fault a failure is, and agreement with the reference."""

from __future__ import annotations

import random
from typing import Any, cast

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.api import Completion, Example, HarnessError, Preference, Request, Rollout, SelfEdit, State, Updated
from harness.engine import Adapter, HyperParameters
from harness.models.encode import hyper_parameters
from harness.models.train_settings import TrainSettings
from harness.registry.settings import check_settings
from harness.updaters.lora import Lora, LoraSettings
from harness.updaters.lora_reference import LoraReference, ReferenceSettings
from harness.updaters.peft_finetune import finetune
from tests.models.conftest import Weights, random_adapter
from tests.updaters.conftest import FACTS, SmallSession, edit, job

SMALL: dict[str, Any] = {"rank": 4, "alpha": 8.0, "epochs": 2, "learning_rate": 5e-3, "max_length": 96}


def apply(updater: Any, jobs: list[Any], session: SmallSession) -> dict[str, Updated]:
    return {updated.job: updated for updated in updater.apply(jobs, cast(Any, session))}


def lora(**changes: Any) -> Lora:
    return Lora(check_settings(LoraSettings, {**SMALL, **changes}, "updater lora", "updater 'lora'"))


def adapter(updated: Updated, weights: Weights) -> Adapter:
    assert updated.status == "ok", updated.reason
    assert updated.state is not None
    found = weights.adapter(updated.state.adapters[-1])
    assert isinstance(found, Adapter)
    return found


def apart(one: Adapter, two: Adapter) -> tuple[float, float]:
    """Largest differences of the As and of the Bs."""
    assert one.weights.keys() == two.weights.keys()
    pairs = [(one.weights[name], two.weights[name]) for name in one.weights]
    return (
        max(float((x[0] - y[0]).abs().max()) for x, y in pairs),
        max(float((x[1] - y[1]).abs().max()) for x, y in pairs),
    )


def test_training_changes_answers_and_leaves_the_base_bit_identical(session: SmallSession, weights: Weights) -> None:
    model = session.model
    before = {name: tensor.clone() for name, tensor in model.engine.model.state_dict().items()}
    done = apply(lora(epochs=10), [job(model, "a")], session)["a"]
    assert done.log["steps"] == 30
    assert done.log["loss"] > 0
    state = done.state
    assert state is not None
    texts = [(State(model.base), "", FACTS[1]), (state, "", FACTS[1])]
    untrained, trained = (sum(row) for row in model.logprobs(texts))
    assert trained > untrained + 5
    for name, tensor in model.engine.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"targets": "all-linear", "schedule": "cosine", "warmup_steps": 2},
        {"targets": ("q_proj", "down_proj"), "batch_size": 2, "grad_accumulation": 2, "epochs": 3},
        {"weight_decay": 0.1, "clip": 0.05, "schedule": "constant"},
        {"clip": 0.0, "pad_loss": "none", "loss_on": "all"},
        {"pad_loss": "reference", "pad_nodes": 1000},
        {"pad_loss": "reference", "pad_nodes": 1000, "batch_size": 3},
    ],
    ids=["default", "all-linear", "batches", "decay", "unclipped", "padded", "padded-batches"],
)
def test_equals_the_reference(session: SmallSession, weights: Weights, changes: dict[str, Any]) -> None:
    policy = weights.put(random_adapter(session.model, 3, size=0.1))
    jobs = [
        job(session.model, "plain", seed=1),
        job(session.model, "stacked", edit("p", *FACTS[:2], prompt="What of it?"), seed=2, adapters=(policy,)),
    ]
    fast = apply(lora(**changes), jobs, session)
    reference = apply(LoraReference(ReferenceSettings(**{**SMALL, **changes})), jobs, session)
    for name in ("plain", "stacked"):
        assert fast[name].log["steps"] == reference[name].log["steps"]
        assert fast[name].log["loss"] == pytest.approx(reference[name].log["loss"], abs=1e-3)
        in_a, in_b = apart(adapter(fast[name], weights), adapter(reference[name], weights))
        assert in_a <= 5e-4
        assert in_b <= 1e-4
        state = reference[name].state
        assert state is not None
        assert state.adapters[:-1] == jobs[name == "stacked"].start.adapters


def test_folded_padding_is_near_the_padded_objective(session: SmallSession) -> None:
    """Unbiased, not equal: the loss of the last step agrees to a few per cent."""
    jobs = [job(session.model, "a", seed=1)]
    changes = {"pad_loss": "reference", "epochs": 4, "learning_rate": 1e-3}
    fast = apply(lora(**changes), jobs, session)["a"]
    padded = apply(LoraReference(ReferenceSettings(**{**SMALL, **changes})), jobs, session)["a"]
    assert fast.log["loss"] == pytest.approx(padded.log["loss"], rel=0.1)
    assert fast.log["tokens"] < padded.log["tokens"]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations(range(5)),
    rates=st.lists(st.sampled_from([1e-3, 5e-3, 2e-2]), min_size=5, max_size=5),
    epochs=st.lists(st.integers(1, 3), min_size=5, max_size=5),
)
def test_jobs_of_one_bulk_do_not_touch_each_other(
    session: SmallSession, weights: Weights, order: list[int], rates: list[float], epochs: list[int]
) -> None:
    jobs = [
        job(
            session.model, f"j{i}", edit(f"e{i}", *FACTS[: 1 + i % 3], learning_rate=rates[i], epochs=epochs[i]), seed=i
        )
        for i in range(5)
    ]
    together = apply(lora(), [jobs[i] for i in order], session)
    assert sorted(together) == [f"j{i}" for i in range(5)]
    alone = apply(lora(), [jobs[order[0]]], session)
    name = f"j{order[0]}"
    in_a, in_b = apart(adapter(together[name], weights), adapter(alone[name], weights))
    assert in_a <= 5e-4
    assert in_b <= 1e-4


def test_settings_come_from_the_edit_then_the_job_then_the_updater(session: SmallSession, weights: Weights) -> None:
    model = session.model
    jobs = [
        job(model, "updater"),
        job(model, "job", epochs=3, rank=2),
        job(model, "edit", edit("e", *FACTS, epochs=1), epochs=3),
    ]
    done = apply(lora(), jobs, session)
    assert {name: done[name].log["steps"] for name in done} == {"updater": 6, "job": 9, "edit": 3}
    assert adapter(done["job"], weights).rank == 2
    assert adapter(done["updater"], weights).rank == 4


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"rank": 64}, "may not choose 'rank'; it may choose learning_rate, epochs, loss_on"),
        ({"learning_rate": 5.0}, "learning_rate may be at most 1"),
        ({"learning_rate": -1e-3}, "learning_rate must be positive"),
        ({"learning_rate": "fast"}, "learning_rate must be a number"),
        ({"learning_rate": True}, "learning_rate must be a number"),
        ({"learning_rate": None}, "learning_rate must be a number"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"epochs": 2.5}, "epochs"),
        ({"epochs": 100_000}, "epochs may be at most 100"),
        ({"loss_on": "some"}, "loss_on"),
        ({"anything": 1}, "may not choose 'anything'"),
    ],
)
def test_what_an_edit_may_not_ask_for_fails_it_alone(session: SmallSession, asked: dict[str, Any], reason: str) -> None:
    jobs = [job(session.model, "bad", edit("e", *FACTS, **asked)), job(session.model, "good")]
    for updater in (lora(), LoraReference(ReferenceSettings(**SMALL))):
        done = apply(updater, jobs, session)
        assert (done["bad"].status, done["bad"].state) == ("failed", None)
        assert reason in done["bad"].reason
        assert done["good"].status == "ok"


def test_edits_of_one_update_must_agree(session: SmallSession) -> None:
    agreed = (edit("a", FACTS[0], epochs=1), edit("b", FACTS[1], epochs=1))
    apart_ = (edit("a", FACTS[0], epochs=1), edit("b", FACTS[1], epochs=2))
    done = apply(lora(), [job(session.model, "yes", *agreed), job(session.model, "no", *apart_)], session)
    assert done["yes"].log["steps"] == 2
    assert (done["no"].status, done["no"].reason) == (
        "failed",
        "settings: the edits of one update ask for epochs 1 and 2",
    )


@pytest.mark.parametrize("which", ["lora", "lora-reference"])
def test_divergence_is_blamed_on_whoever_chose_the_settings(
    session: SmallSession, weights: Weights, which: str
) -> None:
    def updater(**changes: Any) -> Any:
        own = {**SMALL, "own_max_learning_rate": 1e30, **changes}
        return Lora(LoraSettings(**own)) if which == "lora" else LoraReference(ReferenceSettings(**own))

    calm = apply(updater(), [job(session.model, "calm")], session)["calm"]
    wild = job(session.model, "wild", edit("e", *FACTS, learning_rate=1e25))
    mixed = apply(updater(), [wild, job(session.model, "calm")], session)
    assert (mixed["wild"].status, mixed["wild"].log["cause"]) == ("failed", "diverged")
    assert mixed["wild"].reason.startswith("diverged")
    assert max(apart(adapter(mixed["calm"], weights), adapter(calm, weights))) <= 1e-5
    ours = apply(updater(learning_rate=1e25), [job(session.model, "ours")], session)["ours"]
    assert (ours.status, ours.state) == ("error", None)


def test_over_long_and_empty_edits_fail(session: SmallSession) -> None:
    model = session.model
    jobs = [
        job(model, "long", edit("l", "word " * 200)),
        job(model, "longer-than-the-model", edit("l", "word " * 200), max_length=4096),
        job(model, "empty", edit("e", "  \n ")),
        job(model, "nothing", SelfEdit("n", "episode", ())),
        job(model, "prompt-counts", edit("p", "short", prompt="word " * 200)),
    ]
    for updater in (lora(), LoraReference(ReferenceSettings(**SMALL))):
        done = apply(updater, jobs, session)
        assert {u.status for u in done.values()} == {"failed"}
        assert done["long"].reason.startswith("context length")
        assert done["long"].reason.endswith("> 96")
        assert done["longer-than-the-model"].reason.endswith("> 128")
        assert done["prompt-counts"].reason.startswith("context length")
        assert done["empty"].reason == "an empty training target"
        assert done["nothing"].reason == "nothing to train on"


def test_prompts_are_masked_unless_asked_for(session: SmallSession, weights: Weights) -> None:
    def trained(prompt: str, loss_on: str) -> Adapter:
        one = edit("e", " Ada Marsh", prompt=prompt)
        return adapter(apply(lora(loss_on=loss_on), [job(session.model, "j", one)], session)["j"], weights)

    base = trained("Who built the tower?", "target")
    assert max(apart(base, trained("Who built the tower?", "all"))) > 1e-3


def test_preferences_and_rollouts_come_in_by_the_same_door(session: SmallSession) -> None:
    model = session.model
    pair = SelfEdit("p", "episode", (Preference("Who built it?", " Ada Marsh", " a storm"),))
    done = apply(lora(loss="dpo", epochs=8), [job(model, "dpo", pair), job(model, "sft")], session)
    state = done["dpo"].state
    assert state is not None
    asks = [(who, "Who built it?", text) for who in (State(model.base), state) for text in (" Ada Marsh", " a storm")]
    good, bad, better, worse = (sum(row) for row in model.logprobs(asks))
    assert better - worse > good - bad + 0.1
    assert (done["sft"].status, done["sft"].reason) == ("failed", "the loss 'dpo' cannot learn from Example")

    ask = Request(State(model.base), "Who built it?", n=4, temperature=1.0, max_tokens=6, seed=1)
    [actions] = model.generate([ask])
    rollouts = tuple(Rollout(action, "g", 1.5 if i == 0 else -0.5) for i, action in enumerate(actions))
    done = apply(
        lora(loss={"use": "rloo"}, epochs=4), [job(model, "rloo", SelfEdit("r", "episode", rollouts))], session
    )
    assert done["rloo"].status == "ok"
    done = apply(lora(loss={"use": "rloo"}), [job(model, "sft")], session)
    assert (done["sft"].status, done["sft"].reason) == ("failed", "the loss 'rloo' cannot learn from Example")
    done = apply(lora(loss="grpo", epochs=4), [job(model, "grpo", SelfEdit("r", "episode", rollouts))], session)
    state = done["grpo"].state
    assert state is not None
    text = actions[0].text
    before, after = model.logprobs([(State(model.base), ask.prompt, text), (state, ask.prompt, text)])
    assert sum(after) > sum(before)
    remote = Completion(ask, "written elsewhere")
    done = apply(lora(loss="grpo"), [job(model, "text", SelfEdit("r", "e", (Rollout(remote, "g", 1.0),)))], session)
    assert done["text"].status == "ok"


def test_bad_configurations_are_refused(session: SmallSession) -> None:
    for changes, message in [
        ({"rank": 0}, "updater lora: rank must be at least 1"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"own": ("lr",)}, "'lr' is not a training setting"),
        ({"loss": {"use": "grpo", "dual_clip": 0.5}}, "dual_clip must be more than 1, or 0 for none, not 0.5"),
        ({"loss": {"use": "grpo", "clip_hi": 0.3}}, "updater lora.loss.grpo.clip_hi: Unexpected keyword argument"),
        ({"loss": {"use": "rloo", "clip_low": 1.5}}, "updater lora.loss.rloo.clip_low: Input should be less than 1"),
        ({"loss": {"use": "ppo"}}, "updater lora.loss: no such loss; there are sft, dpo, grpo and rloo"),
    ]:
        with pytest.raises(HarnessError, match=message):
            lora(**changes)
    with pytest.raises(HarnessError, match="dropout must be in"):
        LoraReference(ReferenceSettings(dropout=1.0))
    for updater in (lora(targets=("no_proj",)), LoraReference(ReferenceSettings(targets=("no_proj",)))):
        with pytest.raises(HarnessError, match="no_proj"):
            apply(updater, [job(session.model, "a")], session)
    with pytest.raises(HarnessError, match=r"no such training setting 'learnin_rate'.*learning_rate"):
        apply(lora(), [job(session.model, "a", learnin_rate=1.0)], session)


def test_a_setting_reaches_the_engine_under_its_name_and_as_it_was_given() -> None:
    given = TrainSettings(
        learning_rate=3e-4, epochs=2, clip=0.5, schedule="cosine", warmup_steps=4, keep_optimizer=True
    )
    shared = vars(given).keys() & vars(HyperParameters()).keys()
    assert {"learning_rate", "rank", "epochs", "keep_optimizer"} <= shared
    assert all(getattr(hyper_parameters(given), name) == getattr(given, name) for name in shared - {"targets"})
    # The engine stands alone and repeats the defaults; only the targets have a name of the configuration's own.
    assert hyper_parameters(TrainSettings(targets=())) == HyperParameters(targets=())


def test_the_reference_repeats_itself_with_and_without_dropout(session: SmallSession, weights: Weights) -> None:
    for dropout in (0.0, 0.3):
        found = []
        for disturbance in range(2):
            random.seed(disturbance)
            torch.manual_seed(disturbance)
            updater = LoraReference(ReferenceSettings(**SMALL, dropout=dropout))
            found.append(adapter(apply(updater, [job(session.model, "a")], session)["a"], weights).digest())
        assert found[0] == found[1]


def test_the_reference_is_transformers_trainer(session: SmallSession, tmp_path: Any) -> None:
    """One epoch in the same order: the hand-written loop against the library's own."""
    pytest.importorskip("accelerate")
    from peft import LoraConfig, get_peft_model
    from torch.utils.data import SequentialSampler
    from transformers import Trainer, TrainingArguments

    from harness.engine import HyperParameters, TrainSequence, init_lora, step_batches

    hp = HyperParameters(rank=4, alpha=8.0, targets=("q_proj", "v_proj"), learning_rate=5e-3, epochs=1)
    sequences = [TrainSequence(session.model.prompts.text_ids(text)) for text in (*FACTS, *FACTS[:2])]
    with session.borrow(State(session.model.base)) as (module, _):
        ours, _log = finetune(module, sequences, hp, 7)
        order = [i for step in range(5) for batch in step_batches(5, step, hp, 7) for i in batch]
        start = init_lora(module, rank=4, alpha=8.0, targets=hp.targets, seed=7)
        config = LoraConfig(r=4, lora_alpha=8, target_modules=sorted(start.weights), task_type="CAUSAL_LM")
        model = get_peft_model(module, config)
        with torch.no_grad():
            for name, (a, b) in start.weights.items():
                layer: Any = model.get_submodule(f"base_model.model.{name}")
                layer.lora_A["default"].weight.copy_(a)
                layer.lora_B["default"].weight.copy_(b)

        class InOrder(Trainer):
            def _get_train_sampler(self, *args: Any) -> Any:
                return SequentialSampler(self.train_dataset)

        arguments = TrainingArguments(
            output_dir=str(tmp_path), per_device_train_batch_size=1, num_train_epochs=1, learning_rate=5e-3,
            use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True, logging_strategy="no",
        )  # fmt: skip
        data = [{"input_ids": list(sequences[i].ids), "labels": list(sequences[i].ids)} for i in order]
        trainer = InOrder(model, arguments, train_dataset=cast(Any, data))
        trainer.train()
        theirs = {
            name: (layer.lora_A["default"].weight.detach().clone(), layer.lora_B["default"].weight.detach().clone())
            for name in start.weights
            for layer in [cast(Any, model.get_submodule(f"base_model.model.{name}"))]
        }
        cast(Any, model).unload()
    assert ours is not None
    in_a, in_b = apart(ours, Adapter(theirs, 4, 8.0, ours.targets))
    assert in_a <= 5e-4
    assert in_b <= 1e-4


def test_examples_are_plain_data(session: SmallSession) -> None:
    """A recipe is expanded before an updater sees its data; the result must be data that it accepts."""
    assert {kind.__name__ for kind in Lora.accepts} == {"Example", "Distillation", "Preference", "Rollout", "Recipe"}
    assert {kind.__name__ for kind in LoraReference.accepts} == {"Example", "Recipe"}
    assert Example("", "x").weight == 1.0


def test_an_overlong_sequence_fails_or_is_cut_as_in_the_published_code(session: SmallSession) -> None:
    long = edit("l", "word " * 200)
    failed, cut = (
        apply(lora(overlong=how, max_length=64, epochs=1), [job(session.model, "a", long)], session)["a"]
        for how in ("fail", "cut")
    )
    assert (failed.status, failed.reason) == ("failed", failed.reason)
    assert "> 64" in failed.reason
    assert cut.status == "ok"
    assert cut.log["tokens"] <= 64
