"""The evaluator `sampled`: one crowd of answers, all measures of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.api import Ask, Request, Score, State
from harness.evaluators.sampled import Sampled
from harness.testing.scripted import ScriptedLM, ScriptedTask, open_session

TEXTS = ["so 7", "so 3", "so 7", "no idea", "well 7", "so 3", "so 7", ""]


class Numbers(ScriptedTask):
    def extract(self, query: Any, answer: str, /) -> str | None:
        words = answer.split()
        return words[-1] if words and words[-1].isdigit() else None


def score(folder: Path, gold: str = "7", rule: Any = None, **settings: Any) -> Score:
    evaluator = Sampled(Sampled.Settings(**{"samples": 8, "max_tokens": 20, **settings}))
    model = ScriptedLM(rule or (lambda request, n: TEXTS[n]))
    task = Numbers({"train": {"e": ("a text", {"How many?": [gold]})}})
    s = open_session(folder, task, {"teacher": model, "student": model}, {"evaluator": ("evaluator", evaluator)})
    [[found]] = s.evaluate([Ask(s.roles["student"], s.episodes("train")[0], 1, 5)])
    return found


def test_the_measures_of_one_crowd(tmp_path: Path) -> None:
    found = score(tmp_path)
    assert found.value == found.measures["pass@1"] == 4 / 8
    assert found.measures["pass@k"] == 1.0
    assert found.measures["maj@k"] == 1.0
    assert found.measures["agreement"] == 4 / 8, "those without an answer count against it"
    assert found.measures["distinct-answers"] == 2 / 8
    assert found.measures["distinct-texts"] == 5 / 8
    assert found.measures["correct"] == [1, 0, 1, 0, 1, 0, 1, 0]
    # Openings: so x5, no, well and nothing: 1 - 5*4/(8*7).
    assert found.measures["openings"] == pytest.approx(1 - 20 / 56)
    assert found.measures["length"] == pytest.approx(sum(len(text) for text in TEXTS) / 8 / 20)


def test_k_samples_of_more(tmp_path: Path) -> None:
    assert score(tmp_path / "a", measure="pass@k", k=1).value == pytest.approx(4 / 8)
    assert score(tmp_path / "b", gold="3", measure="pass@k", k=2).value == pytest.approx(1 - (6 * 5) / (8 * 7))
    assert score(tmp_path / "c", gold="3", measure="maj@k", k=2).value == 0.0  # 7 and 3: the first of equals
    assert score(tmp_path / "d", gold="7", measure="maj@k", k=2).value == 1.0


def test_a_crowd_without_answers_is_wrong_and_no_error(tmp_path: Path) -> None:
    found = score(tmp_path, rule=lambda request, n: "no idea", measure="maj@k")
    assert (found.value, found.status, found.measures["agreement"]) == (0.0, "ok", 0.0)


def test_several_measures_cost_the_samples_of_one(tmp_path: Path) -> None:
    asked: list[Request] = []

    def rule(request: Request, n: int) -> str:
        asked.append(request)
        return TEXTS[n]

    model = ScriptedLM(rule)
    task = Numbers({"train": {"e": ("a text", {"How many?": ["7"]})}})
    s = open_session(tmp_path, task, {"teacher": model, "student": model}, {})
    [episode] = s.context.episodes.split("train")
    references = s.context.episodes.references([episode.id])
    values = {}
    for measure in ("pass@1", "maj@k"):
        evaluator = Sampled(Sampled.Settings(samples=8, measure=measure))  # type: ignore[arg-type]
        [[found]] = evaluator.evaluate([Ask(State(model.base), episode, 1, 5)], references, s.sealed)
        values[measure] = found.value
    assert values == {"pass@1": 0.5, "maj@k": 1.0}
    assert len(asked) == 8
