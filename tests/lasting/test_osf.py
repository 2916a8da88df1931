"""The updater ``osf`` on a small model: what it stores is what peft trained, and the largest directions stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from harness_lasting.osf import Osf, OsfSettings

from harness.api import Example, HarnessError, SelfEdit, UpdateJob
from harness.books.store import WeightStore
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings
from harness.session.service import SessionService
from harness.testing import open_session
from tests.models import tiny
from tests.session import parts

TEXT = "Ada Marsh built the tower."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("model") / "llama")


def opened(run: Path, folder: Path, **settings: Any) -> tuple[SessionService, WeightStore]:
    weights = WeightStore(run / "weights")
    model = HfModel(HfSettings(path=str(folder), device="cpu"), weights)
    chosen = {"epochs": 8, "learning_rate": 1e-2, **settings}
    slots: dict[str, tuple[str, Any]] = {"updater": ("updater", Osf(OsfSettings(**chosen)))}
    return open_session(run, parts.task(), {"teacher": model}, slots, weights=weights), weights


def job(s: SessionService, text: str = TEXT, **more: Any) -> UpdateJob:
    start = more.pop("start", s.roles["teacher"])
    return UpdateJob(f"job {text}", start, (SelfEdit("cats/0", "cats", (Example("", text),)),), 1, **more)


def test_it_learns_beside_the_largest_directions(tmp_path: Path, folder: Path) -> None:
    s, weights = opened(tmp_path, folder, kept=0.75)
    start = s.roles["teacher"]
    [done] = s.update("updater", [job(s)])
    assert done.state is not None
    assert len(done.state.adapters) == 1
    [[before], [after]] = [[sum(row)] for row in s.lm(start).logprobs([(start, "", TEXT), (done.state, "", TEXT)])]
    assert after > before + 5
    change = weights.adapter(done.state.adapters[0])
    with s.borrow(start) as borrowed:
        for name, (a, b) in change.weights.items():
            weight = borrowed.module.get_submodule(name).weight.detach()
            u, _, vt = torch.linalg.svd(weight, full_matrices=False)
            kept = int(0.75 * min(weight.shape))
            assert change.rank == max(2 * (min(w.shape) - int(0.75 * min(w.shape))) for w in _weights(borrowed, change))
            delta = b @ a
            # Adam's scaling tilts the projected gradients, so a little gets through.
            top = (u[:, :kept].t() @ delta @ vt[:kept].t()).norm() / delta.norm()
            assert top < 0.5


def _weights(borrowed: Any, change: Any) -> list[torch.Tensor]:
    return [borrowed.module.get_submodule(name).weight for name in change.weights]


def test_updates_lie_on_top_of_each_other_and_fold(tmp_path: Path, folder: Path) -> None:
    s, _ = opened(tmp_path, folder)
    [first] = s.update("updater", [job(s)])
    assert first.state is not None
    [second] = s.update("updater", [job(s, "The storm came in winter.", start=first.state, start_as="fold")])
    assert second.state is not None
    assert second.state.adapters[0] == first.state.adapters[0]
    assert len(second.state.adapters) == 2


def test_what_diverges_or_asks_for_settings_says_so(tmp_path: Path, folder: Path) -> None:
    s, _ = opened(tmp_path, folder, learning_rate=1e30, clip=0.0)
    [lost] = s.update("updater", [job(s)])
    assert (lost.status, lost.state) == ("error", None)
    assert "diverged in step" in lost.reason
    [refused] = s.update("updater", [job(s, "other", settings={"rank": 4})])
    assert refused.status == "failed"
    assert "'rank' cannot be chosen" in refused.reason
    with pytest.raises(HarnessError, match="updater osf: epochs"):
        Osf(OsfSettings(epochs=0))
