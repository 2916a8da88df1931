"""The editor that chooses how its edits are learnt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from harness_outer_loops.choices import ChoosesSettings

from harness.api import EditAsk, SelfEdit, State
from harness.errors import UsageError
from harness.testing import EditorContract, ScriptedLM, ScriptedTask, open_session

TASK = ScriptedTask({"train": {"t": ("Alder was founded in 1801.", {"When?": ["1801"]})}})


class Opinionated(ScriptedLM):
    """Says " 10" for epochs nine times as readily as each other value, and every rate alike."""

    def __init__(self) -> None:
        super().__init__(lambda request, n: f"Edit {n}.")
        self.scored: list[tuple[Any, str]] = []

    def logprobs(self, asks: Sequence[tuple[State, Any, str]], /) -> list[list[float]]:
        self.scored += [(prompt, text) for _, prompt, text in asks]
        return [[-1.0 if text == " 10" else -3.1972] for _, _, text in asks]


def written(folder: Path, n: int = 1, **settings: Any) -> tuple[list[SelfEdit], Opinionated]:
    model = Opinionated()
    editor = ChoosesSettings(ChoosesSettings.Settings(**settings))
    s = open_session(folder, TASK, {"teacher": model}, {"editor": ("editor", editor)})
    [episode] = s.episodes("train")
    [group] = s.propose("teacher", [EditAsk(episode, s.roles["teacher"], n, 0)])
    return list(group.edits), model


def test_each_choice_is_an_action_after_what_was_written_before_it(tmp_path: Path) -> None:
    [edit], model = written(tmp_path)
    text, rate, epochs = edit.actions
    assert rate.request.prompt == f"{text.request.prompt}Edit 0.\nLearning rate:"
    assert epochs.request.prompt == f"{rate.request.prompt}{rate.text}\nEpochs:"
    assert edit.settings == {"learning_rate": float(rate.text), "epochs": int(epochs.text)}
    assert {text for _, text in model.scored} == {" 0.0003", " 0.001", " 0.003", " 5", " 10", " 20"}


def test_values_are_drawn_as_the_policy_says_them(tmp_path: Path) -> None:
    edits, _ = written(tmp_path, n=600)
    epochs = Counter(edit.settings["epochs"] for edit in edits)
    rates = Counter(edit.settings["learning_rate"] for edit in edits)
    wanted = 0.9 * 9 / 11 + 0.1 / 3
    assert epochs[10] / 600 == pytest.approx(wanted, abs=0.06)
    assert all(count / 600 == pytest.approx(1 / 3, abs=0.08) for count in rates.values())
    shares = {edit.settings["epochs"]: edit.actions[2].cost["share"] for edit in edits}
    assert shares == pytest.approx({5: (1 - wanted) / 2, 10: wanted, 20: (1 - wanted) / 2}, abs=1e-3)


def test_a_menu_of_one_value_is_not_asked(tmp_path: Path) -> None:
    [edit], model = written(tmp_path, learning_rates=(2e-3,))
    assert edit.settings["learning_rate"] == 2e-3
    assert len(edit.actions) == 2
    assert all("Learning rate" not in prompt for prompt, _ in model.scored)
    with pytest.raises(UsageError, match="the menu of epochs is empty"):
        written(tmp_path / "none", epochs=())


def test_a_model_without_probabilities_is_refused(tmp_path: Path) -> None:
    model = ScriptedLM({}, can=frozenset({"generate"}))
    editor = ChoosesSettings(ChoosesSettings.Settings())
    s = open_session(tmp_path, TASK, {"teacher": model}, {"editor": ("editor", editor)})
    [episode] = s.episodes("train")
    with pytest.raises(UsageError, match="needs a model that gives log-probabilities"):
        s.propose("teacher", [EditAsk(episode, s.roles["teacher"], 1, 0)])


class TestChoosesSettings(EditorContract):
    component = ChoosesSettings
    settings: ClassVar[Mapping[str, Any]] = {}
