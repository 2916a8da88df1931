"""Simulated equal methods are rarely told apart, and never by one seed or two contexts."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "false_alarms.py"


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("false_alarms", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _at_most(limit: float, repeats: int) -> float:
    return float(limit + 3 * np.sqrt(limit * (1 - limit) / repeats))


@pytest.mark.parametrize(("seeds", "contexts"), [(1, 32), (3, 2), (2, 7)])
def test_too_little_is_never_a_verdict(simulation: ModuleType, seeds: int, contexts: int) -> None:
    for judged in (simulation.compared, simulation.gated):
        once = judged(simulation.RESTLESS, seeds, contexts, False)
        assert simulation.share(once, 10, [seeds, contexts]) == 0


def test_accepting_one_seed_is_what_it_warns_of(simulation: ModuleType) -> None:
    once = simulation.compared(simulation.RESTLESS, 1, 32, True)
    assert simulation.share(once, 60, [1]) > 0.15


@pytest.mark.slow
def test_equal_methods_are_rarely_told_apart(simulation: ModuleType) -> None:
    for one in simulation.figures(100, quick=True):
        if "accept" in one.what:
            continue
        never = one.seeds == 1 or one.contexts < 8 or "trained once" in one.what
        limit = 0.0 if never else _at_most(0.07, one.repeats)
        assert one.share <= limit, one


def test_the_page_names_every_figure(simulation: ModuleType) -> None:
    found = [simulation.Figure("compare: better or worse", "calm", 2, 3, 32, 0.041, 1000)]
    made = simulation.page(found, "python benchmarks/false_alarms.py")
    assert "| compare: better or worse | calm | 2 | 3 | 32 | 4.1% (0.6) | 1000 |" in made
