"""The contract tests: components that keep the rules pass, and each kind of bug is caught by the check for it."""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from harness_baselines.editors import AtHand, PassageRepeat
from harness_lab.facts_task import LabFacts
from harness_seal.editors import Implications
from harness_seal.restem import RestEM
from harness_seal.trial import Trial

from harness.api import (
    Ask,
    EditAsk,
    EditFailed,
    Editor,
    Episode,
    Example,
    Group,
    Query,
    Recipe,
    References,
    Request,
    Reward,
    Round,
    Score,
    SelfEdit,
    Session,
    State,
    Trainer,
    Updated,
    UpdateJob,
)
from harness.books.store import WeightStore
from harness.evaluators.closed_book import ClosedBook
from harness.runs.protocols.cpt import ContinuedPretraining
from harness.runs.protocols.sequence import SequenceOfEdits
from harness.runs.protocols.single import Single
from harness.testing import (
    EditorContract,
    EvaluatorContract,
    ModelContract,
    ProtocolContract,
    RewardContract,
    ScriptedLM,
    ScriptedTask,
    TaskContract,
    TrainerContract,
    UpdaterContract,
)
from harness.testing.check import run_contract
from harness.testing.components import Fit, Match, TrialReward, Writer, world
from harness.testing.contracts import Contract
from harness.testing.embedded import lab_model
from harness.updaters.lora import Lora
from harness.updaters.memory import Memory


class TestSingle(ProtocolContract):
    component = Single


class TestContinuedPretraining(ProtocolContract):
    component = ContinuedPretraining


class TestSequenceOfEdits(ProtocolContract):
    component = SequenceOfEdits
    settings: ClassVar[Mapping[str, Any]] = {"start_as": "stack"}


class TestImplications(EditorContract):
    component = Implications


class TestPassageRepeat(EditorContract):
    component = PassageRepeat
    settings: ClassVar[Mapping[str, Any]] = {"like": {"use": "implications"}}


class TestTrial(RewardContract):
    component = Trial
    settings: ClassVar[Mapping[str, Any]] = {"inner_seeds": 2}


class TestLora(UpdaterContract):
    component = Lora
    settings: ClassVar[Mapping[str, Any]] = {"rank": 4, "epochs": 1}


class TestMemory(UpdaterContract):
    component = Memory


class TestClosedBook(EvaluatorContract):
    component = ClosedBook


class TestRestEM(TrainerContract):
    component = RestEM
    settings: ClassVar[Mapping[str, Any]] = {"contexts": 3, "samples": 2}


class TestLabFacts(TaskContract):
    component = LabFacts
    settings: ClassVar[Mapping[str, Any]] = {"train": 4, "validation": 4, "test": 4}


class TestScriptedModel(ModelContract):
    class Scripted(ScriptedLM):
        def __init__(self, weights: WeightStore) -> None:
            super().__init__(lambda request, index: f"Elm {request.seed} {index}")

    component = Scripted

    def open(self, folder: Path) -> Any:
        return self.component(WeightStore(folder))

    def test_importing_the_plugin_is_light(self) -> None:
        """This module is a test, and may import anything."""


class TestLabModel(ModelContract):
    def open(self, folder: Path) -> Any:
        return lab_model(WeightStore(folder))

    def test_settings_are_a_frozen_dataclass_with_defaults(self) -> None:
        """The nested backend comes from its name, not from the test."""

    def test_importing_the_plugin_is_light(self) -> None:
        """The nested backend comes from its name, not from the test."""


# --- each of these breaks one rule ---


class Careless(Writer):
    """Mixes up the asks."""

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Any:
        return super().propose(asks, s)[::-1]


class Dice(Writer):
    """Draws from the process's generator."""

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Any:
        text = f"{random.random()}"
        return [[SelfEdit(f"{a.episode.id}/0", a.episode.id, (Example("", text),))] for a in asks]


class Stubborn(Writer):
    """Ignores the ask's seed."""

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Any:
        return super().propose([replace(ask, seed=1) for ask in asks], s)


class Greedy(Writer):
    """Returns one edit more than was asked for."""

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Any:
        return super().propose([replace(ask, n=ask.n + 1) for ask in asks], s)


class Twins(Writer):
    """Asks for the same sample twice."""

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Any:
        halves = [super(Twins, self).propose([replace(ask, n=1) for ask in asks], s) for _ in range(2)]
        return [
            [replace(edit, id=f"{edit.id}{n}") for n, edits in enumerate(both) for edit in edits][: ask.n]
            for ask, *both in zip(asks, *halves, strict=True)
        ]


class Brittle(Writer):
    """Expects every completion to be a list."""

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Any:
        rows = super().propose(asks, s)
        for edit in (edit for row in rows for edit in row):
            edit.actions[0].text.split("1. ")[1]
        return rows


class Silent(Writer):
    """Does not say which completion an edit comes from."""

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Any:
        return [[replace(edit, actions=()) for edit in row] for row in super().propose(asks, s)]


class Tuples(Writer):
    """Puts a value into the settings that JSON cannot hold."""

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Any:
        return [[replace(edit, settings={"own": {1, 2}}) for edit in row] for row in super().propose(asks, s)]


class Meddler(Writer):
    """Writes into the context."""

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Any:
        for ask in asks:
            ask.episode.context["title"] = "mine"  # type: ignore[index]
        return super().propose(asks, s)


class Batchwise(Writer):
    """Numbers its edits over the whole batch."""

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Any:
        return [
            [replace(edit, data=(Example("", f"{n}"),)) for edit in row]
            for n, row in enumerate(super().propose(asks, s))
        ]


class Short(TrialReward):
    """Forgets the candidates that failed."""

    def score(self, groups: Sequence[Group], s: Session, /) -> Any:
        kept = [replace(group, edits=tuple(e for e in group.edits if e.status == "ok")) for group in groups]
        return super().score(kept, s)


class Zero(TrialReward):
    """Counts a lost trial as 0."""

    def score(self, groups: Sequence[Group], s: Session, /) -> Any:
        return [[Reward(reward.value or 0.0) for reward in row] for row in super().score(groups, s)]


class NotANumber(TrialReward):
    def score(self, groups: Sequence[Group], s: Session, /) -> Any:
        return [[Reward(float("nan")) for _ in group.edits] for group in groups]


class Drawn(TrialReward):
    def score(self, groups: Sequence[Group], s: Session, /) -> Any:
        return [[Reward(random.random()) for _ in group.edits] for group in groups]


class Lazy(Fit):
    """Leaves the last job out."""

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        yield from super().apply(jobs[:-1], s)


class Unseeded(Fit):
    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        yield from super().apply([replace(job, seed=random.randrange(1000)) for job in jobs], s)


class Positional(Fit):
    """Seeds a job by its position."""

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        yield from super().apply([replace(job, seed=place) for place, job in enumerate(jobs)], s)


class Restart(Fit):
    """Returns the base model: forgets what the start had learnt, and learns nothing."""

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        for job in jobs:
            yield Updated(job.id, State("another base"))


class Touching(Fit):
    """Trains the base model itself."""

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        for job in jobs:
            model = s.context.models[job.start.base]  # type: ignore[attr-defined]
            if hasattr(model, "engine"):
                next(iter(model.engine.model.parameters())).data.add_(1.0)
            yield Updated(job.id, job.start)


class Generous(Match):
    """Gives everyone full marks."""

    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        for row in super().evaluate(asks, references, s):
            yield [replace(score, value=1.0) for score in row]


class Leaky(Match):
    """Shows the references to the model."""

    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        for ask in asks:
            s.lm(ask.state).generate([Request(ask.state, f"Is it {references[ask.episode.id]}?")])
        yield from super().evaluate(asks, references, s)


class Endless(Match):
    """Marks in percent."""

    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        for row in super().evaluate(asks, references, s):
            yield [replace(score, value=100.0) for score in row]


class Shuffled(ScriptedTask):
    """Another order every time."""

    def __init__(self) -> None:
        super().__init__(world().splits)

    def load(self, split: Any, /) -> Any:
        items = list(super().load(split))
        random.shuffle(items)
        return items


class Repeated(Shuffled):
    """The same items in every split."""

    def load(self, split: Any, /) -> Any:
        return [] if split == "made" else ScriptedTask(world().splits).load("train")


class Unanswerable(Shuffled):
    def load(self, split: Any, /) -> Any:
        return [(episode, {}) for episode, _ in ScriptedTask(world().splits).load(split)]

    def extract(self, query: Query, answer: str, /) -> str | None:
        return answer

    def same(self, query: Query, a: str, b: str, /) -> bool:
        return True


class Crashing(Shuffled):
    def load(self, split: Any, /) -> Any:
        return ScriptedTask(world().splits).load(split)

    def same(self, query: Query, a: str, b: str, /) -> bool:
        return True

    def expand(self, recipe: Recipe, episode: Episode, seed: int, /) -> Sequence[Example]:
        if random.random() > 2:
            raise EditFailed("never")
        return [Example("", {"passage": str(random.random()), "lines": ""}[recipe.name])]


@dataclass(frozen=True)
class _Rounds:
    count: int = 2


class Forgetful(Trainer):
    """Starts differently in every process."""

    Settings = _Rounds

    def __init__(self, settings: _Rounds) -> None:
        self._settings = settings

    def run(self, s: Session, /) -> Iterator[Round]:
        for index in range(self._settings.count):
            asks = [EditAsk(e, s.roles["teacher"], 1, random.randrange(10**9)) for e in s.episodes("train")]
            s.propose("teacher", asks)
            yield Round(index + 1, dict(s.roles))


class Peeking(Forgetful):
    """Writes about the test episodes."""

    def run(self, s: Session, /) -> Iterator[Round]:
        s.propose("teacher", [EditAsk(e, s.roles["teacher"], 1, 0) for e in s.episodes("test")])
        yield Round(0, dict(s.roles))


class Chance(TestScriptedModel.Scripted):
    def generate(self, asks: Sequence[Request], /) -> Any:
        return [row[: 1 + place] for place, row in enumerate(super().generate(asks))]


class Loose(Editor):
    """Settings that are not frozen, and lack a default."""

    @dataclass
    class Settings:
        rate: float

    def __init__(self, settings: Any) -> None: ...

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Any:
        return [[] for _ in asks]


BUGS: Sequence[tuple[type[Contract], Any, str]] = [
    (EditorContract, Careless, "gives each ask its own edits in order"),
    (EditorContract, Dice, "one seed gives the same edits"),
    (EditorContract, Stubborn, "another seed reaches the model"),
    (EditorContract, Greedy, "never gives more than was asked for"),
    (EditorContract, Twins, "candidates are sampled independently"),
    (EditorContract, Brittle, "unusable texts make failed edits with a reason"),
    (EditorContract, Silent, "a lost answer is an error and never an edit"),
    (EditorContract, Tuples, "edits survive the journal"),
    (EditorContract, Meddler, "leaves the asks as they are"),
    (EditorContract, Batchwise, "the order of asks does not matter"),
    (EditorContract, Batchwise, "an ask alone gets the same edits as among others"),
    (EditorContract, Loose, "settings are a frozen dataclass with defaults"),
    (RewardContract, Short, "gives every candidate one reward"),
    (RewardContract, Zero, "a lost trial is an error"),
    (RewardContract, NotANumber, "values are numbers exactly when there is no error"),
    (RewardContract, Drawn, "the same groups get the same rewards"),
    (UpdaterContract, Lazy, "answers every job once"),
    (UpdaterContract, Unseeded, "one seed gives the same weights"),
    (UpdaterContract, Positional, "the order of jobs does not matter"),
    (UpdaterContract, Restart, "a state exactly when ok and on the same base"),
    (UpdaterContract, Touching, "base weights stay unchanged"),
    (EvaluatorContract, Generous, "right answers beat wrong ones"),
    (EvaluatorContract, Generous, "a lost answer is an error without a value"),
    (EvaluatorContract, Generous, "a failed answer gives a failed score"),
    (EvaluatorContract, Leaky, "references stay out of the prompts"),
    (EvaluatorContract, Endless, "values are in range and none only for errors"),
    (TaskContract, Shuffled, "loads its splits in a fixed order"),
    (TaskContract, Repeated, "loads its splits in a fixed order"),
    (TaskContract, Unanswerable, "every query has references and an id of its own"),
    (TaskContract, Crashing, "recipes expand the same way every time"),
    (TaskContract, Crashing, "unknown recipes and empty texts are refused"),
    (TaskContract, Crashing, "sameness is symmetric and not universal"),
    (TrainerContract, Forgetful, "resuming repeats it from the journal"),
    (TrainerContract, Forgetful, "rounds count up and hold states"),
    (TrainerContract, Peeking, "never touches the test split"),
    (ModelContract, Chance, "gives every request its completions"),
]


@pytest.mark.parametrize(("contract", "bug", "check"), BUGS, ids=lambda value: getattr(value, "__name__", value))
def test_a_bug_is_caught_by_the_check_for_it(contract: type[Contract], bug: Any, check: str) -> None:
    members: dict[str, Any] = {"component": bug}
    if contract is ModelContract:
        members["open"] = lambda self, folder: bug(WeightStore(folder))
    name = "test_" + check.replace(" ", "_")
    # Only the check in question, so that a bug costs milliseconds.
    others = {other: None for other in dir(contract) if other.startswith("test_") and other != name}
    [outcome] = run_contract(type("Bugged", (contract,), {**members, **others}))
    assert outcome.check == check
    assert outcome.status in {"failed", "skipped"}, f"{bug.__name__} gets away with it"
    if outcome.status == "skipped":
        pytest.skip(outcome.said)
    assert outcome.said


def test_a_heavy_import_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "heavy_plugin.py").write_text(
        "import numpy\nfrom harness.api import Editor\n\nclass Heavy(Editor): ...\n", "utf-8"
    )
    heavy = importlib.import_module("heavy_plugin").Heavy
    contract = type("HeavyContract", (EditorContract,), {"component": heavy})
    [outcome] = [o for o in run_contract(contract) if o.check == "importing the plugin is light"]
    assert outcome.said.splitlines()[0] == "import heavy_plugin imports numpy: move it into the functions"


def test_an_editor_that_uses_no_model_passes_too() -> None:
    bad = [
        o
        for o in run_contract(type("AtHandContract", (EditorContract,), {"component": AtHand}))
        if o.status != "passed"
    ]
    assert not bad
