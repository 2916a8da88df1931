"""Named tables of a result file: they survive a round trip, are picked by name and step, and refused when damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from harness.cli import build_app
from harness.errors import UsageError
from harness.evidence.result import Card, ModelCard, ResultFile, Row, Snapshot, Table, TaskItems, make_row
from harness.evidence.result_file import ResultError, dumps, parse, read, write
from tests.leaderboard.examples import items, result_file, row

NAMES = st.from_regex(r"[A-Za-z0-9_.-]{1,12}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)


@st.composite
def cells(draw: st.DrawFn, seeds: int, queries: int, unit: str) -> tuple[Any, Any]:
    """Scores and letters of all seeds."""
    known = st.floats(-1e9, 1e9) if unit else st.floats(0, 1)
    cell = st.one_of(
        st.tuples(known, st.just("o")), st.sampled_from([(0.0, "f"), (0.0, "u"), (None, "u"), (None, "e"), (None, "-")])
    )
    rows = [[draw(cell) for _ in range(queries)] for _ in range(seeds)]
    return tuple(tuple(v for v, _ in one) for one in rows), tuple("".join(letter for _, letter in one) for one in rows)


@st.composite
def tables(draw: st.DrawFn, name: str) -> Table:
    sizes = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    unit = draw(st.sampled_from(["", "nats"]))
    contexts = tuple((f"c{at}", tuple(f"c{at}/{q}" for q in range(size))) for at, size in enumerate(sizes))
    task = TaskItems(draw(TEXTS), draw(TEXTS), "test", draw(TEXTS), contexts, unit=unit, lower_is_better=bool(unit))
    steps = tuple(sorted(draw(st.sets(st.integers(0, 99), max_size=3))))
    seeds = draw(st.integers(1, 2))

    asked = {"task": task.name, "version": task.version, "items": "i", "metric": "m"}
    conditions = {**asked, "base_model": "b", "samples": 1}

    def one(method: str) -> Row:
        *earlier, last = [draw(cells(seeds, sum(sizes), unit)) for _ in range(max(1, len(steps)))]
        return make_row(
            scores=last[0], status=last[1], queries=sum(sizes), method=method, plugin="p", card=Card(),
            protocol="chain", editor_model="", start_model="", conditions=conditions,
            seeds=tuple(range(seeds)), earlier=tuple(Snapshot(*one) for one in earlier),
        )  # fmt: skip

    return Table(name, task, draw(TEXTS), tuple(one(f"m{at}") for at in range(draw(st.integers(0, 2)))), steps)


@st.composite
def files(draw: st.DrawFn) -> ResultFile:
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    made = tuple(draw(tables(name)) for name in names)
    return ResultFile(2, "run", "measured", "s", ModelCard("m"), {}, made, draw(st.sampled_from(names)))


@given(files())
def test_a_file_reads_back_as_it_was_written(found: ResultFile) -> None:
    back = parse(dumps(found), "x")
    assert back == found
    assert dumps(back) == dumps(found)
    for table in back.tables:
        view = back.of_table(table.name)
        assert (view.task, view.rows) == (table.task, table.rows)
        for place, step in enumerate(table.steps):
            then = back.of_table(f"{table.name}@{step}")
            for now, one in zip(table.rows, then.rows, strict=True):
                past = [*now.earlier, Snapshot(now.scores, now.status)][place]
                assert (one.scores, one.status, one.earlier) == (past.scores, past.status, ())
            assert parse(dumps(then), "y") == then


@given(files(), st.data())
def test_a_file_with_a_piece_torn_out_is_refused(found: ResultFile, data: st.DataObject) -> None:
    raw = json.loads(dumps(found))
    table = data.draw(st.sampled_from(raw["tables"]))
    piece = data.draw(st.sampled_from(["name", "task", "evaluator", "rows"]))
    del table[piece]
    with pytest.raises(ResultError, match=f"x: tables.*{piece}"):
        parse(json.dumps(raw), "x")


def _stepped() -> ResultFile:
    task = items(8, 3)
    first, last = row("seal", 0.2, task=task), row("seal", 0.8, task=task)
    base = row("none", 0.5, task=task)
    rows = [
        replace(last, earlier=(Snapshot(first.scores, first.status),)),
        replace(base, earlier=(Snapshot(base.scores, base.status),)),
    ]
    far = replace(task, metric="kl", unit="nats", lower_is_better=True)
    further = [replace(one, conditions={**one.conditions, "metric": "kl"}) for one in (base, last)]
    whole = result_file([base, last], task=task)
    tables = (
        *whole.tables,
        Table("retention", task, "match", tuple(rows), (0, 5)),
        Table("kl", far, "", tuple(further)),
    )
    return replace(whole, tables=tables)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw.update(schema=3), "x: schema 3, and this harness reads schema 2; upgrade selfadapt-harness"),
        (lambda raw: raw.update(schema=1), "x: schema 1, and this harness reads schema 2; run it again"),
        (lambda raw: raw.update(headline="scores"), "headline: there is no table 'scores'"),
        (lambda raw: raw["tables"][1].update(name="score"), "tables: name 'score' occurs twice"),
        (lambda raw: raw["tables"][1].update(steps=[5, 0]), "table 'retention': steps: \\[5, 0\\] are not rising"),
        (
            lambda raw: raw["tables"][1].update(steps=[0, 1, 2]),
            "earlier: 1 steps before the last of 3",
        ),
        (lambda raw: raw["tables"][1]["rows"][0]["earlier"][0]["scores"][0].pop(), "step 0: seed 0: 23 scores"),
        (lambda raw: raw["tables"][2]["task"].update(unit=""), ""),
    ],
)
def test_what_does_not_fit_together_is_refused_in_words(change: Any, said: str) -> None:
    raw = json.loads(dumps(_stepped()))
    change(raw)
    if not said:
        raw["tables"][2]["rows"][0]["scores"][0][0] = 1.5
        said = "value 1.5 does not go with status"
    with pytest.raises(ResultError, match=said):
        parse(json.dumps(raw), "x")


def test_a_newer_file_with_unknown_fields_says_only_that_it_is_newer() -> None:
    with pytest.raises(ResultError, match=r"^x: schema 9, and this harness reads schema 2; upgrade selfadapt-harness$"):
        parse(json.dumps({"schema": 9, "boards": {"deep": [1, 2]}}), "x")


def test_tables_and_steps_that_are_not_there(tmp_path: Path) -> None:
    found = _stepped()
    with pytest.raises(
        UsageError, match=r"no table 'retentoin'; it has score, retention, kl\. Did you mean 'retention'"
    ):
        found.of_table("retentoin")
    with pytest.raises(UsageError, match="has no step '3'; its steps are 0, 5"):
        found.of_table("retention@3")
    with pytest.raises(UsageError, match="has no step '0'; it has no steps"):
        found.of_table("score@0")


def _cli(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(build_app(words[0]), list(words))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture
def saved(tmp_path: Path) -> str:
    return str(write(_stepped(), tmp_path / "facts" / "run.json"))


def test_compare_names_another_table_and_a_step(saved: str) -> None:
    pair = (f"{saved}#none", f"{saved}#seal")

    def verdict(*more: str) -> str:
        code, text = _cli("compare", *pair, *more, "--json")
        assert code == 0, text
        return str(json.loads(text)["verdict"])

    assert verdict() == verdict("--table", "retention") == "better"
    assert verdict("--table", "retention@0") == "worse"
    assert verdict("--table", "kl") == "worse", "lower is better there"
    assert " nats, 95% interval" in _cli("compare", *pair, "--table", "kl")[1]


def test_the_gate_and_the_leaderboard_name_another_table(
    saved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = read(saved)
    [retention] = [one for one in found.tables if one.name == "retention"]
    worse = replace(retention, rows=tuple(one for one in retention.at(0).rows), steps=())
    head = write(replace(found, tables=(found.tables[0], worse)), tmp_path / "head.json")
    gate = ("gate", "--baseline", saved, "--run", str(head))
    assert "verdict: pass" in _cli(*gate)[1]
    assert "seal: regressed" in _cli(*gate, "--table", "retention")[1]
    assert "table 'kl' is in nats" in _cli(*gate[:4], saved, "--table", "kl")[1]
    code, text = _cli("leaderboard", "show", saved, "--table", "kl")
    assert code == 0
    assert "kl in nats" in text
