"""How an update starts: what becomes of the start's adapters, on disk and in the model's answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.api import Example, HarnessError, Request, SelfEdit, StartAs, State, TrialJob, UpdateJob
from harness.books.store import WeightStore
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings
from harness.session.service import SessionService
from harness.testing import open_session
from harness.updaters.lora import Lora, LoraSettings
from harness.updaters.lora_reference import LoraReference, ReferenceSettings
from tests.models import tiny
from tests.session import parts

SMALL = {"rank": 4, "alpha": 8.0, "targets": "all-linear", "epochs": 2, "learning_rate": 2e-2, "schedule": "constant"}
TEXTS = ("Ada Marsh built the tower.", "The storm came in winter.", "It was rebuilt by her sons.")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("model") / "llama")


def opened(run: Path, folder: Path, *, seed: int = 0, **settings: Any) -> tuple[SessionService, HfModel]:
    weights = WeightStore(run / "weights")
    model = HfModel(HfSettings(path=str(folder), device="cpu"), weights)
    slots: dict[str, tuple[str, Any]] = {
        "updater": ("updater", Lora(LoraSettings(**{**SMALL, **settings}))),
        "reference": ("updater", LoraReference(ReferenceSettings(**SMALL))),
        "evaluator": ("evaluator", parts.Exact()),
    }
    return open_session(run, parts.task(), {"teacher": model}, slots, seed=seed, weights=weights), model


def job(
    start: State, number: int, how: StartAs = "stack", settings: dict[str, Any] | None = None, text: str = ""
) -> UpdateJob:
    edit = SelfEdit(f"cats/{number}", "cats", (Example("", text or TEXTS[number % 3]),))
    return UpdateJob(f"job-{number}", start, (edit,), number, settings or {}, start_as=how)


def update(s: SessionService, *jobs: UpdateJob, slot: str = "updater") -> list[State]:
    states = [updated.state for updated in s.update(slot, jobs)]
    assert all(state is not None for state in states)
    return [state for state in states if state is not None]


def grown(s: SessionService, rounds: int, how: StartAs) -> State:
    """A policy after some rounds, the first of which starts from the bare model."""
    state = s.roles["teacher"]
    for number in range(rounds):
        [state] = update(s, job(state, number, how if number else "stack"))
    return state


def said(model: HfModel, *states: State) -> list[list[float]]:
    asks = [(state, "Who built it?", text) for state in states for text in TEXTS]
    return [list(row) for row in model.logprobs(asks)]


def on_disk(s: SessionService) -> set[str]:
    return {path.name for path in s.context.weights.root.iterdir()}


@pytest.mark.parametrize("how", ["fold", "merge"])
def test_a_folded_or_merged_policy_says_what_the_stack_says(tmp_path: Path, folder: Path, how: StartAs) -> None:
    s, model = opened(tmp_path, folder)
    stack = grown(s, 3, "stack")
    # At this rate nothing moves: the new adapter adds zeros, so the answers show what lies below it.
    [state] = update(s, job(stack, 3, how, {"learning_rate": 1e-30}))
    assert len(state.adapters) == 2
    for one, two in zip(said(model, state), said(model, stack), strict=True):
        assert one == pytest.approx(two, abs=2e-4)
    assert said(model, stack) != said(model, State(model.base))
    asks = [Request(x, text, max_tokens=8) for x in (state, stack) for text in TEXTS]
    texts = [completion.text for [completion] in model.generate(asks)]
    assert texts[:3] == texts[3:]


def test_what_each_way_leaves_of_the_start(tmp_path: Path, folder: Path) -> None:
    s, _ = opened(tmp_path, folder, keep_optimizer=True)
    two = grown(s, 2, "stack")
    stacked, on, folded, merged = update(
        s, *(job(two, 5, how) for how in ("stack",)), *(job(two, 6, how) for how in ("continue",)),
        job(two, 7, "fold"), job(two, 8, "merge"),
    )  # fmt: skip
    assert stacked.adapters[:2] == two.adapters
    assert len(stacked.adapters) == 3
    assert on.adapters[0] == two.adapters[0]
    assert on.adapters[1] != two.adapters[1]
    assert len(on.adapters) == 2
    assert len(folded.adapters) == len(merged.adapters) == 2
    assert not {*folded.adapters, *merged.adapters} & set(two.adapters)
    assert s.context.weights.adapter(on.adapters[1]).optimizer.step == 4
    [again] = update(s, job(two, 9, "merge"))
    assert again.adapters[0] == merged.adapters[0], "content names it: merged once"


def test_continuing_with_the_state_kept_is_one_longer_update(tmp_path: Path, folder: Path) -> None:
    """Bit for bit, at a constant rate and with the data in the same order; without the optimiser's state it differs."""
    s, _ = opened(tmp_path, folder, keep_optimizer=True)
    start, text = s.roles["teacher"], TEXTS[0]
    [once] = update(s, job(start, 0, settings={"epochs": 4}, text=text))
    [half] = update(s, job(start, 0, text=text))
    [whole] = update(s, job(half, 1, "continue", text=text))
    assert whole == once
    [other] = update(s, job(half, 1, "continue", {"keep_optimizer": False}, text=text))
    assert other != once


@pytest.mark.parametrize("how", ["stack", "continue", "fold", "merge"])
def test_what_is_released_goes_and_what_is_used_stays(tmp_path: Path, folder: Path, how: StartAs) -> None:
    s, model = opened(tmp_path, folder)
    state = s.roles["teacher"]
    for number in range(4):
        before = state
        [state] = update(s, job(state, number, how if number else "stack"))
        s.release([before])
        assert on_disk(s) == set(state.adapters)
    assert len(state.adapters) == {"stack": 4, "continue": 1}.get(how, 2)
    assert said(model, state)
    s.release([state])
    assert on_disk(s) == set()


@pytest.mark.parametrize("how", ["continue", "fold", "merge"])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path, folder: Path, how: StartAs) -> None:
    whole, _ = opened(tmp_path / "whole", folder)
    wanted = grown(whole, 4, how)

    first, model = opened(tmp_path / "killed", folder)
    train, calls = model.train, iter(range(9))

    def killed(*arguments: Any, **named: Any) -> Any:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return train(*arguments, **named)

    model.train = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        grown(first, 4, how)
    first.journal.close()
    second, _ = opened(tmp_path / "killed", folder)
    assert grown(second, 4, how) == wanted


def test_trials_that_merge_leave_no_weights_behind(tmp_path: Path, folder: Path) -> None:
    s, _ = opened(tmp_path, folder)
    two = grown(s, 2, "stack")
    before = on_disk(s)
    episodes = tuple(s.episodes("train"))
    for how in ("merge", "fold", "continue"):
        s.trial([TrialJob(job(two, number, how), episodes) for number in (10, 11)])  # type: ignore[arg-type]
    assert on_disk(s) == before
    assert not s.context.weights._passing


def test_states_on_different_weights_share_a_call(tmp_path: Path, folder: Path) -> None:
    s, model = opened(tmp_path, folder)
    two = grown(s, 2, "stack")
    three = grown(s, 3, "stack")
    merged = update(s, job(two, 5, "merge"), job(three, 6, "merge"))
    states = [merged[0], State(model.base), merged[1], two, merged[0]]
    together = said(model, *states)
    alone = [row for state in states for row in said(model, state)]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    base = {name: tensor.clone() for name, tensor in model.engine.model.state_dict().items()}
    fresh = HfModel(HfSettings(path=str(folder), device="cpu"), s.context.weights).engine.model.state_dict()
    assert all((base[name] == fresh[name]).all() for name in base), "the model's own weights are back"


def test_another_row_gets_released_weights_made_again(tmp_path: Path, folder: Path) -> None:
    """Both rows make the same update; the first has released it before the second asks for it."""
    first, _ = opened(tmp_path, folder)
    state = grown(first, 1, "stack")
    first.release([state])
    first.journal.close()
    second, model = opened(tmp_path, folder, seed=1)
    assert grown(second, 1, "stack") == state
    assert said(model, state)
    second.journal.close()
    again, _ = opened(tmp_path, folder)
    assert grown(again, 1, "stack") == state
    again.release([state])
    assert on_disk(again) == set(state.adapters), "a replayed release takes nothing from the other row"


@pytest.mark.parametrize(
    ("how", "settings", "slot", "message"),
    [
        (
            "continue",
            {},
            "bare",
            "job 'job-0': start_as 'continue' trains the start's last adapter on, and it has none",
        ),
        ("contineu", {}, "updater", "no such start_as 'contineu'. Did you mean 'continue'?"),
        ("continue", {}, "reference", "updater 'LoraReference' cannot continue an adapter"),
    ],
)
def test_wrong_starts_are_one_clear_line(
    tmp_path: Path, folder: Path, how: Any, settings: dict[str, Any], slot: str, message: str
) -> None:
    s, _ = opened(tmp_path, folder)
    start = s.roles["teacher"] if slot == "bare" else grown(s, 1, "stack")
    with pytest.raises(HarnessError) as raised:
        s.update("updater" if slot == "bare" else slot, [job(start, 0, how, settings)])
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"rank": 8}, "(rank 4, alpha 8, "),
        ({"keep_optimizer": True}, "was stored without its optimiser state"),
    ],
)
def test_settings_that_the_adapter_does_not_have_are_ours_to_mend(
    tmp_path: Path, folder: Path, settings: dict[str, Any], reason: str
) -> None:
    s, _ = opened(tmp_path, folder)
    [updated] = s.update("updater", [job(grown(s, 1, "stack"), 1, "continue", settings)])
    assert updated.status == "error"
    assert reason in updated.reason


def test_a_merged_policy_has_nothing_to_continue(tmp_path: Path, folder: Path) -> None:
    s, _ = opened(tmp_path, folder)
    full = State(s.roles["teacher"].base, grown(s, 3, "merge").adapters[:1])
    with pytest.raises(HarnessError, match="its weights have none"):
        s.update("updater", [job(full, 0, "continue")])


def test_the_reference_updater_starts_from_merged_weights_too(tmp_path: Path, folder: Path) -> None:
    s, _ = opened(tmp_path, folder)
    two = grown(s, 2, "stack")
    [fast], [slow] = (update(s, job(two, 4, "merge"), slot=slot) for slot in ("updater", "reference"))
    assert fast.adapters[0] == slow.adapters[0]


@pytest.mark.parametrize("how", ["cat", "svd", "ties", "superposition"])
def test_states_that_were_trained_apart_are_merged_and_released(how: str, tmp_path: Path, folder: Path) -> None:
    s, _ = opened(tmp_path, folder)
    base = s.roles["teacher"]
    one, other = update(s, job(base, 0), job(base, 1))
    together = s.merge([one, other], how, weight=1.0, own=1)
    assert len(together.adapters) == 1
    assert together == s.merge([one, other], how, weight=1.0, own=1)
    prompts = [
        Request(state, "Ada Marsh", max_tokens=6) for state in (together, replace(base, adapters=both(one, other)))
    ]
    [[merged], [stacked]] = s.generate(prompts)
    if how == "cat":
        assert merged.text == stacked.text, "a stack of adapters is their sum"
    s.release([together])
    with pytest.raises(HarnessError, match="released"):
        s.generate([Request(together, "Ada Marsh was", max_tokens=6)])
    assert s.generate([Request(one, "Ada Marsh was", max_tokens=6)])[0][0].finish != "error"


def both(one: State, other: State) -> tuple[str, ...]:
    return (*one.adapters, *other.adapters)


def test_what_cannot_be_merged_says_so(tmp_path: Path, folder: Path) -> None:
    s, _ = opened(tmp_path, folder)
    base = s.roles["teacher"]
    [one] = update(s, job(base, 0))
    with pytest.raises(HarnessError, match=r"merged by 'tie'.*'ties'"):
        s.merge([one], "tie")
    with pytest.raises(HarnessError, match="differ in their last adapter"):
        s.merge([base, one], "cat")
