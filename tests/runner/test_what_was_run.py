"""A result says what was run, and rows are compared by resolved settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.api import Evaluator
from harness.books.records import digest
from harness.evidence.result_file import read
from harness.registry.build import build, compared
from harness.registry.discover import Plugins
from tests.runner.test_runner import run

ROOT = Path(__file__).parents[2]

# --- the key ---------------------------------------------------------------------------------------------------------


def _key(folder: Path, **evaluator: Any) -> dict[str, Any]:
    table = {"use": "closed-book", **evaluator}
    return dict(run(folder, limit=2, trainer={"use": "none"}, evaluator=table).result.rows[0].key)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return _key(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(
    "spelled", [{"max_tokens": 64, "temperature": 0.0}, {"judge_cache": "elsewhere", "max_judge_calls": 9}]
)
def test_a_default_spelled_out_or_a_limit_changes_no_key(
    tmp_path: Path, plain: dict[str, Any], spelled: dict[str, Any]
) -> None:
    assert _key(tmp_path, **spelled) == plain


def test_what_can_change_a_score_changes_the_key(tmp_path: Path, plain: dict[str, Any]) -> None:
    changed = _key(tmp_path, max_tokens=65)
    assert {name for name in plain if plain[name] != changed[name]} == {"evaluator"}


def test_a_changed_default_changes_the_key(tmp_path: Path) -> None:
    def of_default(value: int) -> dict[str, Any]:
        file = tmp_path / f"defaults_{value}.py"
        file.write_text(
            "from dataclasses import dataclass\nfrom harness import hookimpl\n"
            "from harness.evaluators.closed_book import ClosedBook, ClosedBookSettings\n"
            f"@dataclass(frozen=True)\nclass Mine(ClosedBookSettings):\n    max_tokens: int = {value}\n"
            "class Marks(ClosedBook):\n    Settings = Mine\n"
            f"@hookimpl\ndef harness_evaluators():\n    return {{'marks': '{file.stem}:Marks'}}\n"
        )
        return compared(build(Plugins((file,)), Evaluator, {"use": "marks"}, "evaluator"))

    assert of_default(64) != of_default(32)


def test_a_nested_evaluator_counts_by_its_own_settings() -> None:
    def rag(**inner: Any) -> dict[str, Any]:
        table = {"use": "rag", "inner": {"use": "closed-book", **inner}}
        return compared(build(Plugins(), Evaluator, table, "evaluator"))

    assert rag() == rag(max_judge_calls=3)
    assert rag() != rag(stop=["\n"])
    assert (
        build(Plugins(), Evaluator, {"use": "rag", "inner": {"use": "closed-book", "judge": "f1"}}, "e").instance.metric
        == "f1"
    )


def test_shipped_rows_pair_with_new_runs() -> None:
    now = digest(compared(build(Plugins(), Evaluator, {"use": "closed-book"}, "evaluator")))[:16]
    shipped = [*ROOT.glob("leaderboards/lab-facts/*.json"), *ROOT.glob("benchmarks/baselines/*.json")]
    assert {row.key["evaluator"] for path in shipped for row in read(path).rows} == {now}
