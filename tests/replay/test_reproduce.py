"""`harness reproduce`: every row of a published table in one run, its cost beforehand, and the verdicts afterwards."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from harness_replay.reproduce import tables
from harness_replay.reproduce.beside import beside, incomplete, together
from harness_replay.reproduce.cost import estimate
from harness_replay.reproduce.tables import PublishedRow, PublishedTable, Size

from harness.cli import main
from harness.errors import UsageError
from harness.evidence.result import (
    SCHEMA,
    Card,
    ModelCard,
    ResultFile,
    TaskItems,
    make_row,
    single_table,
)
from harness.registry.build import resolve as resolve_table
from harness.registry.discover import Plugins
from harness.runs.config import resolve
from harness.runs.layers import Arm
from harness.runs.runner import open_run

NAMES = tuple(tables.names())
RUNS = [(name, tables.read(name).panels[0]) for name in NAMES]


def test_the_tables_that_ship() -> None:
    assert {
        "seal-n1", "seal-cpt200", "seal-cpt2067", "seal-prompts", "seal-proxy", "seal-3b", "seal-arc", "seal-continual",
        "teacher-student", "gpt-editor", "blog-models",
    } <= set(NAMES)  # fmt: skip


def student(arm: Arm, model: Any) -> Any:
    who = arm.roles["student"]
    while isinstance(who, str):
        who = arm.roles.get(who.removeprefix("@"), model)
    return who


@pytest.mark.parametrize("how", ["as published", "subset", "toy"])
@pytest.mark.parametrize(("name", "panel"), RUNS)
def test_all_rows_are_graded_and_asked_alike(name: str, panel: str, how: str) -> None:
    """One judge, one protocol, one model that learns: all that a row's conditions hold before a run."""
    table, plugins = tables.read(name), Plugins()
    given = table.configuration(panel, subset=how == "subset", toy=how == "toy")
    config = resolve(given, plugins)
    arms = {arm.method.name: arm for arm in config.arms}
    graded = {json.dumps(arm.slots["evaluator"], sort_keys=True) for arm in config.arms}
    assert len(graded) == 1
    assert len({json.dumps(arm.protocol, sort_keys=True) for arm in config.arms}) == 1
    assert len({json.dumps(student(arm, config.model), sort_keys=True) for arm in config.arms}) == 1
    assert all(arm.roles["student"] != "@teacher" for arm in config.arms if "trainer" in arm.slots
               and arm.slots["trainer"]["use"] != "none" and len(arms) > 1)  # fmt: skip
    if how != "subset":
        assert {row.arm for row in table.rows(panel)} <= set(arms)
    for arm in config.arms:
        for slot, its in arm.slots.items():
            settings = {key: value for key, value in its.items() if key != "kind"}
            resolve_table(plugins, str(its["kind"]), settings, slot)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("seal-n1", "seal-n1"), ("seal-cpt200", "seal-cpt200-v2"), ("seal-cpt2067", "seal-cpt2067-v2"),
        ("seal-prompts", "seal-n1-prompts"), ("seal-arc", "seal-arc"), ("seal-proxy", "seal-n1"),
    ],
)  # fmt: skip
def test_figures_are_those_of_the_published_tables(name: str, published: str) -> None:
    listed = tomllib.loads(resources.files("harness_replay").joinpath("published.toml").read_text("utf-8"))
    [rows] = [one["row"] for one in listed["table"] if one["id"] == published]
    known = {row["method"]: row["score"] for row in rows}
    mine = {row.called: row.score for row in tables.read(name).row if row.called in known}
    assert len(mine) > 3
    assert mine == {called: known[called] for called in mine}


def test_costs_are_counted_before_anything_is_downloaded() -> None:
    table, plugins = tables.read("seal-3b"), Plugins()
    found = estimate(table, table.configuration(), plugins)
    # Three rows of 974 questions, and two rounds of 50 contexts with 5 edits, 3 trials and 4.5 questions each.
    assert found.judge_calls == 3 * 974 + round(2 * 50 * 5 * 3 * 4.5)
    assert found.judge_usd == pytest.approx(found.judge_calls * (150 * 2 + 2 * 8) / 1e6)
    assert found.gpu_hours == pytest.approx(sum(hours for hours, _ in found.arms.values()))
    # 200 updates on 8.6 sequences of 2,048 tokens for 10 epochs, 6 operations per token and weight, at 40% of the peak.
    updates = 200 * 8.6 * 2048 * 10 * 6 * 3.09e9 / (0.4 * 989e12) / 3600
    assert updates < found.arms["seal-no-rl"][0] < 1.1 * updates
    assert 6 < found.disk_gb < 20
    assert found.fits
    slower = estimate(table, table.configuration(), plugins, "a100")
    assert slower.gpu_hours == pytest.approx(found.gpu_hours * 989 / 312)
    two = estimate(table, {**table.configuration(), "seeds": 2}, plugins)
    assert two.gpu_hours == pytest.approx(2 * found.gpu_hours)


@pytest.mark.parametrize(("name", "panel"), RUNS)
def test_a_subset_costs_less(name: str, panel: str) -> None:
    table, plugins = tables.read(name), Plugins()
    whole = estimate(table, table.configuration(panel), plugins)
    part = estimate(table, table.configuration(panel, subset=True), plugins)
    assert whole.usd is not None
    assert part.usd is not None
    assert 0 < part.gpu_hours < whole.gpu_hours
    assert part.usd < whole.usd


def test_rounds_that_two_rows_share_are_counted_once() -> None:
    table, plugins = tables.read("seal-n1"), Plugins()
    hours = estimate(table, table.configuration(), plugins).arms
    assert hours["seal-round-1"][0] < 1.2 * hours["seal-no-rl"][0] < hours["seal"][0] / 5


def result(rows: Mapping[str, list[float]], **conditions: Any) -> ResultFile:
    items = tuple((f"c{at}", (f"q{at}",)) for at in range(len(next(iter(rows.values())))))
    task = TaskItems("t", "1", "test", "exact", items)
    made = tuple(
        make_row(
            scores=[values], status=["o" * len(values)], queries=len(values), method=name, plugin="p", card=Card(),
            protocol="single", editor_model="", start_model="m", seeds=(0,),
            conditions={"task": "t", "samples": conditions.get(name, 1)},
        )
        for name, values in rows.items()
    )  # fmt: skip
    return ResultFile(SCHEMA, "run", "measured", "", ModelCard("m"), {}, single_table(task, made))


def published(*rows: PublishedRow, queries: int = 400) -> PublishedTable:
    return PublishedTable("T", "P", {}, rows, Size(queries, queries, 1, 1, 1), name="t")


def test_verdicts() -> None:
    many = [1.0, 0.0] * 1000
    found = result({"a": many, "few": [1.0, 0.0] * 1000})
    lines = beside(found, published(*(PublishedRow("a", score) for score in (50.0, 40.0, 60.0, 51.0)), queries=2000))
    assert [line.verdict for line in lines] == ["agrees", "higher", "lower", "agrees"]
    assert lines[0].ours == 50.0
    assert lines[1].difference == pytest.approx(10.0)
    assert lines[1].difference_low is not None
    assert lines[1].difference_low > 0
    [told] = beside(result({"a": [1.0, 0.0] * 10}), published(PublishedRow("a", 45.0)))
    assert told.verdict == "cannot tell"
    nothing, absent = beside(found, published(PublishedRow("a"), PublishedRow("b", 1.0)))
    assert (nothing.verdict, absent.verdict) == ("nothing published", "not measured")
    [gone] = beside(found, published(PublishedRow("a", 1.0, table="no-such-table")))
    assert gone.verdict == "not measured"


def test_a_small_published_study_widens_the_difference() -> None:
    found = result({"a": [1.0, 0.0] * 200})
    narrow, wide = (beside(found, published(PublishedRow("a", 50.0), queries=n))[0] for n in (4000, 40))
    assert narrow.difference_high is not None
    assert wide.difference_high is not None
    assert wide.difference_high > 3 * narrow.difference_high / 1.2


def test_rows_under_other_conditions_are_named() -> None:
    assert "rank together" in together(result({"a": [1.0], "b": [0.0]}))
    said = together(result({"a": [1.0], "b": [0.0]}, b=3))
    assert said == "rows do not all rank together; against a: b: samples 1 against 3"
    lost = result({"a": [1.0, 1.0]})
    row = lost.rows[0]
    broken = make_row(scores=[[1.0, None]], status=["oe"], queries=2, **{
        name: getattr(row, name) for name in ("method", "plugin", "card", "protocol", "editor_model", "start_model",
                                              "seeds", "conditions")})  # fmt: skip
    assert incomplete(lost.with_rows([broken])) == ["a"]


def test_a_wrong_name_or_panel_or_gpu_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["seal-n2"], "Did you mean 'seal-n1'"),
        (["blog-models", "--panel", "Qwen3-0.5B", "--dry-run"], "Did you mean 'Qwen3-0.6B'"),
        (["seal-3b", "--dry-run", "--gpu", "h20"], "no GPU 'h20'"),
        (["seal-3b", "--dry-run", "--set", "model=some/model"], "the size of model 'some/model' is not known"),
        (["seal-3b", "--of", "a", "--of", "b"], "--of: 2 runs for 1 panels"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["reproduce", *words])
        assert stopped.value.code == 2
        assert said in capsys.readouterr().err


def test_a_malformed_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    table = tables.read("blog-models")
    with pytest.raises(UsageError, match="has no panel 'x'"):
        table.configuration("x")
    assert replace(table, panel={}).panels == ("",)


def test_the_list_and_the_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["reproduce"])
    assert not stopped.value.code
    assert "seal-n1" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["reproduce", "seal-cpt200", "--dry-run"])
    said = capsys.readouterr().out
    for part in ("GPU time", "judge", "editors", "disk", "GPU memory", "--subset", "differs from the published run"):
        assert part in said
    with pytest.raises(SystemExit):
        main(["reproduce", "seal-cpt200", "--dry-run", "--json"])
    assert {"seal-cpt200", "seal-cpt200, --subset"} == set(json.loads(capsys.readouterr().out))


def toy(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tables.read(name)
    words = ["reproduce", name, "--toy", "--out", str(folder), "--set", 'leaderboard=""', "--panel", table.panels[0]]
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--json"])
    assert not stopped.value.code
    said = json.loads(capsys.readouterr().out)[table.panels[0] or name]
    assert said["rank_together"].endswith("rows were made under the same conditions and rank together")
    assert {row["verdict"] for row in said["rows"]} <= {"agrees", "higher", "lower", "cannot tell", "nothing published"}
    [run] = folder.iterdir()
    again = beside(open_run(run).result, table, table.panels[0])
    assert [line.ours for line in again] == [row["ours"] for row in said["rows"]]


def test_one_table_at_toy_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy("seal-3b", tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != "seal-3b"])
def test_every_table_at_toy_size(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy(name, tmp_path, capsys)
