"""The editor ``arc-config``: which answers are configurations, what edits they become, and how malformed ones count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness_seal.arc.editor import ArcConfig
from harness_seal.arc.space import ArcChoice, Budget, Choice, read_choice
from hypothesis import given
from hypothesis import strategies as st

from harness.api import EditAsk, EditFailed, Recipe, Request, SelfEdit, State
from harness.errors import UsageError
from tests.arc.fakes import FakeSession, Reply
from tests.arc.test_ttt import Made, made_puzzle

GOOD: dict[str, Any] = {
    "data_generation": {
        "use_basic_augmentations": True,
        "use_size_augmentations": False,
        "use_chain_augmentations": False,
        "use_repeat_augmentations": True,
    },
    "training": {"strategy": "train_using_output_tokens", "learning_rate": 1e-4, "num_train_epochs": 2},
}
PUZZLE = made_puzzle(3)


def changed(path: str, value: Any) -> str:
    made = json.loads(json.dumps(GOOD))
    *parents, last = path.split(".")
    at = made
    for key in parents:
        at = at[key]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return json.dumps(made)


def propose(reply: Reply, n: int = 1, chat: bool = False, **settings: Any) -> tuple[list[SelfEdit], FakeSession]:
    task = Made(PUZZLE)
    session = FakeSession(task, reply, chat)
    ask = EditAsk(task.load("train")[0][0], State("fake"), n, seed=7)
    (row,) = ArcConfig(ArcConfig.Settings(**settings)).propose([ask], session)
    return list(row), session


def test_a_configuration_becomes_a_recipe_and_settings() -> None:
    (edit,), session = propose(lambda request, at: json.dumps(GOOD))
    (request,) = session.model.calls[0]
    assert (edit.id, edit.episode, edit.status, edit.actions[0].request) == ("made/0", "made", "ok", request)
    assert edit.settings == {"learning_rate": 1e-4, "epochs": 2, "loss_on": "target"}
    (recipe,) = edit.data
    assert isinstance(recipe, Recipe)
    assert recipe.args["augment"] == ["basic", "repeat"]
    episode = session.task.load("train")[0][0]
    assert len(session.task.expand(recipe, episode, 0)) > 24


def test_the_prompt_shows_the_demonstrations_and_not_the_test_input() -> None:
    for chat in (False, True):
        _, session = propose(lambda request, at: json.dumps(GOOD), chat=chat)
        ((request,),) = session.model.calls
        text = request.prompt if isinstance(request.prompt, str) else request.prompt[1][1]
        assert isinstance(request.prompt, str) != chat
        assert session.task.text.demos(PUZZLE.demos) in text
        assert session.task.text.grid(PUZZLE.tests[0]) not in text
        assert "{demos}" not in text
        assert (request.temperature, request.max_tokens, request.seed) == (0.8, 128, 7)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "not JSON"),
        ("Sure! " + json.dumps(GOOD), "not JSON"),
        (json.dumps(GOOD)[:-4], "not JSON"),
        (json.dumps(GOOD) + " done", "not JSON"),
        ("[]", "configuration: Input should be an object"),
        (changed("training", None), "training: Field required"),
        (changed("data_generation.use_size_augmentations", None), "data_generation.use_size_augmentations: Field"),
        (changed("data_generation.use_colour_augmentations", True), "use_colour_augmentations: Extra inputs"),
        (
            changed("data_generation.use_size_augmentations", "yes"),
            "use_size_augmentations: Input should be a valid",
        ),
        (changed("data_generation.use_size_augmentations", 1), "use_size_augmentations: Input should be a valid"),
        (changed("training.strategy", "train_using_no_tokens"), "training.strategy: Input should be"),
        (changed("training.learning_rate", "1e-4"), "training.learning_rate: Input should be a valid number"),
        (changed("training.learning_rate", 0), "training.learning_rate: Input should be greater than 0"),
        (changed("training.learning_rate", 5), "training.learning_rate: Input should be less than or equal to 0.1"),
        (changed("training.learning_rate", float("nan")), "training.learning_rate: Input should be a finite number"),
        (
            changed("training.num_train_epochs", 0),
            "num_train_epochs: Input should be greater than or equal to 1",
        ),
        (changed("training.num_train_epochs", 2.5), "training.num_train_epochs: Input should be a valid integer"),
        (
            changed("training.num_train_epochs", 101),
            "num_train_epochs: Input should be less than or equal to 100",
        ),
    ],
)
def test_a_malformed_configuration_fails_and_counts(answer: str, reason: str) -> None:
    (edit,), session = propose(lambda request, at: answer)
    assert (edit.status, edit.data, edit.settings) == ("failed", (), {})
    assert reason in edit.reason
    assert edit.actions[0].text == answer
    assert len(session.model.calls) == 1


@given(
    st.text(max_size=60) | st.recursive(st.none() | st.booleans() | st.floats(), st.lists, max_leaves=5).map(json.dumps)
)
def test_any_other_text_has_a_reason(text: str) -> None:
    with pytest.raises(EditFailed, match=r"\S"):
        read_choice(ArcChoice, text)


def test_strategies_and_caps() -> None:
    budget = Budget(chat=True, max_epochs=3, max_steps=375, batch_size=2)
    text = changed("training", {"strategy": "train_using_all_tokens", "learning_rate": 1, "num_train_epochs": 20})
    with pytest.raises(EditFailed):
        read_choice(ArcChoice, text)
    text = text.replace('"learning_rate": 1', '"learning_rate": 0.002')
    data, settings = read_choice(ArcChoice, text).edit(budget)
    assert settings == {"learning_rate": 0.002, "epochs": 3, "loss_on": "all"}
    assert isinstance(data[0], Recipe)
    assert (data[0].args["epochs"], data[0].args["chat"]) == (3, True)


def test_malformed_answers_can_be_drawn_again_and_that_is_said() -> None:
    good = json.dumps(GOOD)

    def reply(request: Request, at: int) -> str:
        return good if (at == 0 and request.n > 1) or (request.n == 1 and request.seed % 2) else "{"

    edits, session = propose(reply, n=3, malformed="resample")
    assert [edit.status for edit in edits] == ["ok"] * 3
    assert [edit.id for edit in edits] == ["made/0", "made/1", "made/2"]
    assert [edit.reason for edit in edits][:2] == ["", "drawn again: 1 malformed before it"]
    assert edits[2].reason == f"drawn again: {len(session.model.calls) - 1} malformed before it"
    assert len({request.seed for call in session.model.calls for request in call}) == len(session.model.calls)


def test_what_the_release_counts_as_unsolved_is_not_drawn_again() -> None:
    """JSON without a key, with an unknown strategy or with a bad value trains nothing there, and counts."""
    lacks = {"data_generation": GOOD["data_generation"]}
    bad = [json.dumps(lacks), json.dumps({**GOOD, "training": {**GOOD["training"], "learning_rate": -1}}), "{"]

    def reply(request: Request, at: int) -> str:
        return bad[at] if request.n == 3 else json.dumps(GOOD)

    edits, session = propose(reply, n=3, malformed="resample")
    assert [edit.status for edit in edits] == ["failed", "failed", "ok"]
    assert [edit.reason for edit in edits][2] == "drawn again: 1 malformed before it"
    assert len(session.model.calls) == 2


def test_drawing_again_ends() -> None:
    edits, session = propose(lambda request, at: "{", n=2, malformed="resample", max_draws=4)
    assert [edit.status for edit in edits] == ["failed"] * 2
    assert len(session.model.calls) == 4


class Rate(Choice):
    """A space of one number, as another plugin may declare it."""

    rate: float

    def edit(self, budget: Budget, /) -> tuple[tuple[Recipe, ...], dict[str, Any]]:
        return (Recipe("ttt", {"augment": []}),), {"learning_rate": self.rate}


def test_another_plugins_space() -> None:
    (edit,), _ = propose(lambda request, at: '{"rate": 0.5}', space="tests.arc.test_config_editor:Rate")
    assert edit.settings == {"learning_rate": 0.5}
    with pytest.raises(UsageError, match=r"no configuration space 'tests\.arc\.nowhere:X'"):
        ArcConfig(ArcConfig.Settings(space="tests.arc.nowhere:X"))
    with pytest.raises(UsageError, match="is not a subclass of"):
        ArcConfig(ArcConfig.Settings(space="json:JSONDecoder"))


def test_ones_own_prompt(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('version = "1"\nbase = "<{demos}>"\ninstruct = {system = "s", user = "u {demos}"}\n')
    _, session = propose(lambda request, at: "{", template=str(path))
    assert session.model.calls[0][0].prompt == f"<{session.task.text.demos(PUZZLE.demos)}>"
    path.write_text('base = "x"\n')
    with pytest.raises(UsageError, match=r"needs base, instruct\.system and instruct\.user"):
        ArcConfig(ArcConfig.Settings(template=str(path)))
    with pytest.raises(UsageError, match="no prompt 'arc-config-9'"):
        ArcConfig(ArcConfig.Settings(template="arc-config-9"))
