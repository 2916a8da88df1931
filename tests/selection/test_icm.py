"""ICM in real sessions: what it does not read changes nothing, and what it learns is what it labelled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from harness_lab_maths.maths_model import LabMathsModel
from harness_selection.claims import LabClaims
from harness_selection.icm import Icm

from harness.api import Round, State
from harness.books.store import WeightStore
from harness.errors import UsageError
from harness.evaluators.closed_book import ClosedBook
from harness.models.hf_settings import HfSettings
from harness.session.service import SessionService
from harness.testing import TaskContract, TrainerContract
from harness.testing.scripted import ScriptedLM, open_session
from tests.learning import Learner

SMALL: Mapping[str, Any] = {
    "names": (" true", " false"), "end": ". ", "key": r"(\d+ more \d+)", "rule": "mirror", "demonstrations": 6,
    "steps": 25, "seeds": 4,
}  # fmt: skip


class Asked(ScriptedLM):
    """Remembers what was scored."""

    def __init__(self) -> None:
        super().__init__(lambda request, n: "true" if "4" in str(request.prompt) else "false")
        self.scored: list[Any] = []

    def logprobs(self, asks: Any, /, **options: Any) -> Any:
        self.scored += [*asks, options]
        return super().logprobs(asks, **options)


class TestIcm(TrainerContract):
    component = Icm
    sees = "context+queries"
    settings: ClassVar[Mapping[str, Any]] = {"steps": 6, "batch": 4, "seeds": 2}
    slots: ClassVar[Mapping[str, tuple[str, Any]]] = {"sft": ("updater", Learner())}


class TestLabClaims(TaskContract):
    component = LabClaims
    settings: ClassVar[Mapping[str, Any]] = {"train": 8, "validation": 4, "test": 8}


def opened(folder: Path, **task: Any) -> tuple[SessionService, Asked, Learner]:
    model, learner = Asked(), Learner()
    slots: dict[str, tuple[str, Any]] = {"sft": ("updater", learner)}
    slots |= {name: ("evaluator", ClosedBook(ClosedBook.Settings(max_tokens=4))) for name in ("evaluator", "oracle")}
    claims = LabClaims(LabClaims.Settings(**{"train": 16, "test": 4, **task}))
    s = open_session(folder, claims, {"teacher": model}, slots, roles={"student": "@teacher"}, sees="context+queries")
    return s, model, learner


def ran(
    folder: Path, task: Mapping[str, Any] | None = None, **settings: Any
) -> tuple[list[Round], Asked, Learner, SessionService]:
    s, model, learner = opened(folder, **(task or {}))
    rounds = list(Icm(Icm.Settings(**{**SMALL, **settings})).run(s.sealed))
    s.journal.close()
    return rounds, model, learner, s


@pytest.mark.parametrize("start", ["random", "zero-shot"])
def test_what_is_right_changes_nothing(tmp_path: Path, start: str) -> None:
    """The leak test: the references mean another thing, and requests, labels, updates and rounds are the same."""
    one = ran(tmp_path / "a", {"concept": "more"}, start=start)
    other = ran(tmp_path / "b", {"concept": "even"}, start=start)
    assert one[0] == other[0]
    assert one[1].scored == other[1].scored
    assert one[2].jobs == other[2].jobs
    assert one[3].labels == other[3].labels == set()


def test_another_life_repeats_it_from_the_journal(tmp_path: Path) -> None:
    once = ran(tmp_path)[0]
    again, model, learner, _ = ran(tmp_path)
    assert once == again
    assert not model.scored
    assert not learner.jobs


def test_groups_and_keys_come_from_the_claim() -> None:
    more, even = (LabClaims(LabClaims.Settings(concept=concept)) for concept in ("more", "even"))  # type: ignore[arg-type]
    for split in ("train", "validation", "test"):
        ours, theirs = more.load(split), even.load(split)  # type: ignore[arg-type]
        assert [episode for episode, _ in ours] == [episode for episode, _ in theirs]
        assert [gold for _, gold in ours] != [gold for _, gold in theirs]
    pairs = [{e.group for e, _ in more.load(split)} for split in ("train", "validation", "test")]  # type: ignore[arg-type]
    assert not pairs[0] & pairs[2]
    assert not pairs[0] & pairs[1]


def test_what_is_labelled_is_learnt_and_contradicts_nothing(tmp_path: Path) -> None:
    rounds, model, learner, _ = ran(tmp_path)
    [job] = learner.jobs
    said = {edit.data[0].prompt: edit.data[0].target for edit in job.edits}  # type: ignore[union-attr]
    assert set(said.values()) == {" true.", " false."}
    assert len(said) == 16
    for prompt, label in said.items():
        left, right = str(prompt).removeprefix("claim ").rstrip(":").split(" more ")
        assert said[f"claim {right} more {left}:"] != label
    assert rounds[0].metrics["contradictions"] == 0
    prompts = [str(ask[1]) for ask in model.scored if isinstance(ask, tuple)]
    assert max(prompt.count("claim") for prompt in prompts) == 7
    assert any(". claim" in prompt for prompt in prompts)


def test_later_batches_are_labelled_by_the_model_that_learnt_the_earlier_ones(tmp_path: Path) -> None:
    rounds, model, learner, _ = ran(tmp_path, batch=8)
    assert [one.index for one in rounds] == [0, 1]
    adapters = list(dict.fromkeys(ask[0].adapters for ask in model.scored if isinstance(ask, tuple)))
    assert adapters == [(), rounds[0].roles["teacher"].adapters]
    assert learner.jobs[1].start != learner.jobs[0].start


@pytest.mark.parametrize("labels", ["zero-shot", "random", "oracle"])
def test_controls(tmp_path: Path, labels: str) -> None:
    _, _, learner, s = ran(tmp_path, labels=labels)
    targets = {edit.data[0].prompt: edit.data[0].target for edit in learner.jobs[0].edits}  # type: ignore[union-attr]
    right = [
        (label == " true.") == (int(str(prompt).split()[1]) > int(str(prompt).split()[3].rstrip(":")))
        for prompt, label in targets.items()
    ]
    assert (sum(right) == len(right)) == (labels == "oracle")
    assert bool(s.labels) == (labels == "oracle")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"key": "("}, "no regular expression"),
        ({"names": (" a", " a")}, "two different labels"),
        ({"key": "xyz"}, "finds nothing in"),
    ],
)
def test_bad_settings_are_one_line(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ran(tmp_path, **settings)


def test_the_embedded_model_against_brute_force(tmp_path: Path) -> None:
    """Through the engine, with beginnings read once."""
    from harness_selection.coherence import Annealing, Coherence, Item, search
    from harness_selection.icm import Items
    from harness_selection.learning import questions

    s = embedded(tmp_path / "run", train=6, test=2)
    asked = questions(s.sealed, "train", "icm")
    items = Items(s.sealed, s.roles["teacher"], asked, (" true", " false"), ". ")
    coherence = Coherence(
        [Item(one.episode.group or "", one.query.text) for one in asked], items.score, alpha=30, rule="mirror"
    )
    done = search(coherence, Annealing(steps=40), 1)
    best = max(coherence.utility({i: bool(bits >> i & 1) for i in range(6)}) for bits in range(64))
    assert done.utility >= 0.95 * best


def embedded(folder: Path, **task: Any) -> SessionService:
    """A session with the embedded model on claims."""
    (folder / "weights").mkdir(parents=True)
    weights = WeightStore(folder / "weights")
    model = LabMathsModel(HfSettings(path="", device="cpu"), weights)
    claims = LabClaims(LabClaims.Settings(**task))
    slots: dict[str, tuple[str, Any]] = {"sft": ("updater", Learner())}
    roles = {"student": "@teacher"}
    return open_session(folder, claims, {"teacher": model}, slots, roles=roles, weights=weights, sees="context+queries")


def test_the_salient_concept_is_labelled_better_than_without_demonstrations_and_no_other_is(tmp_path: Path) -> None:
    shares = {}
    for concept in ("more", "even"):
        s = embedded(tmp_path / concept, train=40, test=2, concept=concept)
        for labels in ("icm", "zero-shot"):
            own = {**SMALL, "labels": labels, "demonstrations": 10, "steps": 80, "start": "zero-shot"}
            list(Icm(Icm.Settings(**own)).run(s.sealed))
            right, of = s.diagnoses["label, batch 1"]
            shares[concept, labels] = right / of
            s.roles["teacher"] = State(s.lm("teacher").base)
        s.journal.close()
    assert shares["more", "icm"] > shares["more", "zero-shot"] > 0.6
    assert shares["more", "icm"] >= 0.85
    assert abs(shares["even", "icm"] - 0.5) < 0.15
