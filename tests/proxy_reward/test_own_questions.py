"""The reward ``own-questions``: what is read of the model's questions, and that edits are tried on them alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness_proxy_reward.own_questions import OwnQuestions, OwnQuestionsSettings, read_pairs

from harness.api import EditAsk, Example, Group, Request, SelfEdit
from harness.evaluators.closed_book import ClosedBook, ClosedBookSettings
from harness.session.service import SessionService
from harness.testing import ScriptedLM, ScriptedTask, open_session
from tests.seal.notebook import Notebook

TASK = ScriptedTask(
    {"train": {"cats": ("cats make a sound.", {"asked by people?": ["never"]}), "dogs": ("dogs dig.", {"?": ["x"]})}}
)


def model(request: Request, index: int) -> str:
    prompt = str(request.prompt)
    if "Read the passage" in prompt:
        return "" if "dogs" in prompt else " what do cats do?\nAnswer: purr\nQuestion 2: do cats bark?\nAnswer: no"
    return "purr" if "cats purr" in prompt and "what do cats do?" in prompt else "no idea"


def session(folder: Path) -> SessionService:
    slots: dict[str, tuple[str, Any]] = {
        "updater": ("updater", Notebook()),
        "reward": ("reward", OwnQuestions(OwnQuestionsSettings())),
        "evaluator": ("evaluator", ClosedBook(ClosedBookSettings(judge="exact"))),
    }
    return open_session(folder, TASK, {role: ScriptedLM(model, name=role) for role in ("teacher", "student")}, slots)


def test_edits_are_tried_on_the_models_own_questions(tmp_path: Path) -> None:
    s = session(tmp_path)
    groups = []
    for episode in s.episodes("train"):
        lines = ["cats purr", "cats are nice"]
        edits = [SelfEdit(f"{episode.id}/{n}", episode.id, (Example("", line),)) for n, line in enumerate(lines)]
        groups.append(Group(EditAsk(episode, s.roles["teacher"], 2, 0), tuple(edits)))
    cats, dogs = s.reward(groups)
    assert [reward.value for reward in cats.rewards] == [0.5, 0.0]  # one of its two questions; none
    assert [reward.measures["questions"] for reward in cats.rewards] == [2, 2]
    assert [(reward.value, reward.measures["questions"]) for reward in dogs.rewards] == [(0.0, 0)] * 2


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("Question 1: Who?\nAnswer: Ada", [("Who?", "Ada")]),
        ("Question 1: Who?\nAnswer 1: Ada\n\nQuestion 2: When\nexactly? Answer: in 1871 \n",
         [("Who?", "Ada"), ("When exactly?", "in 1871")]),
        ("Question: Who? Answer: Ada Question: Who? Answer: Bob", [("Who?", "Ada")]),
        ("Question 1: unanswered\nQuestion 2: Who?\nAnswer: Ada", []),
        ("nothing of the kind", []),
        ("Question 1: Who?\nAnswer:", []),
    ],
)  # fmt: skip
def test_what_is_read(text: str, pairs: list[tuple[str, str]]) -> None:
    assert read_pairs(text) == pairs
