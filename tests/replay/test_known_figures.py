"""The published figures can be recomputed from the question rows of the published logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness_replay.figures import candidate_rewards
from harness_replay.logs import read_log
from harness_replay.questions import ORDER_SEED
from harness_replay.retention import mean_gap, pool, published_std_gap, read_retention
from harness_replay.seal import pooled, replay

from harness import stats
from harness.evidence.compare import compare
from harness.evidence.sources import open_source
from tests.shared_data import shared


def _figures(name: str) -> dict[str, Any]:
    return replay(shared(f"seal/{name}"))[0]


@pytest.mark.parametrize(
    ("name", "macro", "micro", "baseline"),
    [
        ("scored/val_base.json", 0.3968, 0.4066, 0.3267),
        ("scored/val_naive.json", 0.3351, 0.3357, 0.3231),
        ("scored/val_iter1.json", 0.4268, 0.4230, 0.3329),
        ("v2/n1_lora_prompt-none_base.json", 0.1379, 0.1396, 0.3182),
        ("v2/cpt200_fullft_base-implications.json", 0.5132, 0.506, 0.3061),
        ("v2/cpt200_fullft_entigraph-pairs.json", 0.4506, 0.462, None),
        ("v2/cpt200_fullft_passage.json", 0.3490, 0.36, None),
        ("v2/cpt2067_fullft_passage.json", 0.3211, 0.312, None),
        ("v2/cpt200_ga_mistral.json", 0.2780, 0.28, 0.2556),
        ("v2/cpt200_lora_entigraph-pairs.json", 0.3762, 0.3717, 0.3228),
    ],
)
def test_published_cells(name: str, macro: float, micro: float, baseline: float | None) -> None:
    found = _figures(name)
    assert round(found["macro"], 4) == macro
    assert round(found["micro"], 4) == micro
    assert found["baseline_macro"] == (None if baseline is None else pytest.approx(baseline, abs=5e-5))
    assert found["scored"] == found["expected"] == found["n_queries"]
    assert found["ci95"][0] < found[found["average"]] < found["ci95"][1]


@pytest.mark.parametrize(("name", "right"), [("cpt_base", 399), ("cpt_naive", 314)])
def test_continued_pretraining_uses_the_full_lists(name: str, right: int) -> None:
    found = _figures(f"continued_pretraining/{name}.json")
    assert (found["correct"], found["n_queries"], found["n_contexts"]) == (right, 974, 200)
    assert any("233 of 974" in note for note in found["notes"])


def test_a_proxy_log_has_no_accuracy() -> None:
    found = _figures("v2/train_proxy_round1.json")
    assert found["macro"] is found["baseline_macro"] is found["ci95"] is None
    assert found["scored"] == 0
    assert found["proxy_mean"] == pytest.approx(16.50, abs=0.005)


def test_reliability_of_the_recorded_reward() -> None:
    log = read_log(shared("seal/scored/train_iter0.json"))
    assert log.adapter is not None
    found = stats.reliability(candidate_rewards(log, log.adapter))
    assert found is not None
    assert found.value == pytest.approx(0.318, abs=0.001)
    assert found.interval.low == pytest.approx(0.13, abs=0.015)
    assert found.interval.high == pytest.approx(0.46, abs=0.015)


def test_differences_of_published_arms() -> None:
    base, naive, first = (
        open_source(str(shared(f"seal/scored/val_{name}.json"))) for name in ("base", "naive", "iter1")
    )
    gained = compare(naive, base, accept_one_seed=True)
    assert gained.verdict == "better"
    assert gained.difference == pytest.approx(0.0617, abs=1e-4)
    assert gained.ci95 == (pytest.approx(0.012, abs=0.005), pytest.approx(0.109, abs=0.005))
    assert compare(base, first).differing == ("start_model",)
    undecided = compare(base, first, force=True, accept_one_seed=True)
    assert undecided.verdict == "inconclusive"
    assert undecided.needed is not None
    assert undecided.needed.contexts is not None
    assert undecided.needed.contexts > 500


@pytest.mark.parametrize("name", ["cpt200_fullft_passage", "cpt200_ga_mistral"])
def test_the_question_order_is_rebuilt_from_squad_by_the_published_seed(name: str, tmp_path: Path) -> None:
    """Without any questions file: the passages shuffled with seed 42, the questions with 42 or 43."""
    log = tmp_path / f"{name}.json"
    log.write_bytes(shared(f"seal/v2/{name}.json").read_bytes())
    rebuilt = read_log(log, shared("squad/squad_val.json"))
    listed = read_log(shared(f"seal/v2/{name}.json"))
    assert [one.id for one in rebuilt.asked] == [one.id for one in listed.asked]
    assert rebuilt.adapter == listed.adapter
    assert f"shuffled with seed {ORDER_SEED}" in rebuilt.notes[0]


def test_a_wrong_order_is_refused(tmp_path: Path) -> None:
    from harness.api import HarnessError

    log = tmp_path / "log.json"
    log.write_bytes(shared("seal/v2/cpt200_fullft_passage.json").read_bytes())
    with pytest.raises(HarnessError, match="do not match the answers marked correct"):
        read_log(log, shared("seal/v2/questions_cpt200_ga_500_seed43.jsonl"))


def test_every_stated_figure_follows_from_the_rows() -> None:
    stated = {"adapter_mean_accuracy": "macro", "baseline_mean_accuracy": "baseline_macro"}
    for path in sorted(shared("seal/scored").glob("*.json")):
        found = replay(path)[0]
        for name, mine in stated.items():
            assert found["stated"][name] == pytest.approx(found[mine], abs=5e-5), path.name


def test_retention() -> None:
    overall = read_retention(shared("seal/continual/overall.json"))
    paths = sorted(shared("seal/continual").glob("run*.json"))
    runs = [read_retention(path) for path in paths]
    found = pooled(paths)
    assert found["final"] == pytest.approx(0.247, abs=0.001)
    assert found["base"] == pytest.approx(0.307, abs=0.001)
    assert found["backward_transfer"] == pytest.approx(-0.191, abs=0.001)
    assert found["seeds"] == 64
    assert found["mean"][1][1] is None
    assert mean_gap(overall, runs) < 1e-4
    assert published_std_gap(overall, runs) == pytest.approx(0.023, abs=0.001)
    assert json.loads(json.dumps(found)) == found
    assert pool(runs).sequences == 64


@pytest.mark.parametrize(
    ("judge", "macro"),
    [("contains", 0.2871), ("exact", None), ("recall", None), ("f1", None), ("offline-1", None), ("offline-2", None)],
)
def test_a_log_can_be_graded_anew(judge: str, macro: float | None) -> None:
    from harness.judges.load import load

    found = replay(shared("seal/scored/val_base.json"), load(judge))[0]
    assert found["judge"] == judge
    assert found["scored"] == 974
    if macro is not None:
        assert round(found["macro"], 4) == macro
