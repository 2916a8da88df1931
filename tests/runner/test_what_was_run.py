"""A result records what was run, and rows are compared by resolved settings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.api import Evaluator
from harness.books.records import digest
from harness.evidence.compare import compare
from harness.evidence.gate.verdict import notes
from harness.evidence.result_file import read
from harness.evidence.sources import open_source
from harness.registry.build import build, compared
from harness.registry.discover import Plugins
from tests.runner.test_runner import PLUGIN, config, run

ROOT = Path(__file__).parents[2]

# --- the conditions --------------------------------------------------------------------------------------------------


def _conditions(folder: Path, **evaluator: Any) -> dict[str, Any]:
    table = {"use": "closed-book", **evaluator}
    return dict(run(folder, limit=2, trainer={"use": "none"}, evaluator=table).result.rows[0].conditions)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return _conditions(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(
    "spelled", [{"max_tokens": 64, "temperature": 0.0}, {"judge_cache": "elsewhere", "max_judge_calls": 9}]
)
def test_a_default_spelled_out_or_a_limit_changes_no_condition(
    tmp_path: Path, plain: dict[str, Any], spelled: dict[str, Any]
) -> None:
    assert _conditions(tmp_path, **spelled) == plain


def test_what_can_change_a_score_changes_the_conditions(tmp_path: Path, plain: dict[str, Any]) -> None:
    changed = _conditions(tmp_path, max_tokens=65)
    assert {name for name in plain if plain[name] != changed[name]} == {"evaluator"}


def test_a_changed_default_changes_the_conditions(tmp_path: Path) -> None:
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
    assert {row.conditions["evaluator"] for path in shipped for row in read(path).rows} == {now}


# --- what a result file says -----------------------------------------------------------------------------------------


def test_a_result_file_says_what_was_run(tmp_path: Path) -> None:
    done = run(tmp_path, limit=3, samples=2, editor={"temperature": 0.5})
    found = read(done.folder / "result.json")
    assert found.source == (
        f"harness run --plugin {PLUGIN} --model animals --limit 3 "
        "--set 'beside=[\"bare\"]' --set samples=2 --set editor.temperature=0.5"
    )
    made = found.provenance
    assert made is not None
    assert {key: made.options[key] for key in ("limit", "samples", "seed", "checkpoint")} == {
        "limit": 3, "samples": 2, "seed": 0, "checkpoint": "validation",
    }  # fmt: skip
    assert set(made.rows) == {"animals", "bare"}
    used = {slot: made.components[name] for slot, name in made.rows["animals"].items()}
    assert set(used) == {
        "editor", "updater", "policy", "reward", "evaluator", "trainer", "protocol", "task", "roles.teacher",
    }  # fmt: skip
    assert dict(used["editor"].settings) == {"temperature": 0.5}
    assert dict(used["roles.teacher"].settings) == {"path": ""}, "defaults too"
    assert used["editor"].distribution == "animals.py"
    assert used["protocol"].distribution == "selfadapt-harness"
    facts = json.loads((done.folder / "config.json").read_text())
    assert facts["command"] == found.source
    shared = set(made.rows["animals"].values()) & set(made.rows["bare"].values())
    assert {made.components[name].kind for name in shared} >= {"task", "evaluator", "protocol", "model"}
    assert {"selfadapt-harness", "torch"} <= made.distributions.keys()


# --- rows whose code differs -----------------------------------------------------------------------------------------


def _marked(folder: Path, value: str) -> Path:
    """The folder of a run whose evaluator gives every answer the same value."""
    folder.mkdir()
    file = folder / "marking.py"
    file.write_text(
        "from harness import hookimpl\nfrom harness.api import Evaluator, Score\n"
        "class Marking(Evaluator):\n    def evaluate(self, asks, references, s):\n        for ask in asks:\n"
        f"            yield [Score(ask.episode.id, q.id, {value}) for q in ask.episode.queries]\n"
        "@hookimpl\ndef harness_evaluators():\n    return {'marking': 'marking:Marking'}\n"
    )
    more = {"evaluator": {"use": "marking"}, "trainer": {"use": "none"}, "beside": [], "seeds": 3}
    return harness.run(config(folder, **more), plugin_files=[PLUGIN, file]).folder


def test_an_evaluator_with_other_code_is_noted(tmp_path: Path) -> None:
    """An evaluator that was changed from 0.0 to 1.0 was `better +100` without a word."""
    before, after = _marked(tmp_path / "a", "0.0"), _marked(tmp_path / "b", "1.0")
    note = "the code of evaluator 'marking' differs at version 1: part of the difference may be how it was measured"
    found = compare(open_source(str(before)), open_source(str(after)))
    assert (found.difference, found.differing) == (1.0, ())
    assert note in found.notes
    one, other = read(before / "result.json"), read(after / "result.json")
    assert notes(one, other) == [note]
    assert notes(one, one) == []
    done = subprocess.run(
        [sys.executable, "-m", "harness", "gate", "--baseline", str(before / "result.json"), "--run", str(after)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert note in done.stderr
