"""The rules for updaters (:class:`harness.api.Updater`)."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from harness.api import (
    Completion,
    Data,
    Delta,
    Distillation,
    Example,
    MemoryOps,
    Preference,
    Recipe,
    Request,
    Rollout,
    SelfEdit,
    State,
    Updated,
    UpdateJob,
)
from harness.books.records import encode
from harness.books.store import WeightStore
from harness.session.service import SessionService
from harness.testing.contracts.base import Contract, permuted, same, survives_json, training_data, under_global_seed
from harness.testing.embedded import lab_model
from harness.testing.scripted import made_up_weights

_KINDS = (Example, Preference, Rollout, Recipe, MemoryOps, Delta, Distillation)


class UpdaterContract(Contract):
    """Subclass it, set ``component`` to the updater's class, and run pytest.

    An updater with its own training loop (one that borrows the module) needs a real model: set ``on = "embedded"``.
    """

    kind: ClassVar[str] = "updater"
    on: ClassVar[str] = "scripted"
    """``scripted``: a model that makes up its weights, in milliseconds; ``embedded``: the embedded model."""

    def data(self, s: SessionService, text: str) -> tuple[Data, ...]:
        """Training data of the first kind that the updater accepts."""
        kinds = self.make().accepts
        if Example in kinds:
            return training_data(text)
        if Preference in kinds:
            return (Preference("Say it.", text, "I do not know."),)
        if MemoryOps in kinds:
            return (MemoryOps(({"set": {"passage": text}},)),)
        if Rollout in kinds:
            action = Completion(Request(s.roles["teacher"], "Say it."), text)
            return (Rollout(action, "one", 1.0), Rollout(dataclasses.replace(action, text="No."), "one", -1.0))
        if Delta in kinds:
            return (Delta(s.store(*made_up_weights(text))),)
        return (Recipe("passage"),)

    def jobs(self, s: SessionService) -> list[UpdateJob]:
        """A job with one edit for each of three passages, and one with all of their edits."""
        start = s.roles["student"]
        edits = [SelfEdit(f"{e.id}/0", e.id, self.data(s, str(e.context))) for e in s.episodes("train", 3)]
        singles = [UpdateJob(f"job-{edit.id}", start, (edit,), s.seed(edit.id)) for edit in edits]
        return [*singles, UpdateJob("job-all", start, tuple(edits), s.seed("all"))]

    # --- shape ---

    def test_declares_what_it_learns_from(self) -> None:
        accepts = getattr(self.make(), "accepts", None)
        assert isinstance(accepts, frozenset), "accepts: ClassVar[frozenset[type]] must say which Data it learns from"
        unknown = sorted(str(kind) for kind in accepts - set(_KINDS))
        assert not unknown, f"accepts holds {unknown[0]}, which is not a kind of Data"
        assert accepts, "accepts is empty: every edit would fail"

    def test_answers_every_job_once(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            jobs = self.jobs(s)
            answered = [updated.job for updated in self._raw(s, jobs)]
            assert sorted(answered) == sorted(job.id for job in jobs), (
                f"it was given {len(jobs)} jobs and answered these: {answered}"
            )

    def test_accepts_an_empty_list_of_jobs(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            assert self._raw(s, []) == []

    def test_a_state_exactly_when_ok_and_on_the_same_base(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            by_id = {job.id: job for job in self.jobs(s)}
            for updated in self._raw(s, list(by_id.values())):
                assert (updated.state is not None) == (updated.status == "ok"), (
                    f"{updated}: there must be a state exactly where the status is 'ok'"
                )
                assert updated.status == "ok", f"plain training data {updated.status}: {updated.reason}"
                assert updated.state is not None
                assert updated.state.base == by_id[updated.job].start.base, "the new state is of another base model"

    def test_continues_from_a_state_that_was_updated_before(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            job, second, *_ = self.jobs(s)
            [first] = s.update("updater", [job])
            assert first.state is not None, first.reason
            [then] = s.update("updater", [dataclasses.replace(second, start=first.state)])
            assert then.state is not None, f"a second update on top of the first {then.status}: {then.reason}"
            assert then.state != first.state or encode(job.start) == encode(first.state), (
                "the second update changed nothing"
            )

    def test_results_survive_the_journal(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            survives_json(self._raw(s, self.jobs(s)), "its results")

    # --- determinism ---

    def test_one_seed_gives_the_same_weights(self, tmp_path: Path) -> None:
        with self._open(tmp_path / "once") as s:
            once = under_global_seed(1, lambda: _states(self._raw(s, self.jobs(s))))
        with self._open(tmp_path / "again") as s:
            again = under_global_seed(2, lambda: _states(self._raw(s, self.jobs(s))))
        same(once, again, "the same jobs gave different weights")

    def test_the_order_of_jobs_does_not_matter(self, tmp_path: Path) -> None:
        with self._open(tmp_path / "in order") as s:
            once = _states(self._raw(s, self.jobs(s)))
        with self._open(tmp_path / "permuted") as s:
            moved = _states(self._raw(s, permuted(self.jobs(s))[0]))
        same(once, moved, "the weights depend on the order of jobs")

    # --- what goes wrong ---

    def test_a_job_without_data_fails_alone(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            good, other, *_ = self.jobs(s)
            empty = dataclasses.replace(other, edits=(dataclasses.replace(other.edits[0], data=()),))
            try:
                results = {updated.job: updated for updated in self._raw(s, [good, empty])}
            except Exception as error:
                raise AssertionError(f"an edit without data made it raise {type(error).__name__}: {error}") from error
            assert results[good.id].status == "ok", "the job beside it was lost"
            assert results[empty.id].status != "error", "an empty edit is the method's doing: 'failed' (or no change)"

    # --- weights ---

    def test_base_weights_stay_unchanged(self, tmp_path: Path) -> None:
        """On the embedded model: after a job the frozen weights hold the same bits as before."""
        if self.on != "embedded" and Example not in self.make().accepts:
            return
        with self._open(tmp_path, real=True) as s:
            model = s.context.models[s.roles["student"].base]
            before = _weights(model, s.roles["student"])
            self._raw(s, self.jobs(s)[:1])
            assert _weights(model, s.roles["student"]) == before, "the update changed the base model's own weights"

    # --- how ---

    def _open(self, folder: Path, real: bool = False) -> Any:
        parts = {"updater": ("updater", self.make())}
        weights = WeightStore(folder / "weights")
        lm = lab_model(weights) if real or self.on == "embedded" else None
        return self.session(folder, lm, weights, **parts)

    def _raw(self, s: SessionService, jobs: Sequence[UpdateJob]) -> list[Updated]:
        return list(self.make().apply(jobs, s))


def _states(results: Sequence[Updated]) -> dict[str, Any]:
    return {updated.job: updated.state for updated in sorted(results, key=lambda updated: updated.job)}


def _weights(model: Any, state: State) -> str:
    """Digest of every parameter."""
    import torch

    digest = hashlib.sha256()
    with model.borrow(state) as (module, _):
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(
                name.encode() + tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            )
    return digest.hexdigest()
