"""How well a proxy agrees with the true reward, with an interval."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
from harness_proxy_reward.agreement import BesideTrial, agreement
from harness_proxy_reward.correlation import ranks, spearman
from hypothesis import given
from hypothesis import strategies as st

from harness.api import EditAsk, Group, Reward, RewardFunction, SelfEdit, Session, State
from harness.testing import ScriptedLM, ScriptedTask, open_session

scipy_stats = pytest.importorskip("scipy.stats", reason="the reference implementation is in the extra 'stats'")
VALUES = st.integers(-3, 3).map(float)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=3, max_size=30))
def test_it_is_spearmans_coefficient(pairs: list[tuple[float, float]]) -> None:
    found = spearman([pairs], within=False, seed=0, draws=2).value
    a, b = zip(*pairs, strict=True)
    if len(set(a)) < 2 or len(set(b)) < 2:
        assert found is None
    else:
        assert found == pytest.approx(scipy_stats.spearmanr(a, b).statistic, abs=1e-9)


@given(st.lists(VALUES, min_size=1))
def test_ties_share_their_mean_rank(values: list[float]) -> None:
    import numpy as np

    assert ranks(np.array(values)).tolist() == scipy_stats.rankdata(values).tolist()


def test_within_contexts_only_the_order_inside_a_context_counts() -> None:
    contexts = [[(10.0 * n + k, 10.0 * n - k) for k in range(4)] for n in range(8)]
    assert spearman(contexts, within=True, seed=0, draws=50).value == pytest.approx(-1.0)
    together = spearman(contexts, within=False, seed=0, draws=50)
    assert together.value is not None
    assert together.value > 0.8


def test_the_interval_holds_the_value_and_repeats_with_its_seed() -> None:
    contexts = [[(float((n * k) % 5), float((n + 2 * k) % 7)) for k in range(5)] for n in range(12)]
    one, two = (spearman(contexts, within=False, seed=3) for _ in range(2))
    assert one == two
    assert one.value is not None
    assert one.low is not None
    assert one.high is not None
    assert one.low <= one.value <= one.high


def test_lost_and_failed_edits_are_left_out() -> None:
    proxy = [[Reward(1.0), Reward(None, "error"), Reward(0.0, "failed"), Reward(2.0)]]
    true = [[Reward(0.1), Reward(0.9), Reward(0.5), Reward(None, "error")]]
    report = agreement(proxy, true, seed=0)
    assert (report["contexts"], report["edits"]) == (1, 1)
    assert report["spearman"]["value"] is None


class Given(RewardFunction):
    """A reward that answers from the edit's number."""

    def __init__(self, values: Sequence[float]) -> None:
        self._values = values

    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        return [[Reward(self._values[int(edit.id.rpartition("/")[2])]) for edit in group.edits] for group in groups]


def test_the_proxy_counts_and_the_true_reward_is_kept_beside_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = ScriptedTask({"train": {name: (name, {}) for name in ("a", "b", "c")}})
    lm = ScriptedLM({})
    reward = BesideTrial(Given([1.0, 2.0, 3.0]), Given([0.1, 0.3, 0.2]))
    s = open_session(tmp_path, task, {"teacher": lm}, {"reward": ("reward", reward)})
    groups = [
        Group(EditAsk(e, State(lm.base), 3, 0), tuple(SelfEdit(f"{e.id}/{n}", e.id, ()) for n in range(3)))
        for e in s.episodes("train")
    ]
    with caplog.at_level(logging.INFO, "harness"):
        rated = s.reward(groups)
    assert [one.value for one in rated[0].rewards] == [1.0, 2.0, 3.0]
    assert rated[0].rewards[0].measures["true"]["value"] == 0.1
    report = s.keep("proxy-reward/agreement/a/0")
    assert report is not None
    assert report["spearman_within"]["value"] == pytest.approx(0.5)
    assert (report["chosen"], report["best"]) == (pytest.approx(0.2), pytest.approx(0.3))
    assert "Spearman" in caplog.text
    assert "within contexts +0.50" in caplog.text
