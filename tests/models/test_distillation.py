"""``Distillation`` through a local model: who teaches, what it reads, and that the tokens of both line up."""

from __future__ import annotations

from typing import Any

import pytest

from harness.api import Distillation, Example, State, Trained, TrainItem
from harness.models.hf import HfModel
from tests.models.conftest import Weights, random_adapter

SETTINGS = {"rank": 4, "alpha": 8.0, "targets": "all-linear", "learning_rate": 1e-2, "epochs": 12, "batch_size": 4}
PASSAGE = "The lighthouse was built in 1871 by Ada Marsh."
TEXTS = ["Ada Marsh built the tower.", "In 1871 the storm came.", "Who built it? Ada Marsh.", "The tower stood."]


def train(model: HfModel, data: list[Any], start: State, weights: Weights, **settings: Any) -> Trained:
    [done] = model.train([TrainItem("one", start, data, 7, {**SETTINGS, **settings})])
    if done.adapter is not None:
        weights.put(done.adapter)
    return done


def far(model: HfModel, one: tuple[State, str], other: tuple[State, str]) -> float:
    """Mean gap of log-probabilities of the texts between two states, each after a prompt of its own."""
    gaps = []
    for text in TEXTS:
        a, b = model.logprobs([(*one, text), (*other, text)])
        gaps += [abs(x - y) for x, y in zip(a, b, strict=True)]
    return sum(gaps) / len(gaps)


@pytest.mark.parametrize("name", ["llama", "instruct"])
def test_context_distillation_moves_the_student_to_the_model_that_reads(
    name: str, request: pytest.FixtureRequest, weights: Weights
) -> None:
    model: HfModel = request.getfixturevalue(name)
    start = State(model.base)
    data = [Distillation("Note:\n", text, f"{PASSAGE}\nNote:\n", top=320) for text in TEXTS]
    done = train(model, data, start, weights, epochs=80, learning_rate=2e-2, rank=16, alpha=32.0)
    assert done.status == "ok", done.reason
    learnt = State(model.base, (done.adapter.digest(),))  # type: ignore[union-attr]
    teacher = (start, f"{PASSAGE}\nNote:\n")
    assert far(model, (learnt, "Note:\n"), teacher) < 0.6 * far(model, (start, "Note:\n"), teacher)


def test_the_base_tethers_and_the_start_does_not(llama: HfModel, weights: Weights) -> None:
    """A start with an adapter: its own distributions leave it where it is, those of the base take it back."""
    start = State(llama.base, (weights.put(random_adapter(llama, 3, size=0.2)),))
    base = State(llama.base)
    away = far(llama, (start, "A "), (base, "A "))
    for teacher, expected in (("start", away), ("base", 0.0)):
        data = [Distillation("A ", text, teacher=teacher, top=320) for text in TEXTS]  # type: ignore[arg-type]
        done = train(llama, data, start, weights, epochs=80, learning_rate=2e-2, rank=16, alpha=32.0)
        now = State(llama.base, (*start.adapters, done.adapter.digest()))  # type: ignore[union-attr]
        moved = far(llama, (now, "A "), (base, "A "))
        assert abs(moved - expected) < 0.5 * away, teacher
        assert done.log["loss"] >= -1e-6


@pytest.mark.parametrize("prompt", ["", "Note:\n"])
@pytest.mark.parametrize("read", [None, "", PASSAGE])
def test_tokens_of_teacher_and_student_line_up_whatever_each_reads(
    prompt: str, read: str | None, llama: HfModel, weights: Weights
) -> None:
    """A text with no prompt starts with the tokenizer's start token, which nobody predicts."""
    item = Distillation(prompt, TEXTS[0], read, top=320)
    done = train(llama, [item, Example("", TEXTS[1])], State(llama.base), weights, epochs=1)
    assert done.status == "ok", done.reason
    alone = train(llama, [item], State(llama.base), weights, epochs=1, learning_rate=1e-12)
    if read is None or read == prompt:
        assert alone.log["loss"] == pytest.approx(0, abs=1e-5)
    else:
        assert alone.log["loss"] > 0.01


def test_what_cannot_be_learnt_fails_in_one_line(llama: HfModel, weights: Weights) -> None:
    long = Distillation("", TEXTS[0], "so it was " * 60)
    failed = train(llama, [long], State(llama.base), weights)
    assert (failed.status, failed.log["cause"]) == ("failed", "data")
    assert "context length of the teacher" in failed.reason
    [other] = llama.train([TrainItem("x", State(llama.base), [Distillation("", TEXTS[0])], 1, SETTINGS)], loss="dpo")
    assert "cannot learn from Distillation" in other.reason
