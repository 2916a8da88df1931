"""``--dry-run`` shows every setting of every slot, and says what it cannot count."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.registry.build import BASES, component_class
from harness.registry.discover import Plugins
from harness.registry.plugin import KINDS
from harness.runs import runner
from harness.runs.config import resolve
from harness.runs.dry_run import make_plan, show_plan
from harness.runs.full_settings import commented_toml, full_settings
from harness.runs.options import Options
from harness.workers.chosen import Workers

ANIMALS = Path(__file__).parent / "animals.py"
LOOP = {"method": "animals", "model": "animals", "beside": [], "limit": 2, "leaderboard": ""}


def tables(full: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """(kind, table) of every component in full settings, without nested ones."""
    found = [("task", full["task"]), ("model", full["model"])]
    for arm in full["arms"].values():
        found += [("model", who) for who in arm["roles"].values() if isinstance(who, dict)]
        found += [(table.get("kind", slot), table) for slot, table in arm.items() if slot not in {"roles", "plugin"}]
    for one in full["also"].values():
        found += [(kind, one[kind]) for kind in ("task", "evaluator") if one[kind] is not None]
    return found


def check(plugins: Plugins, kind: str, table: Mapping[str, Any]) -> None:
    cls = component_class(plugins, kind, table["use"]).cls
    wanted = {field.name for field in dataclasses.fields(cls.Settings)} if cls.Settings else set()
    assert wanted | {*cls.nested, "use"} == set(table) - {"kind"}, (kind, table["use"])
    for name, inner in cls.nested.items():
        check(plugins, inner, table[name])


@pytest.mark.parametrize("method", ["seal", "passage-repeat", "rag", "seal-arc"])
def test_every_setting_of_every_component_is_there(method: str) -> None:
    plugins = Plugins()
    also = {"probability": {"evaluator": {"use": "answer-probability"}}, "known": {"task": "lab-known"}}
    config = resolve({"method": method, "also": also}, plugins)
    full = full_settings(config, plugins)
    assert {kind for kind, _ in tables(full)} <= {*BASES, *KINDS}
    for kind, table in tables(full):
        check(plugins, kind, table)
    assert {field.name for field in dataclasses.fields(Options)} <= set(full) | {"variants"}, "variants are arms"


def test_the_text_is_a_configuration_that_says_the_same() -> None:
    """It is TOML with every value; a table that is not repeated is equal to the main method's."""
    plugins = Plugins()
    config = resolve({"method": "seal", "limit": 3}, plugins)
    full = full_settings(config, plugins)
    text = commented_toml(full, config.as_json())
    read = tomllib.loads(text)
    first = full["arms"]["seal"]
    for name, arm in full["arms"].items():
        for slot, table in arm.items():
            assert without_none(read["arms"][name].get(slot, first.get(slot))) == without_none(table), (name, slot)
    assert read["limit"] == 3
    assert "# as in arms.seal: " in text


def test_what_was_chosen_is_told_from_defaults_and_from_what_is_not_set() -> None:
    plugins = Plugins()
    config = resolve({"method": "none", "evaluator": {"temperature": 0.5}}, plugins)
    lines = commented_toml(full_settings(config, plugins), config.as_json()).splitlines()
    assert "temperature = 0.5" in lines
    assert "max_judge_calls = 0  # default" in lines
    assert "# revision is not set" in lines
    assert not any(one.startswith(("use = ", "kind = ")) and one.endswith("# default") for one in lines)


def without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return value


def test_a_trainer_that_does_not_declare_its_work_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan({**LOOP, "out": str(tmp_path)}, [ANIMALS], [])
    assert plan.uncounted == {"animals": "its outer loop; the trainer 'loop' does not declare candidates or rounds"}
    show_plan(plan, as_json=False)
    shown = capsys.readouterr().out
    assert "not counted: animals: its outer loop" in shown
    assert "for what is counted" in shown
    show_plan(plan, as_json=True)
    answer = json.loads(capsys.readouterr().out)
    assert answer["uncounted"] == plan.uncounted
    assert answer["configuration"]["arms"]["animals"]["editor"]["temperature"] is not None


@pytest.mark.parametrize(
    ("declared", "said", "edits"),
    [
        ("    rounds = 2\n", "the edits of its outer loop; the trainer 'loop' does not declare candidates", 2 + 12),
        ("    def candidates(self, contexts):\n        return 5\n", "its validation; ", 2 + 5 + 4),
        ("    rounds = 2\n    def candidates(self, contexts):\n        return 5\n", "", 2 + 5 + 12),
    ],
)
def test_what_a_trainer_declares_is_counted(tmp_path: Path, declared: str, said: str, edits: int) -> None:
    source = ANIMALS.read_text("utf-8").replace("class Loop(Trainer):\n", f"class Loop(Trainer):\n{declared}\n")
    (tmp_path / "animals.py").write_text(source, "utf-8")
    plan = make_plan({**LOOP, "out": str(tmp_path)}, [tmp_path / "animals.py"], [])
    assert plan.uncounted.get("animals", "").startswith(said)
    assert bool(plan.uncounted) == bool(said)
    assert plan.work["animals"].edits == edits


def test_a_method_without_a_loop_leaves_nothing_uncounted(tmp_path: Path) -> None:
    plan = make_plan({**LOOP, "method": "bare", "out": str(tmp_path)}, [ANIMALS], [])
    assert plan.uncounted == {}


def test_variants_are_counted_and_do_not_disturb_the_clock(tmp_path: Path) -> None:
    variants = {"other": {"method": "bare"}}
    plan = make_plan({**LOOP, "method": "bare", "variants": variants, "out": str(tmp_path)}, [ANIMALS], [])
    assert set(plan.work) == {"bare", "other"}
    assert plan.seconds > 0


def test_workers_and_what_they_leave_to_the_driver_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan({**LOOP, "out": str(tmp_path)}, [ANIMALS], [])
    show_plan(plan, as_json=False, workers=Workers("cpu:3"))
    shown = " ".join(capsys.readouterr().out.split())
    assert "workers: 3 (processes, cpu:3); in the driver stay full fine-tunes, merges" in shown
    assert "whatever borrows the module" in shown


def test_what_is_timed_is_as_many_contexts_as_the_protocol_takes_and_no_variant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sequences of three are made of nine contexts, not of eight; a variant would be a second row."""
    probed = []
    real = runner.run

    def run(given: Mapping[str, Any], **more: Any) -> Any:
        probed.append(given)
        return real(given, **more)

    monkeypatch.setattr(runner, "run", run)
    given = {**LOOP, "limit": 6, "trainer": {"use": "none"}, "variants": {"other": {"method": "animals"}},
             "protocol": {"use": "sequence", "length": 3, "neutral": 0, "start_as": "stack"}}  # fmt: skip
    plan = make_plan(given, [ANIMALS, ANIMALS.with_name("chain.py")], ())
    assert plan.seconds is not None
    assert [(one["limit"], one["variants"]) for one in probed] == [(9, {})]
