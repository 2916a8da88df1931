"""The judge and the evaluator `self-judged`: what is dropped, what is expected, and what a judge's choice is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from harness_self_judging.evaluator import SelfJudged
from harness_self_judging.judge import Contest, Judge, JudgeSettings, MetaJudge

from harness.api import Ask, Prompt, Request, Score, State
from harness.testing.scripted import ScriptedLM, open_session
from tests.learning import Numbers
from tests.self_judging.test_loops import chatting

WRITTEN = ["a: 7", "b: 7", "c: 3", "d: 5", "?", "a: 7"]


class Weighing(ScriptedLM):
    """Writes marks as a table says, and finds each mark as probable as another table says, in tokens of one digit."""

    def __init__(self, marks: Mapping[str, str], odds: Mapping[str, Mapping[str, float]]) -> None:
        super().__init__(self._say, name="weighing", can=chatting().can)
        self._marks, self._odds = marks, odds

    def _say(self, request: Request, n: int) -> str:
        asked = str(request.prompt)
        if "Answer:" not in asked:
            return WRITTEN[n % len(WRITTEN)]
        return f"Because. Score: {self._marks[self._of(asked)]}"

    def _of(self, asked: str) -> str:
        return asked.split("Answer:")[1].lstrip("\\n ")[0]

    def logprobs(self, asks: Sequence[tuple[State, Prompt, str]], /) -> list[list[float]]:
        out = []
        for _, prompt, text in asks:
            odds = self._odds[self._of(str(prompt))]
            written = text.removeprefix("Because. Score: ").strip()
            row = [-1.0, -2.0] if text.startswith("Because") else []
            for place in range(len(written)):
                here = sum(p for mark, p in odds.items() if mark.startswith(written[: place + 1]))
                before = sum(p for mark, p in odds.items() if mark.startswith(written[:place]))
                row.append(math.log(max(here, 1e-12) / max(before, 1e-12)))
            out.append(row)
        return out


MARKS = {"a": "4", "b": "9", "c": "3", "d": "no mark", "?": "0"}
ODDS = {
    "a": {"4": 0.5, "5": 0.5},
    "b": {"1": 0.25, "10": 0.75},
    "c": {"3": 1.0},
    "d": {"2": 1.0},
    "?": {"0": 1.0},
}


def rated(folder: Path, **settings: Any) -> tuple[list[float | None], list[int]]:
    model = Weighing(MARKS, ODDS)
    s = open_session(folder, Numbers({}), {"teacher": model}, {})
    judge = Judge(JudgeSettings(judgements=2, **settings))
    ratings = judge.rate(s.sealed, State(model.base), [("How many?", text) for text in WRITTEN], "test")
    return [one.mean for one in ratings], [len(one.judgements) - len(one.scores) for one in ratings]


def test_marks_out_of_the_scale_are_dropped_and_counted(tmp_path: Path) -> None:
    means, unread = rated(tmp_path)
    assert means == [4.0, None, 3.0, None, 0.0, 4.0], "a 9 is on no scale of five"
    assert unread == [0, 2, 0, 2, 0, 0]


def test_the_expected_mark_stands_where_the_written_one_stood(tmp_path: Path) -> None:
    means, unread = rated(tmp_path, judge_score="expected")
    assert means[0] == pytest.approx(4.5)
    assert means[2] == pytest.approx(3.0)
    assert means[1] is means[3] is None
    assert unread == [0, 2, 0, 2, 0, 0]


def test_the_direct_mark_knows_ten_from_one(tmp_path: Path) -> None:
    means, unread = rated(tmp_path / "mean", judge_score="direct", judge_prompt="rating")
    assert means == pytest.approx([4.5, 0.25 * 1 + 0.75 * 10, 3.0, 2.0, 0.0, 4.5], abs=1e-6)
    assert unread == [0] * 6
    whole, _ = rated(tmp_path / "integer", judge_score="direct", judge_prompt="rating", judge_integer=True)
    assert whole == [4.0, 10.0, 3.0, 2.0, 0.0, 4.0]


def test_a_comparison_is_by_the_order_shown(tmp_path: Path) -> None:
    def rule(request: Request, n: int) -> str:
        first, second = str(request.prompt).split("Review A:")[1].split("Review B:")
        return "?" if "odd" in second else f"Better review: {'A' if 'long' in first else 'B'}"

    model = chatting(rule)
    s = open_session(tmp_path, Numbers({}), {"teacher": model}, {})
    contests = [Contest("q", "a", "long", "short"), Contest("q", "a", "short", "long"), Contest("q", "a", "x", "odd")]
    judge = MetaJudge("harness_self_judging:prompts.toml", "meta")
    assert judge.compare(s.sealed, State(model.base), contests, 0.0, 20, "test") == [True, False, None]


def score(folder: Path, gold: str = "7", **settings: Any) -> Score:
    evaluator = SelfJudged(SelfJudged.Settings(samples=6, judgements=1, **settings))
    model = Weighing(MARKS, ODDS)
    task = Numbers({"train": {"e": ("a text", {"How many?": [gold]})}})
    s = open_session(folder, task, {"teacher": model, "student": model}, {"evaluator": ("evaluator", evaluator)})
    [[found]] = s.evaluate([Ask(s.roles["student"], s.episodes("train")[0], 1, 5)])
    return found


def test_the_measures_of_one_crowd(tmp_path: Path) -> None:
    found = score(tmp_path, judge_prompt="rating", judge_score="direct")
    # Right: a 4.5, b 7.75, a 4.5. Wrong: c 3, d 2, ? 0. Every right one is marked higher than every wrong one.
    assert found.value == found.measures["pair-accuracy"] == 1.0
    assert (found.measures["pairs_won"], found.measures["pairs"]) == (9, 9)
    assert found.measures["best-of-n"] == found.measures["weighted-votes"] == found.measures["maj@n"] == 1.0
    assert found.measures["pass@1"] == 0.5
    assert found.measures["verdict-accuracy"] == pytest.approx(4 / 6), "two right answers are below the middle"
    assert found.measures["unread"] == 0.0
    other = score(tmp_path / "3", gold="3", judge_prompt="rating", judge_score="direct")
    assert other.value == pytest.approx(2 / 5), "its one right answer is marked higher than two of five"
    none = score(tmp_path / "none", gold="8", judge_prompt="rating", judge_score="direct")
    assert (none.value, none.measures["pairs"], none.measures["best-of-n"]) == (0.5, 0, 0.0)


def test_answers_without_marks_are_in_no_pair(tmp_path: Path) -> None:
    found = score(tmp_path)
    # Read: a 4, c 3, ? 0, a 4; b and d have no mark.
    assert (found.measures["pairs_won"], found.measures["pairs"]) == (4, 4)
    assert found.measures["unread"] == pytest.approx(2 / 6)
