"""Protocols, further tasks and further evaluators: whole runs on a scripted model, with a plugin's own and lies."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import harness
from harness.errors import PluginError, UsageError
from harness.evidence.conditions import differing
from harness.evidence.leaderboard.board import sections
from harness.evidence.leaderboard.table import render
from harness.evidence.result import ResultFile, Row, Table
from harness.evidence.result_file import read

HERE = Path(__file__).parent
FILES = [HERE / "animals.py", HERE / "chain.py"]


def run(folder: Path, **more: Any) -> harness.Run:
    config = {"method": "animals", "model": "animals", "beside": [], "out": str(folder / "runs"), "leaderboard": "",
              "trainer": {"use": "none"}, "validation": 0, "limit": 6, **more}  # fmt: skip
    return harness.run(config, plugin_files=FILES)


def table(found: ResultFile, name: str) -> Table:
    return next(one for one in found.tables if one.name == name)


def mean(row: Row) -> float:
    values = [value for seed in row.scores for value in seed if value is not None]
    return sum(values) / len(values)


def shown(found: ResultFile) -> str:
    out = io.StringIO()
    Console(width=200, file=out).print(render(found))
    return out.getvalue()


BOTH = {"halves": {"evaluator": "half"}, "zoo": {"task": "zoo"}, "zoo-halves": {"task": "zoo", "evaluator": "half"}}


def test_a_plugins_protocol_yields_steps_of_two_evaluators_and_a_second_task(tmp_path: Path) -> None:
    done = run(tmp_path, protocol="chain", also=BOTH)
    assert done.complete
    found = read(done.folder / "result.json")
    assert found == done.result
    assert [one.name for one in found.tables] == ["score", "retention", "distance", "halves", "zoo", "zoo-halves"]
    assert (found.headline, found.task.metric, found.head.evaluator) == ("score", "exact", "match")

    retention = table(found, "retention")
    assert retention.steps == (0, 1, 2, 3, 4, 5)
    assert [len(row.earlier) for row in retention.rows] == [5]
    assert retention.rows[0].scores == found.rows[0].scores, "the last step asks what the headline asks"
    steps = [mean(retention.at(step).rows[0]) for step in retention.steps]
    assert steps[0] < steps[-1], "two stacked adapters know every name, one does not"

    distance = table(found, "distance")
    assert (distance.task.unit, distance.task.lower_is_better) == ("nats", True)
    assert distance.rows[0].scores[0][0] == pytest.approx(math.log(7), abs=1e-6)

    halves, zoo, both = (table(found, name) for name in ("halves", "zoo", "zoo-halves"))
    assert (halves.task.name, halves.task.items, halves.task.metric) == ("animals", found.task.items, "halves")
    assert (zoo.task.name, [context for context, _ in zoo.task.items]) == ("zoo", ["owls0", "owls1", "owls2", "cats5"])
    assert (zoo.evaluator, both.evaluator, both.task.metric) == ("match", "half", "halves")
    assert mean(zoo.rows[0]) == 0.75, "the cat of the zoo has an answer of its own"
    assert mean(both.rows[0]) == 0.5
    assert {json.dumps(row.conditions["protocol"]) for one in found.tables for row in one.rows} == {'"chain"'}
    assert "protocol_settings" in found.rows[0].conditions


def test_every_episode_keeps_the_references_of_its_own_task(tmp_path: Path) -> None:
    """``cats5`` is an episode of either task, with other references."""
    done = run(tmp_path, also=BOTH, limit=24)
    own = {line["query"]: line["references"] for line in done.scores("halves")}
    theirs = {line["query"]: line["references"] for line in done.scores("zoo-halves")}
    assert {tuple(golds[0]) for query, golds in theirs.items() if "cats5" in query} == {("a cat of the zoo",)}
    assert all(golds != [["a cat of the zoo"]] for golds in own.values())


def test_what_is_measured_beside_changes_no_score_and_is_booked(tmp_path: Path) -> None:
    alone, beside = run(tmp_path / "a"), run(tmp_path / "b", also=BOTH)
    assert beside.result.rows[0].scores == alone.result.rows[0].scores
    assert beside.result.rows[0].conditions == alone.result.rows[0].conditions
    assert {len(lines) for lines in (alone.scores(), beside.scores(), beside.scores("halves"))} == {6}
    assert len(beside.scores("zoo")) == 6 * 4, "every deployed state is asked the whole further task"
    assert mean(table(beside.result, "zoo").rows[0]) == pytest.approx(2 / 4), "one adapter misses owls0 and the cat"
    again = harness.resume(beside.folder)
    assert again.ran == 0
    assert again.result == beside.result
    lines = [line for line in beside.scores("zoo") if line["query"] == beside.scores("zoo")[0]["query"]]
    assert [line["sample"] for line in lines] == list(range(6))


def test_continued_pretraining_asks_one_state(tmp_path: Path) -> None:
    done = run(tmp_path, protocol="cpt", also=BOTH, beside=["bare"])
    assert len([line for line in done.scores("zoo") if line["method"] == "animals"]) == 4
    assert {row.protocol for one in done.result.tables for row in one.rows} == {"cpt"}
    assert [row.method for row in table(done.result, "zoo-halves").rows] == ["animals", "bare"]
    assert mean(table(done.result, "zoo").rows[1]) == 0.0, "the start model knows nothing"


def test_a_failed_update_is_wrong_in_every_table(tmp_path: Path) -> None:
    done = run(tmp_path, protocol="cpt", also=BOTH, editor={"use": "writer"}, updater={"use": "memory"})
    assert {letter for one in done.result.tables for row in one.rows for seed in row.status for letter in seed} == {"f"}


def test_a_row_is_headed_by_its_evaluators_own_metric(tmp_path: Path) -> None:
    done = run(tmp_path, evaluator={"use": "half"}, also={"right": {"evaluator": "match"}})
    assert "test: halves, macro" in shown(done.result)
    assert "right" in shown(done.result)
    assert done.result.task.metric == "halves"
    titles = [one.title for one in sections([done.result])]
    assert any(title.endswith("halves, macro average") for title in titles)
    assert any(title.endswith("exact, macro average: right") for title in titles)


def test_the_tables_are_shown_as_columns_steps_and_pages(tmp_path: Path) -> None:
    done = run(tmp_path, protocol={"use": "chain", "every": 3}, also=BOTH)
    text = shown(done.result)
    for column in ("retention", "distance", "(adapters in nats)", "1.95", "zoo-halves"):
        assert column in text
    assert "by step 0: " in shown(done.result.of_table("retention"))
    pages = {one.table: one for one in sections([done.result])}
    assert set(pages) == {"", "retention", "distance", "halves", "zoo", "zoo-halves"}
    assert any("by step 0: " in note for note in pages["retention"].lines[0].notes)
    assert pages["distance"].unit == "nats"
    assert "in nats, unranked" in pages["distance"].lines[0].notes


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ("none", "yielded no measurement 'score'"),
        ("text", "yielded a str, not a Measurement"),
        ("name", "not a table name"),
        ("unknown", "there is no measure 'other'"),
        ("twice", "yielded measurement 'score' twice"),
        ("steps", "either every measurement of a name has a step"),
        ("negative", "a step is an integer of 0 or more"),
        ("above", "not in \\[0, 1\\]"),
        ("nan", "has the value nan"),
        ("valueless", "must have a value exactly when"),
        ("stranger", "has no query 'q' of an episode 'dogs99'"),
        ("own", "of the run's own task and evaluator"),
        ("raises", "ZeroDivisionError"),
    ],
)
def test_what_no_protocol_may_yield_is_one_line_that_names_it(tmp_path: Path, lie: str, said: str) -> None:
    with pytest.raises(PluginError, match=f"protocol 'liar'.*{said}"):
        run(tmp_path, protocol={"use": "liar", "lie": lie})


def test_what_a_protocol_leaves_out_is_missing_and_unranked(tmp_path: Path) -> None:
    done = run(tmp_path, protocol={"use": "liar", "lie": "half"}, seeds=3)
    [row] = done.result.rows
    assert (row.expected, row.scored, row.missing) == (18, 9, 9)
    assert not done.complete
    assert "incomplete: 9 of 18 scored" in shown(done.result)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"protocol": "sinlge"}, "no protocol is called 'sinlge'. Did you mean 'single'"),
        ({"protocol": {"use": "chain", "evry": 2}}, "protocol.evry: no such setting .* Did you mean 'every'"),
        ({"protocol": {"every": 2}}, "protocol.every: no such setting of protocol 'single'"),
        ({"also": {"score": {"task": "zoo"}}}, "also.score: a table's name"),
        ({"also": {"a/b": {"task": "zoo"}}}, "also.a/b: a table's name"),
        ({"also": {"zoo": {"tsk": "zoo"}}}, "also.zoo.tsk: no such setting of also. Did you mean 'task'"),
        ({"also": {"zoo": {"task": "zo"}}}, "no task is called 'zo'"),
        ({"also": {"zoo": {"evaluator": "@updater"}}}, "there is no evaluator slot 'updater'"),
        ({"also": {"zoo": 3}}, "also.zoo: write a table"),
        ({"grouping": "cpt"}, "grouping: no such key"),
    ],
)
def test_wrong_configurations_are_one_line(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        run(tmp_path, **given)


def test_a_protocols_settings_are_part_of_what_rows_compare_by(tmp_path: Path) -> None:
    rows = [run(tmp_path / str(n), protocol={"use": "chain", "every": n}).result.rows[0] for n in (1, 3)]
    assert differing(rows[0].conditions, rows[1].conditions) == ["protocol_settings"]
