"""The contract carries eleven different methods: each runs on a scripted model through the real session."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

import harness
from harness.api import Ask, EditAsk, EditFailed, Episode, Example, Preference, Recipe, Request, Rollout, UpdateJob
from harness.errors import PluginError, UsageError
from harness.session.service import SessionService
from harness.testing import ScriptedLM, ScriptedTask, open_session
from harness.updaters.memory import Memory
from tests.contract import walk

CONFIGURATIONS = [
    '{"data": {"copies": 2}, "training": {"epochs": 3}}',
    "{oops",
    '{"data": {"copies": 0}, "training": {}}',
]
FACTS = {"moon": "tides", "sun": "days", "rain": "floods", "ice": "floes"}


def world() -> ScriptedTask:
    def page(cause: str) -> tuple[str, dict[str, list[str]]]:
        return f"{cause} makes {FACTS[cause]}", {f"what makes {FACTS[cause]}?": [cause]}

    return Grids({"train": {"p1": page("moon"), "p2": page("sun")}, "test": {"p3": page("rain"), "p4": page("ice")}})


class Grids(ScriptedTask):
    """The scripted task with one more recipe: ``ttt``, several copies of the page."""

    def expand(self, recipe: Recipe, episode: Episode, seed: int, /) -> Sequence[Example]:
        if recipe.name != "ttt":
            return super().expand(recipe, episode, seed)
        copies = recipe.args.get("copies")
        if not isinstance(copies, int) or copies < 1:
            raise EditFailed(f"copies: {copies!r} is no number of copies")
        return [Example("", str(episode.context["text"]))] * copies


def scripted(request: Request, n: int) -> str:
    """Writes a different text for every sample; knows an answer once it was trained, or if the prompt has it."""
    prompt = str(request.prompt)
    kind = prompt.partition(":")[0]
    if kind == "imply":
        return ["", "it is said", prompt.removeprefix("imply: ")][n % 3]
    if kind == "configure":
        return [
            '{"data": {"copies": 2}, "training": {"epochs": 3}}',
            "{oops",
            '{"data": {"copies": 0}, "training": {}}',
        ][n % 3]
    if kind == "list":
        return "a b c"
    if kind == "relate":
        return f"{prompt[-3:]} go together"
    if kind == "invent":
        return ["one?", "two?", "one?", "three?"][n % 4]
    if kind == "grade":
        return {"it is said": "3", "": "?"}.get(prompt.removeprefix("grade: "), "5")
    asked = prompt.rpartition("Question: ")[2]
    for cause, effect in FACTS.items():
        if effect in asked and (request.state.adapters or f"{cause} makes" in prompt):
            return cause
    return ["x", "y", "x", "z"][n % 4]


def opened(folder: Path, *, roles: dict[str, str] | None = None, sees: Any = "context", **slots: Any) -> SessionService:
    """A session whose keyword arguments ``kind_name`` are its slots."""
    model = ScriptedLM(scripted)
    leaders = {"teacher": model}
    follow = {"student": "@teacher", **(roles or {})}
    return open_session(folder, world(), leaders, slots, roles=follow, sees=sees)


def asks(s: SessionService, split: Any, n: int) -> list[EditAsk]:
    return [EditAsk(episode, s.roles["teacher"], n, s.seed("ask", episode.id)) for episode in s.episodes(split)]


def test_1_seal_keeps_what_helped(tmp_path: Path) -> None:
    policy = walk.Fit()
    s = opened(
        tmp_path,
        editor=("editor", walk.Implications()),
        reward=("reward", walk.TrialMean()),
        updater=("updater", walk.Fit()),
        policy=("updater", policy),
        evaluator=("evaluator", walk.Exact()),
    )
    first, second = walk.BestOfEach().run(s)
    assert first.metrics["kept"] == 2
    assert len(second.roles["teacher"].adapters) == 2  # the second round goes on from the first
    assert second.roles["student"] == second.roles["teacher"]
    for job in policy.jobs:
        for edit in job.edits:
            [example] = edit.data
            assert isinstance(example, Example)
            assert (example.prompt, example.target) == (edit.actions[0].request.prompt, edit.actions[0].text)
            assert example.target  # the empty edit failed, and was worth nothing


def test_2_an_edit_that_is_settings_and_a_recipe(tmp_path: Path) -> None:
    updater = walk.Fit()
    s = opened(tmp_path, editor=("editor", walk.ChosenSettings()), updater=("updater", updater))
    group, _ = s.propose("teacher", asks(s, "train", 3))
    assert [edit.status for edit in group.edits] == ["ok", "failed", "ok"]
    assert group.edits[0].settings == {"epochs": 3}
    assert group.edits[1].reason == "no configuration: JSONDecodeError"
    jobs = [UpdateJob(edit.id, s.roles["student"], (edit,), 0) for edit in group.edits]
    done = s.update("updater", jobs)
    assert [one.status for one in done] == ["ok", "failed", "failed"]
    assert done[0].log["steps"] == 2
    assert done[2].reason == "copies: 0 is no number of copies"  # in the task's own words
    assert [job.edits[0].id for job in updater.jobs] == ["p1/0", "p1/2"]  # a failed edit never reaches the updater


def test_3_weights_without_training_and_many_contexts_in_one_state(tmp_path: Path) -> None:
    s = opened(tmp_path, editor=("editor", walk.Implications()), updater=("updater", walk.Generated()))
    edits = [group.edits[2] for group in s.propose("teacher", asks(s, "train", 3))]
    student = s.roles["student"]
    jobs = [UpdateJob("one", student, (edits[0],), 0), UpdateJob("both", student, tuple(edits), 0)]
    one, both = s.update("updater", jobs)
    assert one.state is not None
    assert both.state is not None
    assert len(one.state.adapters) == len(both.state.adapters) == 1
    assert one.state != both.state
    [(sequences, _)] = s.context.weights.adapter(both.state.adapters[0]).weights.values()
    assert sequences.tolist() == [[4.0, 0.0]]


def test_3_weights_that_come_with_the_edit_are_kept_with_it(tmp_path: Path) -> None:
    s = opened(tmp_path, editor=("editor", walk.ReadyMade()), updater=("updater", walk.Fit()))
    [group, _] = s.propose("teacher", asks(s, "train", 1))
    [delta] = group.edits[0].data
    assert s.context.weights.adapter(delta.artefact) is not None  # type: ignore[union-attr]
    [done] = s.update("updater", [UpdateJob("j", s.roles["student"], group.edits, 0)])
    assert (done.status, done.reason) == ("failed", "updater 'Fit' cannot learn from Delta")


def test_4_calls_that_depend_on_calls_and_one_update_on_everything(tmp_path: Path) -> None:
    full = walk.Mixed({"corpus:1": ["old text"]})
    s = opened(
        tmp_path,
        roles={"writer": "@teacher"},
        editor=("editor", walk.Pairs()),
        full=("updater", full),
        evaluator=("evaluator", walk.Exact()),
    )
    groups = s.propose("teacher", asks(s, "test", 1))
    assert [len(group.edits[0].actions) for group in groups] == [3, 3]
    every = tuple(edit for group in groups for edit in group.edits)
    [done] = s.update("full", [UpdateJob("cpt", s.roles["student"], every, 0, {"corpus": "corpus:1"})])
    assert done.log["steps"] == 2 * (3 + 1) + 1
    assert done.state is not None
    rows = s.evaluate([Ask(done.state, group.ask.episode) for group in groups])
    assert [score.value for row in rows for score in row] == [None, None]  # booked, and not shown: the test split
    assert [score.answers for row in rows for score in row] == [("rain",), ("ice",)]


def test_5_votes_on_the_test_questions_as_group_relative_rollouts(tmp_path: Path) -> None:
    grpo = walk.Fit("grpo")
    s = opened(
        tmp_path,
        sees="context+queries",
        editor=("editor", walk.Answers()),
        reward=("reward", walk.Majority()),
        grpo=("updater", grpo),
    )
    rounds = list(walk.GroupRelative("test").run(s))
    assert len(rounds[1].roles["teacher"].adapters) == 2
    rollouts = [item for edit in grpo.jobs[0].edits for item in edit.data if isinstance(item, Rollout)]
    assert [round(item.advantage, 3) for item in rollouts] == [1.0, -1.0, 1.0, -1.0] * 2  # x y x z: the vote is x
    assert {item.group for item in rollouts} == {"p3", "p4"}
    assert rollouts[0].action.tokens
    assert rollouts[0].action.logprobs


def test_5_a_transductive_method_may_still_not_try_edits_on_the_test_split(tmp_path: Path) -> None:
    s = opened(
        tmp_path,
        editor=("editor", walk.Implications()),
        reward=("reward", walk.TrialMean()),
        updater=("updater", walk.Fit()),
        evaluator=("evaluator", walk.Exact()),
    )
    with pytest.raises(PluginError, match="a trial may not use test episode 'p3'"):
        s.reward(s.propose("teacher", asks(s, "test", 1)))


def test_6_two_roles_and_episodes_of_their_own(tmp_path: Path) -> None:
    grpo = walk.Fit("grpo")
    s = opened(
        tmp_path,
        roles={"challenger": "@teacher", "solver": "@teacher"},
        sees="context+queries",
        challenger=("editor", walk.Challenges()),
        solver=("editor", walk.Answers()),
        novelty=("reward", walk.Novelty()),
        majority=("reward", walk.Majority()),
        grpo=("updater", grpo),
    )
    first, second = walk.CoEvolution().run(s)
    assert (first.metrics["made"], first.metrics["kept"]) == (3, 3)
    assert [job.id for job in grpo.jobs] == ["c0", "s0", "c1", "s1"]
    assert first.roles["challenger"] != first.roles["solver"]
    assert first.roles["teacher"].adapters == ()  # the two are trained separately
    assert len(second.roles["solver"].adapters) == 2
    assert s.keep("curriculum") == {"round": 1, "kept": 3}


def test_7_a_memory_that_grows_with_what_went_wrong(tmp_path: Path) -> None:
    s = opened(
        tmp_path,
        editor=("editor", walk.Reflections()),
        notes=("updater", Memory()),
        evaluator=("evaluator", walk.Exact()),
    )
    rounds = list(walk.Online().run(s))
    assert [one.metrics["score"] for one in rounds] == [0.0, 0.0]
    assert s.roles["teacher"].memory == {"passage": "moon makes tides sun makes days"}
    again = s.evaluate([Ask(s.roles["teacher"], episode) for episode in s.episodes("train")])
    assert [score.value for row in again for score in row] == [1.0, 1.0]


def test_8_labels_that_depend_on_each_other(tmp_path: Path) -> None:
    s = opened(tmp_path, editor=("editor", walk.Coherent()))
    groups = s.propose("teacher", asks(s, "train", 1))
    first, second = (cast(Example, group.edits[0].data[0]) for group in groups)
    assert first.target in {" True", " False"}
    assert str(second.prompt).startswith(f"{first.prompt}{first.target}\n")


def test_9_a_judge_that_is_the_policy_as_it_is_now(tmp_path: Path) -> None:
    dpo = walk.Fit("dpo")
    s = opened(
        tmp_path, editor=("editor", walk.Implications()), reward=("reward", walk.OwnJudge()), dpo=("updater", dpo)
    )
    model = cast(ScriptedLM, s.context.models[s.roles["teacher"].base])
    rounds = list(walk.Preferring().run(s))
    assert [one.metrics["pairs"] for one in rounds] == [2, 2]
    [pair] = dpo.jobs[0].edits[0].data
    assert pair == Preference("imply: moon makes tides", "moon makes tides", "")
    judges = [request.state for request in model.asked if str(request.prompt).startswith("grade")]
    assert {len(state.adapters) for state in judges} == {0, 1}  # the second round is judged by the trained policy


def test_10_an_editor_around_an_editor(tmp_path: Path) -> None:
    s = opened(tmp_path, editor=("editor", walk.Selective(inner=walk.Implications())))
    groups = s.propose("teacher", asks(s, "train", 3))
    assert sorted(len(group.edits) for group in groups) == [0, 3]


def test_11_a_teacher_that_cannot_be_trained_is_refused_before_anything_is_spent(tmp_path: Path) -> None:
    plugin = tmp_path / "mute.py"
    plugin.write_text(
        "from harness import hookimpl\n"
        "from harness.testing import ScriptedLM\n"
        "class Mute(ScriptedLM):\n"
        "    def __init__(self, weights):\n"
        "        super().__init__({}, can=frozenset({'generate'}))\n"
        "    def generate(self, asks):\n"
        "        raise AssertionError('something was spent')\n"
        "@hookimpl\n"
        "def harness_models():\n"
        "    return {'mute': 'mute:Mute'}\n",
        encoding="utf-8",
    )
    passages = tmp_path / "p.json"
    asked = [{"question": "?", "answer": "a"}]
    records = [{"title": str(n), "context": f"text {n}", "questions": asked} for n in range(5)]
    passages.write_text(json.dumps(records), encoding="utf-8")
    config = {
        "method": "seal",
        "model": "mute",
        "task": {"use": "squad", "data": str(passages)},
        "out": str(tmp_path / "runs"),
        "leaderboard": str(tmp_path / "boards"),
    }
    with pytest.raises(UsageError, match=r"method 'seal' needs a teacher that can train, and 'mute' cannot"):
        harness.run(config, plugin_files=[plugin])
