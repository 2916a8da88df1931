"""A weak judge's score, corrected by a strong judge's verdicts on some of the same answers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from harness.api import HarnessError
from harness.cli.judge import app
from harness.evidence.prediction_powered import Estimate, estimate, of_rows
from harness.evidence.result import Row
from harness.evidence.sources import Source
from tests.leaderboard.examples import items, result_file, row
from tests.shared_data import shared


def _simulated(seed: int, labelled: int, contexts: int = 150, bias: float = -0.05) -> tuple[Estimate, Estimate]:
    """One draw of contexts from a population of mean 0.4, once with a good and once with a random weak judge."""
    rng = np.random.default_rng(seed)
    strong = np.clip(rng.normal(0.4, 0.25, contexts), 0, 1)
    good = np.clip(strong + bias + rng.normal(0, 0.08, contexts), 0, 1)
    asked = np.where(np.arange(contexts) < labelled, strong, np.nan)
    return estimate(good, asked), estimate(rng.permutation(good), asked)


def test_the_interval_holds_the_truth_and_is_narrower_where_the_judge_is_good() -> None:
    rng = np.random.default_rng(9)
    truth = float(np.clip(rng.normal(0.4, 0.25, 10**6), 0, 1).mean())
    drawn = [_simulated(seed, 30) for seed in range(600)]
    for kind in (0, 1):
        held = [one[kind].interval.low <= truth <= one[kind].interval.high for one in drawn]
        assert 0.92 <= np.mean(held) <= 0.98
        assert np.mean([one[kind].value for one in drawn]) == pytest.approx(truth, abs=0.006)

    def ratio(kind: int) -> float:
        return float(
            np.mean(
                [
                    (one[kind].interval.high - one[kind].interval.low)
                    / (one[kind].labels_interval.high - one[kind].labels_interval.low)
                    for one in drawn
                ]
            )
        )

    assert ratio(0) < 0.65
    assert ratio(1) < 1.02, "a judge that knows nothing is not trusted"
    assert np.mean([one[0].weak for one in drawn]) < truth - 0.03, "the weak judge alone is off"


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(8, 150))
def test_the_estimate_lies_within_its_interval(seed: int, labelled: int) -> None:
    found, _ = _simulated(seed, labelled)
    assert found.interval.low <= found.value <= found.interval.high
    assert 0 <= found.trust <= 1
    assert (found.labelled, found.contexts) == (labelled, 150)


def test_with_every_verdict_the_strong_judge_stands_alone() -> None:
    found, _ = _simulated(0, 150)
    assert found.trust == 0
    assert found.value == found.labels
    assert found.interval == found.labels_interval


def test_too_few_verdicts_are_refused() -> None:
    with pytest.raises(HarnessError, match="7 contexts have strong verdicts; at least 8 are needed"):
        _simulated(0, 7)


TASK = items(contexts=40)


def _source(one: Row) -> Source:
    return Source(one.method, result_file([one], task=TASK), one)


def _asked_some(one: Row, contexts: int) -> Row:
    """The row with the values of its first contexts only."""
    kept = contexts * 3
    rest = TASK.queries - kept
    return replace(
        one,
        scores=tuple(values[:kept] + (None,) * rest for values in one.scores),
        status=tuple("o" * kept + "-" * rest for _ in one.seeds),
        scored=kept * len(one.seeds),
    )


def test_a_row_and_a_difference_of_rows() -> None:
    weak = [row(name, chance, task=TASK, metric="offline-2") for name, chance in (("a", 0.3), ("b", 0.5))]
    strong = [
        _asked_some(row(name, chance, task=TASK, draw=1, metric="openai:m"), 12)
        for name, chance in (("a", 0.35), ("b", 0.55))
    ]
    first, second = (of_rows([(_source(w), _source(s))]) for w, s in zip(weak, strong, strict=True))
    both = of_rows([(_source(w), _source(s)) for w, s in zip(weak, strong, strict=True)])
    assert (both.labelled, both.contexts) == (12, 40)
    assert both.labels == pytest.approx(second.labels - first.labels)
    assert both.weak == pytest.approx(second.weak - first.weak)


def test_two_different_rows_are_not_one_under_two_judges() -> None:
    one = row("a", 0.3, task=TASK, metric="offline-2", base_model="x")
    other = row("a", 0.3, task=TASK, metric="openai:m", base_model="y")
    with pytest.raises(HarnessError, match="not one row under two judges: base_model differ"):
        of_rows([(_source(one), _source(other))])
    fewer = row("a", 0.3, task=TASK, metric="openai:m", base_model="x", seeds=(0,))
    with pytest.raises(HarnessError, match="their seeds differ"):
        of_rows([(_source(one), _source(fewer))])


def test_the_command_on_a_published_log() -> None:
    log = str(shared("seal/scored/val_base.json"))
    done = CliRunner().invoke(app, ["correct", log, log, "--contexts", "50", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["labelled"], found["contexts"]) == (50, 200)
    assert found["interval"]["low"] < 0.3968 < found["interval"]["high"]
    assert found["interval"]["high"] - found["interval"]["low"] < 0.75 * (
        found["labels_interval"]["high"] - found["labels_interval"]["low"]
    )
    whole = json.loads(CliRunner().invoke(app, ["correct", log, log, "--json"]).stdout)
    assert whole["value"] == pytest.approx(0.3968, abs=5e-5)


def test_wrong_use_is_said() -> None:
    done = CliRunner().invoke(app, ["correct", "a.json"])
    assert done.exit_code != 0
    assert "takes WEAK STRONG, or WEAK STRONG WEAK_B STRONG_B" in str(done.exception or done.output)
