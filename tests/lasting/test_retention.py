"""The reward ``retention`` on a memory of known size: what an edit teaches, less what it pushes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness_lasting.retention import Retention, RetentionSettings

from harness.api import (
    Ask,
    Completion,
    EditAsk,
    Evaluator,
    Example,
    Group,
    Prompt,
    References,
    Request,
    Score,
    SelfEdit,
    Session,
    State,
    Updated,
    UpdateJob,
    Updater,
)
from harness.errors import RunError, UsageError
from harness.testing import RewardContract, ScriptedLM, ScriptedTask, open_session

PAGES = {f"page{i}": (f"text of page {i}", {f"what is page{i}?": [str(i)]}) for i in range(3)}


class TestRetention(RewardContract):
    component = Retention
    independent = False


class TestForecast(RewardContract):
    """Without others, a group's rewards are its own."""

    component = Retention
    settings = {"forecast": 2}  # noqa: RUF012


class Shelf(Updater):
    """Has room for so many words, the latest last. ``fails`` and ``lost`` as words of an edit do what they say."""

    accepts = frozenset({Example})

    def __init__(self, room: int) -> None:
        self._room = room

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        for job in jobs:
            words = [word for edit in job.edits for one in edit.data for word in str(getattr(one, "target")).split()]  # noqa: B009
            if "fails" in words or "lost" in words:
                yield Updated(job.id, None, "failed" if "fails" in words else "error", "so it was written")
                continue
            known = [*job.start.memory.get("known", []), *words][-self._room :]
            yield Updated(job.id, replace(job.start, memory={"known": known}))


class Recall(Evaluator):
    """Right where the page's name is on the shelf."""

    metric = "recall"

    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        for ask in asks:
            right = float(ask.episode.id in ask.state.memory.get("known", []))
            yield [Score(ask.episode.id, query.id, right) for query in ask.episode.queries]


class Moved(ScriptedLM):
    """Every token is as many nats less probable as there are words on the shelf. ``silent`` writes nothing."""

    def __init__(self, said: str = "some words of its own", **more: Any) -> None:
        super().__init__(lambda request, index: said, **more)

    def logprobs(self, asks: Sequence[tuple[State, Prompt, str]], /, **_: Any) -> list[list[float]]:
        return [[-1.0 - len(state.memory.get("known", []))] * len(text.split()) for state, _, text in asks]


def rewarded(
    folder: Path, room: int, *texts: Sequence[str], model: ScriptedLM | None = None, **settings: Any
) -> list[list[tuple[Any, ...]]]:
    """(value, gain, what it costs) of each candidate of each page."""
    slots: dict[str, tuple[str, Any]] = {
        "updater": ("updater", Shelf(room)),
        "evaluator": ("evaluator", Recall()),
        "reward": ("reward", Retention(RetentionSettings(**settings))),
    }
    s = open_session(folder, ScriptedTask({"train": PAGES}), {"student": model or ScriptedLM({})}, slots)
    groups = []
    for episode, mine in zip(s.episodes("train"), texts, strict=False):
        edits = tuple(SelfEdit(f"{episode.id}/{i}", episode.id, (Example("", text),)) for i, text in enumerate(mine))
        groups.append(Group(EditAsk(episode, s.roles["student"], len(mine), 0), edits))
    rows = s.reward(groups)
    return [
        [
            (one.value, one.measures.get("gain"), one.measures.get("kl" if settings.get("forecast") else "lost"))
            for one in group.rewards
        ]
        for group in rows
    ]


def test_an_edit_pays_for_what_it_pushes_out(tmp_path: Path) -> None:
    """Room for three words: two others are known; the short edit fits in beside them, the long one pushes out both."""
    texts = (["page0", "page0 and more"], ["page1"], ["page2"])
    [first, *_] = rewarded(tmp_path / "one", 3, *texts)
    assert first == [(1.0, 1.0, 0.0), (0.0, 1.0, 1.0)]
    [first, *_] = rewarded(tmp_path / "half", 3, *texts, weight=0.5)
    assert [value for value, *_ in first] == [1.0, 0.5]
    [first, *_] = rewarded(tmp_path / "free", 3, *texts, weight=0.0)
    assert [value for value, *_ in first] == [1.0, 1.0], "without a weight it is a plain trial"


def test_a_failed_update_gains_and_loses_nothing_and_a_lost_one_has_no_value(tmp_path: Path) -> None:
    [first, *_] = rewarded(tmp_path, 3, ["fails", "lost", "page0"], ["page1"], ["page2"])
    assert first == [(0.0, 0.0, 0.0), (None, None, None), (1.0, 1.0, 0.0)]


def test_others_whose_update_was_lost_leave_no_value(tmp_path: Path) -> None:
    [first, *_] = rewarded(tmp_path, 3, ["page0"], ["lost"], ["page2"])
    assert first == [(None, None, None)]


def test_a_round_of_one_context_has_nothing_to_lose(tmp_path: Path) -> None:
    assert rewarded(tmp_path, 3, ["page0", "nothing"]) == [[(1.0, 1.0, 0.0), (0.0, 0.0, 0.0)]]


def test_a_forecast_pays_for_how_far_one_update_moves_the_model(tmp_path: Path) -> None:
    """A word on the shelf is a nat per token, and nothing else is learnt before: room does not matter."""
    texts = (["page0", "page0 and more", "fails", "lost"], ["page1"], ["page2 too"])
    found = rewarded(tmp_path / "one", 1, *texts, model=Moved(), forecast=4, weight=0.25)
    assert found == [
        [(0.75, 1.0, 1.0), (-0.25, 0.0, 1.0), (0.0, 0.0, 0.0), (None, None, None)],
        [(0.75, 1.0, 1.0)],
        [(-0.25, 0.0, 1.0)],
    ]
    [first, *_] = rewarded(tmp_path / "room", 9, *texts, model=Moved(), forecast=4, weight=0.25)
    assert first == [(0.75, 1.0, 1.0), (0.25, 1.0, 3.0), (0.0, 0.0, 0.0), (None, None, None)]
    alone = rewarded(tmp_path / "alone", 9, ["page0 and more"], model=Moved(), forecast=4, weight=0.25)
    assert alone == [[first[1]]], "it is of the edit alone, whoever else is in the round"


def test_a_forecast_needs_words_of_the_models_own(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"set reward\.forecast to 0"):
        rewarded(tmp_path, 3, ["page0"], model=Moved(said=""), forecast=4)


class Cut(Moved):
    """Its endpoint breaks while it writes."""

    def generate(self, asks: Sequence[Request], /) -> list[list[Completion]]:
        return [[Completion(ask, "", finish="error", reason="no route")] for ask in asks]


def test_a_forecast_whose_texts_were_lost_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no route"):
        rewarded(tmp_path, 3, ["page0"], model=Cut(), forecast=4)
