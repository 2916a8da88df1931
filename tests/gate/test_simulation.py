"""The gate on simulated runs: equal runs rarely fail, a large drop rarely passes, variance components are recovered."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from harness.evidence.result_file import write

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gate_benchmark", ROOT / "benchmarks" / "gate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "limit"), [(5, 0.08), (3, 0.10)])
def test_equal_runs_rarely_fail(simulation: ModuleType, seeds: int, limit: float) -> None:
    found = simulation.share_regressed(simulation.FALLBACK, seeds, 0.0, 200, 1)
    assert found["share_regressed"] <= limit + 2 * np.sqrt(limit * (1 - limit) / 200)


@pytest.mark.slow
def test_a_drop_of_eight_points_is_caught(simulation: ModuleType) -> None:
    found = simulation.share_regressed(simulation.FALLBACK, 5, 0.08, 200, 1)
    assert found["mean_difference"] == pytest.approx(-0.08, abs=0.01)
    assert found["share_regressed"] >= 0.90 - 2 * np.sqrt(0.9 * 0.1 / 200)


def test_variance_components_are_found_again(simulation: ModuleType, tmp_path: Path) -> None:
    true = simulation.Components(0.5, 0.12, 0.12, 0.06, 0.10, "made up")
    seen = []
    for root in range(5):
        found, _ = simulation.World(true, 8, np.random.default_rng(root)).pair(0.0)
        estimate = simulation.components(write(found, tmp_path / "run.json"), None)
        seen.append([estimate.mean, estimate.context, estimate.question, estimate.seed, estimate.seed_context])
    middle = np.sqrt(np.mean(np.square(seen), axis=0))
    assert middle == pytest.approx([0.5, 0.12, 0.12, 0.06, 0.10], abs=0.025)
