"""What is computed together is decided by the call alone: nothing that is booked already changes a bit of the rest."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.api import (
    Ask,
    Completion,
    Example,
    HarnessError,
    Request,
    SelfEdit,
    Trained,
    TrainItem,
    TrialJob,
    UpdateJob,
)
from harness.books.store import WeightStore
from harness.errors import RunError
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings
from harness.session.packs import PackSizes
from harness.session.service import SessionService
from harness.testing import ScriptedLM, open_session
from harness.updaters.lora import Lora, LoraSettings
from tests.models import tiny
from tests.session import parts

SIZE = 4
WORDS = "the tower at Kemble Point was built and rebuilt after a storm by Ada Marsh".split()  # noqa: SIM905


class Recording(ScriptedLM):
    """Remembers which items and requests came together; dies before pack number ``dies``."""

    wave = SIZE
    chunk = SIZE

    def __init__(self, dies: int = -1, **options: Any) -> None:
        super().__init__(parts.knows_after_training, **options)
        self.trained: list[list[str]] = []
        self.together: list[list[str]] = []
        self.dies = dies

    def generate(self, asks: Sequence[Request], /) -> list[list[Completion]]:
        if len(self.together) == self.dies:
            raise RunError("the machine goes down")
        self.together.append([str(ask.prompt) for ask in asks])
        return super().generate(asks)

    def train(self, items: Sequence[TrainItem], loss: str | Any = "sft") -> Iterator[Trained]:
        if len(self.trained) == self.dies:
            raise RunError("the machine goes down")
        self.trained.append([str(item.seed) for item in items])
        return super().train(items, loss)


def updates(s: SessionService, seeds: Sequence[int], label: str = "job") -> list[UpdateJob]:
    [cats, *_] = s.episodes("train")
    edit = SelfEdit("e", cats.id, (Example("", "cats purr"),))
    return [UpdateJob(f"{label}{seed}", s.roles["student"], (edit,), seed) for seed in seeds]


def trials(s: SessionService, seeds: Sequence[int]) -> list[TrialJob]:
    [cats, *_] = s.episodes("train")
    return [TrialJob(job, (cats,)) for job in updates(s, seeds)]


def test_a_pack_of_which_one_is_booked_is_computed_whole(tmp_path: Path) -> None:
    lm = Recording()
    s = parts.session(tmp_path, lm)
    before = s.update("updater", updates(s, [5], "other arm's "))
    after = s.update("updater", updates(s, range(10)))
    assert lm.trained == [["5"], ["0", "1", "2", "3"], ["4", "5", "6", "7"], ["8", "9"]]
    assert after[5].state == before[0].state
    assert after[5].job == "job5"
    assert s.journal.ran_of["updated", "Fit"] == 10, "what was booked stands; it is not booked again"
    assert not list((tmp_path / "weights").glob(".*passing"))
    assert len(s.context.weights.held()) == 10


def test_a_booked_pack_is_not_computed_again_whatever_its_neighbours_lack(tmp_path: Path) -> None:
    lm = Recording()
    s = parts.session(tmp_path, lm)
    s.trial(trials(s, range(4)))
    s.trial(trials(s, [9]))
    s.trial(trials(s, [*range(4), *range(6, 12)]))
    assert lm.trained == [["0", "1", "2", "3"], ["9"], ["6", "7", "8", "9"], ["10", "11"]]


def test_equal_jobs_count_once_when_packs_are_cut(tmp_path: Path) -> None:
    lm = Recording()
    s = parts.session(tmp_path, lm)
    twice = [*updates(s, range(5)), *updates(s, range(8), "again ")]
    assert len(set(adapters(s.update("updater", twice)))) == 8
    assert lm.trained == [["0", "1", "2", "3"], ["4", "5", "6", "7"]]


@pytest.mark.parametrize("local", [True, False])
def test_requests_are_packed_alike_and_paid_ones_are_asked_once(
    tmp_path: Path, local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recording, "local", local)
    lm = Recording()
    s = parts.session(tmp_path, lm)
    asks = [Request(s.roles["student"], f"prompt {i}", temperature=1.0) for i in range(6)]
    s.lm("student").generate(asks[1:2])
    answers = s.lm("student").generate(asks)
    packs = [["prompt 1"], [f"prompt {i}" for i in range(4)], ["prompt 4", "prompt 5"]]
    if not local:
        packs[1].remove("prompt 1")
    assert lm.together == packs
    assert [row[0].request.prompt for row in answers] == [ask.prompt for ask in asks]


def test_a_short_life_books_the_packs_it_did(tmp_path: Path) -> None:
    """A process that never lives long enough for the whole call gets through it all the same, two packs a life."""
    for life in range(4):
        lm = Recording(dies=2)
        s = parts.session(tmp_path, lm)
        done = s.journal.ran
        try:
            assert len(s.trial(trials(s, range(26)))) == 26
        except RunError:
            assert s.journal.ran_of["trial", "Fit"] - done == 2 * SIZE
        else:
            assert life == 3
            assert lm.trained == [["24", "25"]]
        s.journal.close()
    assert lm.trained


def test_recorded_pack_sizes_hold_whatever_the_model_says_now(tmp_path: Path) -> None:
    lm = Recording()
    s = parts.session(tmp_path, lm)
    s.context.packs[lm.base] = PackSizes(requests=3, updates=2)
    s.update("updater", updates(s, range(3)))
    s.lm("student").generate([Request(s.roles["student"], f"p{i}") for i in range(4)])
    assert lm.trained == [["0", "1"], ["2"]]
    assert lm.together == [["p0", "p1", "p2"], ["p3"]]


# --- the bits of a real model ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("model") / "llama")


@pytest.fixture
def opened(folder: Path, tmp_path: Path) -> Callable[[str], SessionService]:
    """Opens, or opens again, a session on a run of that name with a tiny model in packs of four."""

    def open_(name: str) -> SessionService:
        run = tmp_path / name
        weights = WeightStore(run / "weights")
        limits = {"slots": SIZE, "tokens": 256, "rows": 8, "cache_tokens": 4096}
        model = HfModel(HfSettings(path=str(folder), device="cpu", memory=limits), weights)
        slots = {"updater": ("updater", Lora(LoraSettings(rank=4, epochs=3, batch_size=2)))}
        slots |= {"evaluator": ("evaluator", parts.Exact())}
        s = open_session(run, parts.task(), {"teacher": model}, slots, roles={"student": "@teacher"}, weights=weights)
        s.context.packs[model.base] = PackSizes(requests=2 * 8, updates=SIZE)
        return s

    return open_


def fits(s: SessionService, label: str = "job") -> list[UpdateJob]:
    """Ten trainings of uneven length; some of one length, so that something has to decide between them."""
    [cats, *_] = s.episodes("train")
    out = []
    for i in range(10):
        texts = [" ".join(WORDS[(i + j) % 7 :][: 4 + 3 * (i % 3)]) for j in range(2 + i % 2)]
        edit = SelfEdit(f"e{i}", cats.id, tuple(Example("", text) for text in texts))
        out.append(UpdateJob(f"{label}{i}", s.roles["student"], (edit,), i))
    return out


def adapters(results: Sequence[Any]) -> list[str]:
    return [one.state.adapters[-1] for one in results]


BOOKED = 5


def _another_arm(opened: Callable[[str], SessionService]) -> list[str]:
    s = opened("run")
    s.update("updater", fits(s, "their ")[BOOKED : BOOKED + 1])
    return adapters(s.update("updater", fits(s)))


def _a_kill(opened: Callable[[str], SessionService]) -> list[str]:
    s = opened("run")
    jobs = fits(s)
    s.scope.context.__dict__["deadline"] = 1e-9  # long past: the run stops after its first pack
    with pytest.raises(HarnessError, match="max-hours"):
        s.update("updater", jobs)
    s.journal.close()
    s = opened("run")
    found = adapters(s.update("updater", jobs))
    assert s.journal.ran == 6
    return found


def _a_retried_error(opened: Callable[[str], SessionService]) -> list[str]:
    s = opened("run")
    s.update("updater", fits(s))
    s.journal.close()
    with sqlite3.connect(s.journal.path) as database:
        keys = [key for (key,) in database.execute("SELECT digest FROM items WHERE kind = 'updated' ORDER BY rowid")]
        database.execute("DELETE FROM items WHERE digest = ?", (keys[BOOKED],))
    s = opened("run")
    found = adapters(s.update("updater", fits(s)))
    assert s.journal.ran == 1
    return found


@pytest.mark.parametrize("before", [_another_arm, _a_kill, _a_retried_error])
def test_what_is_booked_beforehand_changes_no_bit(
    opened: Callable[[str], SessionService], before: Callable[[Callable[[str], SessionService]], list[str]]
) -> None:
    s = opened("fresh")
    fresh = adapters(s.update("updater", fits(s)))
    found = before(opened)
    same = [one == other for one, other in zip(fresh, found, strict=True)]
    if before is _another_arm:  # what was booked stands, and was computed alone
        same.pop(BOOKED)
    assert all(same)
    assert len(set(fresh)) == 10


def test_the_labels_of_jobs_and_their_order_in_a_pack_change_no_bit(opened: Callable[[str], SessionService]) -> None:
    s = opened("fresh")
    fresh = adapters(s.update("updater", fits(s)))
    other = opened("other")
    jobs = [*fits(other)[3::-1], *fits(other)[7:3:-1], *fits(other)[:7:-1]]
    relabelled = [UpdateJob(f"{9 - i}", j.start, j.edits, j.seed, j.settings) for i, j in enumerate(jobs)]
    found = adapters(other.update("updater", relabelled))
    assert found == [*fresh[3::-1], *fresh[7:3:-1], *fresh[:7:-1]]


def test_answers_of_a_pack_are_the_same_with_one_booked(opened: Callable[[str], SessionService]) -> None:
    def asks(s: SessionService) -> list[Request]:
        state = s.roles["student"]
        return [Request(state, " ".join(WORDS[: 2 + i % 5]), temperature=1.0, seed=i, max_tokens=6) for i in range(20)]

    fresh, s = opened("fresh"), opened("run")
    wanted = [(c.text, c.logprobs) for [c] in fresh.lm("student").generate(asks(fresh))]
    s.lm("student").generate(asks(s)[3:4])
    found = [(c.text, c.logprobs) for [c] in s.lm("student").generate(asks(s))]
    del wanted[3], found[3]
    assert found == wanted


def test_grading_goes_by_packs_too(tmp_path: Path) -> None:
    lm = Recording()
    s = parts.session(tmp_path, lm)
    [cats, dogs] = s.episodes("train")
    s.evaluate([Ask(s.roles["student"], dogs)])
    s.evaluate([Ask(s.roles["student"], cats), Ask(s.roles["student"], dogs)])
    assert [len(pack) for pack in lm.together] == [1, 2]


def test_what_a_judge_elsewhere_has_graded_is_not_graded_again(tmp_path: Path) -> None:
    class Paid(parts.Exact):
        local = False
        graded: ClassVar[list[str]] = []

        def evaluate(self, asks: Sequence[Ask], references: Any, s: Any, /) -> Any:
            self.graded.extend(f"{ask.episode.id} {len(ask.state.adapters)}" for ask in asks)
            return super().evaluate(asks, references, s)

    s = parts.session(tmp_path, Recording(), evaluator=("evaluator", Paid()))
    [cats, dogs] = s.episodes("train")
    state = s.roles["student"]
    s.evaluate([Ask(state, dogs)])
    s.evaluate([Ask(state, cats), Ask(state, dogs)])
    s.trial(trials(s, [1]))
    s.trial(trials(s, [0, 1]))
    assert Paid.graded == ["dogs 0", "cats 0", "cats 1", "cats 1"]
