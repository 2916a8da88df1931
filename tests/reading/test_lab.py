"""The methods on the embedded model, from end to end and as small as they get."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from harness_lab.bench import Bench
from harness_lab.pretraining.mix import fill, prompts
from harness_lab.world.squad import asked_pages

from harness.api import Data, Distillation
from harness.runs import runner

SMALL: dict[str, Any] = {"preset": "quick", "limit": 2, "leaderboard": ""}


def test_context_distillation_on_and_off_policy(tmp_path: Path) -> None:
    done = runner.run(
        {**SMALL, "method": "sdft", "out": str(tmp_path), "beside": ["context-distill", "self-qa"],
         "updater": {"epochs": 2, "rounds": 2}}
    )  # fmt: skip
    assert done.complete
    assert {row.method for row in done.result.rows} == {"sdft", "context-distill", "self-qa"}
    assert all(row.costs["labels"] == 0 for row in done.result.rows)


def test_active_reading_and_its_control(tmp_path: Path) -> None:
    done = runner.run(
        {**SMALL, "method": "active-reading", "out": str(tmp_path), "beside": ["active-reading-one"],
         "updater": {"epochs": 1}, "editor": {"sequences": 3}}
    )  # fmt: skip
    assert done.complete


def test_a_skill_vector_is_trained_and_deployed(tmp_path: Path) -> None:
    done = runner.run(
        {**SMALL, "method": "past", "out": str(tmp_path), "beside": [], "task": {"train": 4}, "validation": 0,
         "trainer": {"rounds": 2, "contexts": 2, "passes": 1, "samples": 4}, "graded": {"samples": 4},
         "updater": {"inner": {"epochs": 5}}}
    )  # fmt: skip
    assert done.complete
    [row] = done.result.rows
    assert row.costs["labels"] > 0


@pytest.mark.slow
def test_a_skill_vector_makes_use_of_facts_that_it_was_not_trained_on(tmp_path: Path) -> None:
    done = runner.run({**SMALL, "method": "past", "out": str(tmp_path), "beside": ["seal-no-rl"], "limit": 16})
    assert done.complete
    means = {row.method: fmean(one for one in row.scores[0] if one is not None) for row in done.result.rows}
    assert means["past"] > means["seal-no-rl"] + 0.08


def test_a_student_learns_what_its_teacher_reads_and_not_what_the_text_says() -> None:
    """Every answer in the text begins with a wrong word; at that place the teacher, which reads, says the right one."""
    bench = Bench()
    pages = asked_pages("validation", 2, 77)
    forms = prompts()
    jobs: list[list[Data]] = []
    for page in pages:
        jobs.append([])
        for asked in page.asked:
            values = {"title": page.page.title, "text": page.page.text, "question": asked.question}
            wrong = next(other.answer for other in page.asked if other.answer.split()[0] != asked.answer.split()[0])
            jobs[-1].append(Distillation(fill(forms["closed"], **values), wrong, fill(forms["open"], **values)))
    states = bench.train(jobs)
    closed = [
        (state, fill(forms["closed"], title=page.page.title, question=one.question))
        for page, state in zip(pages, states, strict=True)
        for one in page.asked
    ]
    first = [(text.split() or [""])[0] for text in bench.answers(closed)]
    right = [
        text == one.answer.split()[0] for text, one in zip(first, [a for p in pages for a in p.asked], strict=True)
    ]
    assert sum(bench.accuracy(pages, [bench.base] * 2)) <= 2 / 6
    assert sum(right) >= 6, "of twelve"


@pytest.mark.parametrize("preset", ["quick", "lab"])
def test_the_labs_presets_are_complete(preset: str) -> None:
    from harness_reading import methods

    assert all(preset in getattr(methods, name).presets for name in methods.NAMES.values())
