"""The shipped generator on the embedded model: it works on pages that it has not seen, and reports its cost."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness_generative_adapter.generator import Generator
from harness_generative_adapter.updater import folder_of

from harness.errors import UsageError
from harness.evidence.leaderboard.summary import tables
from harness.runs import runner
from harness.stats import difference


def test_unseen_pages_are_known_from_one_forward_pass(tmp_path: Path) -> None:
    given = {"method": "generative-adapter", "preset": "quick", "beside": ["none"], "leaderboard": ""}
    done = runner.run({**given, "out": str(tmp_path)})
    assert done.complete
    adapted, none = done.result.rows
    gap = difference(tables(done.result.task, none), tables(done.result.task, adapted))
    assert gap.interval.low > 0.1
    assert adapted.costs["meta_s"] == pytest.approx(Generator.cost(folder_of("harness_generative_adapter:lab-1")))
    assert none.costs["meta_s"] == 0
    assert (adapted.costs["labels"], none.costs["labels"]) == (0, 0)


def test_a_package_that_does_not_exist_is_named() -> None:
    with pytest.raises(UsageError, match="there is no package 'nowhere'"):
        folder_of("nowhere:lab-1")


def test_it_is_small_enough_to_ship() -> None:
    folder = folder_of("harness_generative_adapter:lab-1")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
