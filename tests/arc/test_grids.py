"""The evaluator ``grids``: right answers score, wrong ones do not, and silence is ``failed`` rather than lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.api import Ask, Completion, Prompt, Request, Score, State
from harness.errors import UsageError
from harness.tasks.arc import Arc, Grid, GridTask, Puzzle
from harness.tasks.arc.augment import IDENTITY, NAMED
from harness.tasks.arc.evaluator import Grids
from harness.tasks.arc.load import read_puzzles, select
from harness.tasks.arc.task import episode_of
from tests.arc.fakes import FakeSession, Reply
from tests.arc.test_ttt import Made, made_puzzle
from tests.shared_data import shared


def evaluate(
    puzzle: Puzzle, reply: Reply, task: GridTask | None = None, chat: bool = False, **settings: Any
) -> tuple[list[Score], FakeSession]:
    session = FakeSession(task or Made(puzzle), reply, chat)
    episode, references = episode_of(puzzle, "train")
    evaluator = Grids(Grids.Settings(**settings))
    (scores,) = evaluator.evaluate([Ask(State("fake"), episode)], {episode.id: references}, session)
    return list(scores), session


def question(prompt: Prompt) -> str:
    """What follows the demonstrations."""
    return prompt.rpartition("\n\n")[2] if isinstance(prompt, str) else prompt[-1][1]


def solver(puzzle: Puzzle, task: GridTask, change: Callable[[Grid], Grid] = lambda grid: grid) -> Reply:
    """A model that knows the solutions (changed by ``change``), under every augmentation as well."""
    known = {
        question(task.text.prompt([], one.forward(test), chat=chat)): task.text.answer(one.forward(change(solution)))
        for test, solution in zip(puzzle.tests, puzzle.solutions, strict=True)
        for one in (*NAMED.values(), IDENTITY)
        for chat in (True, False)
    }
    return lambda request, at: known[question(request.prompt)]


def spoilt(grid: Grid) -> Grid:
    """The grid with another colour in its first cell."""
    return (((grid[0][0] + 1) % 10, *grid[0][1:]), *grid[1:])


def test_a_solver_with_the_right_answers_solves_every_published_task() -> None:
    task = Arc(Arc.Settings(data=str(shared("arc"))))
    for puzzle in select(read_puzzles(str(shared("arc"))), "seal-eval"):
        scores, _ = evaluate(puzzle, solver(puzzle, task), task, chat=True)
        assert [score.value for score in scores] == [1.0] * len(puzzle.tests)
        assert all(score.status == "ok" and score.measures["unparsed"] == 0 for score in scores)


def test_a_solver_with_wrong_answers_solves_nothing() -> None:
    task = Arc(Arc.Settings(data=str(shared("arc"))))
    for puzzle in select(read_puzzles(str(shared("arc"))), "seal-eval"):
        scores, _ = evaluate(puzzle, solver(puzzle, task, spoilt), task, chat=True)
        assert [(score.value, score.status) for score in scores] == [(0.0, "ok")] * len(puzzle.tests)


@pytest.mark.parametrize("text", ["", "I do not know", "[[1 2", "1 2\n3"])
def test_no_grid_at_all_is_failed_and_unparsed(text: str) -> None:
    (score,), _ = evaluate(made_puzzle(3), lambda request, at: text)
    assert (score.value, score.status, score.answers) == (0.0, "failed", ())
    assert score.measures["reason"] == "unparsed"
    assert score.measures["unparsed"] == score.measures["prompts"] > 0


def test_a_prompt_that_does_not_fit_is_failed_with_its_reason() -> None:
    (score,), _ = evaluate(
        made_puzzle(3), lambda request, at: Completion(request, "", finish="failed", reason="context length")
    )
    assert (score.value, score.status, score.measures["reason"]) == (0.0, "failed", "context length")


def test_a_text_that_was_cut_off_does_not_vote() -> None:
    """An answer that was cut off does not count, even if its rows so far would be a whole grid."""
    (score,), _ = evaluate(made_puzzle(3), lambda request, at: Completion(request, "1 2 3", finish="length"))
    assert (score.status, score.measures["reason"]) == ("failed", "unparsed")


def test_an_answer_that_could_not_be_had_leaves_the_puzzle_open() -> None:
    puzzle = made_puzzle(3)
    two = replace(puzzle, tests=(*puzzle.tests, ((9, 9),)), solutions=(*puzzle.solutions, ((8, 8),)))
    right, calls = solver(two, Made(two)), iter(range(100))

    def reply(request: Request, at: int) -> str | Completion:
        return (
            right(request, at)
            if next(calls) != 4
            else Completion(request, "", finish="error", reason="endpoint is gone")
        )

    scores, _ = evaluate(two, reply, Made(two))
    assert [(score.query, score.value, score.status, score.measures["reason"]) for score in scores] == [
        ("made-0", None, "error", "endpoint is gone"),
        ("made-1", None, "error", "endpoint is gone"),
    ]


def test_a_puzzle_is_solved_only_with_all_its_test_inputs() -> None:
    puzzle = made_puzzle(3)
    two = replace(puzzle, tests=(*puzzle.tests, ((9, 9),)), solutions=(*puzzle.solutions, ((8, 8),)))
    task = Made(two)
    right = solver(two, task)
    scores, _ = evaluate(two, right, task)
    assert [(score.value, score.measures["right"]) for score in scores] == [(1.0, 1.0), (1.0, 1.0)]

    def half(request: Request, at: int) -> str:
        answer = right(request, at)
        return "7" if set(answer) <= set("8 \n") else answer

    scores, _ = evaluate(two, half, task)
    assert [(score.value, score.measures["right"]) for score in scores] == [(0.0, 1.0), (0.0, 0.0)]


def test_the_second_attempt_counts() -> None:
    puzzle = made_puzzle(3)
    task = Made(puzzle)
    right, calls = solver(puzzle, task), iter(range(100))
    scores, _ = evaluate(
        puzzle, lambda request, at: right(request, at) if next(calls) % 3 == 0 else "7", task, augmentations=()
    )
    assert scores[0].value == 1.0
    assert len(scores[0].answers) == 2


def test_one_call_asks_everything_in_different_ways() -> None:
    puzzle = made_puzzle(3)
    _, session = evaluate(puzzle, solver(puzzle, Made(puzzle)))
    (requests,) = session.model.calls
    assert len({request.prompt for request in requests}) == len(requests)
    assert 3 + 5 <= len(requests) <= 3 * 3 + 5
    assert all((request.temperature, request.n) == (0.0, 1) for request in requests)
    full = Made(puzzle).text.prompt(puzzle.demos, puzzle.tests[0], chat=False)
    assert full not in {request.prompt for request in requests}, "the full prompt is never asked (fact sheet B.7)"
    _, session = evaluate(puzzle, solver(puzzle, Made(puzzle)), leave_n=(0,), permutations=0, augmentations=())
    assert [request.prompt for request in session.model.calls[0]] == [full]


def test_an_augmented_question_that_would_not_fit_is_left_out() -> None:
    puzzle = made_puzzle(2)
    tall = replace(puzzle, tests=(((1,),) * 16,), solutions=(((1,),),))
    _, session = evaluate(tall, lambda request, at: "1", augmentations=("repeat0", "repeat1"), permutations=0)
    assert len(session.model.calls[0]) == 2 + 1


def test_questions_do_not_depend_on_who_else_is_asked() -> None:
    puzzles = [made_puzzle(3), replace(made_puzzle(4), id="other")]
    reply: Reply = lambda request, at: "1"  # noqa: E731
    alone = [evaluate(puzzle, reply)[1].model.calls[0] for puzzle in puzzles]
    session = FakeSession(Made(puzzles[0]), reply)
    episodes = [episode_of(puzzle, "train") for puzzle in puzzles]
    asks = [Ask(State("fake"), episode) for episode, _ in episodes]
    list(Grids(Grids.Settings()).evaluate(asks, {episode.id: references for episode, references in episodes}, session))
    assert session.model.calls == [[*alone[0], *alone[1]]]


def test_wrong_settings_and_tasks_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no augmentation 'flip2'\. Did you mean 'flip1'"):
        Grids(Grids.Settings(augmentations=("flip2",)))

    class Other:
        name = "squad"

    with pytest.raises(UsageError, match="task 'squad' has none"):
        list(Grids(Grids.Settings()).evaluate([], {}, FakeSession(Other(), lambda request, at: "")))
