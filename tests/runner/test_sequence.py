"""The protocol ``sequence``: its matrix and figures on a memory of known size, and what becomes of lost updates."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.api import HarnessError
from harness.errors import UsageError
from harness.evidence.result_file import ResultFile, Table

HERE = Path(__file__).parent
FILES = [HERE / "animals.py", HERE / "recall.py", HERE / "chain.py"]


def run(folder: Path, **more: Any) -> harness.Run:
    config = {"method": "recall", "model": "talks", "beside": [], "out": str(folder / "runs"), "leaderboard": "",
              "limit": 12, "protocol": {"length": 4, "neutral": 2}, **more}  # fmt: skip
    return harness.run(config, plugin_files=FILES)


def tables(found: ResultFile) -> dict[str, Table]:
    return {one.name: one for one in found.tables}


def values(table: Table, step: int | None = None, seed: int = 0) -> dict[str, float]:
    """Query -> value of the first row; what was not measured is not there."""
    row = (table if step is None else table.at(step)).rows[0]
    queries = [query for _, mine in table.task.items for query in mine]
    return {query: value for query, value in zip(queries, row.scores[seed], strict=True) if value is not None}


def figures(found: ResultFile) -> dict[str, list[float]]:
    """Figure -> its values over sequences."""
    wanted = ("learning", "bwt", "fwt", "forgetting", "gain", "forgetting.logprob", "steps", "tokens")
    return {name: [*values(table).values()] for name, table in tables(found).items() if name in wanted}


def test_a_memory_of_known_size_has_the_matrix_and_figures_that_follow(tmp_path: Path) -> None:
    """Room for two of four: R[i, j] is 1 for the last two, so BWT is (-1 - 1 + 0) / 3."""
    done = run(tmp_path, updater={"use": "shelf", "room": 2})
    assert done.complete
    found = figures(done.result)
    third = pytest.approx([-200 / 3] * 3)
    assert found["learning"] == [100.0] * 3
    assert found["bwt"] == third
    assert found["forgetting"] == pytest.approx([200 / 3] * 3)
    assert found["fwt"] == [0.0] * 3
    assert found["gain"] == [50.0] * 3
    # log-probability: 0 just learnt; at the end the places are -9, -9, -1, 0.
    assert found["forgetting.logprob"] == pytest.approx([19 / 3] * 3)
    assert (found["steps"], found["tokens"]) == ([12.0] * 3, [40.0] * 3)

    matrix = tables(done.result)["retention"]
    assert matrix.steps == (0, 1, 2, 3, 4)
    assert [context for context, _ in matrix.task.items] == ["edit-01", "edit-02", "edit-03", "edit-04"]
    acc = tables(done.result)["acc"]
    assert values(acc) == {"sequence-1": 0.5, "sequence-2": 0.5, "sequence-3": 0.5}
    for step in range(5):
        met = {f"edit-{j:02d}/sequence-2": float(step - 2 < j <= step) for j in range(1, step + 1)}
        ahead = {f"edit-{j:02d}/sequence-2": 0.0 for j in range(step + 1, 5 if step == 0 else min(step + 2, 5))}
        mine = {query: value for query, value in values(matrix, step).items() if query.endswith("sequence-2")}
        assert mine == met | ahead, step
    head = done.result.rows[0]
    assert (head.scored, head.expected, sum(value or 0 for value in head.scores[0])) == (12, 12, 6.0)


def test_nothing_is_forgotten_where_there_is_room(tmp_path: Path) -> None:
    found = figures(run(tmp_path).result)
    assert (found["bwt"], found["forgetting"], found["gain"]) == ([0.0] * 3, [0.0] * 3, [100.0] * 3)


@pytest.mark.parametrize(("how", "gain"), [("stack", 25.0), ("apart", 100.0), ("joint", 25.0)])
def test_how_an_update_starts(how: str, gain: float, tmp_path: Path) -> None:
    """With room for one: apart, each context has a shelf of its own; jointly, the last of all edits is what stays."""
    done = run(tmp_path, updater={"use": "shelf", "room": 1}, protocol={"length": 4, "start_as": how})
    assert figures(done.result)["gain"] == [gain] * 3


def test_a_sequence_is_the_same_contexts_for_all_seeds_in_another_order(tmp_path: Path) -> None:
    """So that sequences are what seeds are crossed with; room for one shows which context came last."""
    done = run(tmp_path, seeds=4, updater={"use": "shelf", "room": 1}, beside=["nothing"])
    head = done.result.head
    order = [context for context, _ in head.task.items]
    last = [{name for name, value in zip(order, one, strict=True) if value} for one in head.rows[0].scores]
    assert all(len({order.index(name) // 4 for name in names}) == 3 for names in last)
    assert len({tuple(sorted(names)) for names in last}) > 1
    again = run(tmp_path / "again", seeds=4, updater={"use": "shelf", "room": 1})
    assert again.result.rows[0].scores == head.rows[0].scores
    nothing = next(row for row in head.rows if row.method == "nothing")
    assert {value for seed in nothing.scores for value in seed} == {0.0}, "no editor: the start model, at every step"


def test_a_failed_update_counts_as_wrong_and_the_sequence_goes_on(tmp_path: Path) -> None:
    done = run(tmp_path, updater={"use": "shelf", "fails": "7"})
    row = done.result.rows[0]
    assert (row.failed, row.scored, sum(value or 0 for value in row.scores[0])) == (2, 12, 10.0)
    assert any("2 updates failed" in note for note in row.notes)
    assert sorted(figures(done.result)["learning"]) == [50.0, 100.0, 100.0]


def test_what_was_passed_over_is_asked_of_the_model_as_it_is(tmp_path: Path) -> None:
    done = run(tmp_path, editor={"use": "restate", "skip": "7"})
    row = done.result.rows[0]
    assert (row.failed, row.scored, sum(value or 0 for value in row.scores[0])) == (0, 12, 10.0)


def test_what_follows_a_lost_update_is_not_known_until_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measurement ends at an error of ours, so that a resumed run makes the calls that were not made, no others."""
    monkeypatch.setenv("SHELF_BREAKS", "cats8")
    done = run(tmp_path)
    assert not done.complete
    row = done.result.rows[0]
    assert (row.errors, row.scored) == (12, 0)
    assert any("was lost, and nothing after it was measured: the shelf broke" in note for note in row.notes)
    assert "bwt" not in tables(done.result)
    monkeypatch.delenv("SHELF_BREAKS")
    mended = harness.resume(done.folder)
    assert mended.complete
    assert figures(mended.result)["learning"] == [100.0] * 3


def test_what_else_the_model_could_do_has_a_column_clustered_by_sequence(tmp_path: Path) -> None:
    done = run(tmp_path, also={"zoo": {"task": "zoo"}, "again": {"evaluator": "recall"}},
               protocol={"length": 4, "every": 2, "neutral": 2})  # fmt: skip
    found = tables(done.result)
    zoo = found["rest.zoo"]
    assert zoo.steps == (0, 2, 4), "every second step"
    assert [(context, len(queries)) for context, queries in zoo.task.items] == [(f"sequence-{k}", 4) for k in (1, 2, 3)]
    assert found["retention.again"].rows[0].scores == found["retention"].rows[0].scores
    assert len(values(found["retention"], 3)) == 6, "between two full measurements: the latest and the next"
    assert "forgetting" not in found, "it needs every cell"
    assert [*values(found["bwt"]).values()] == [0.0] * 3
    assert (found["kl"].task.unit, found["kl"].steps) == ("nats", (0, 1, 2, 4)), "the first step is a forecast"
    assert set(values(found["kl"], 0).values()) == {0.0}


def test_earlier_edits_reach_those_that_rehearse_and_nobody_else(tmp_path: Path) -> None:
    def seen(updater: str, folder: Path) -> list[tuple[str, tuple[str, ...]]]:
        run(folder, updater={"use": updater}, limit=4)
        found = sys.modules["recall"].SEEN
        mine = list(found)
        found.clear()
        return mine

    plain, told = seen("shelf", tmp_path / "plain"), seen("rehearsing", tmp_path / "told")
    assert [len(earlier) for _, earlier in plain] == [0, 0, 0, 0]
    assert [len(earlier) for _, earlier in told] == [0, 1, 2, 3]
    assert told[3][1][:2] == told[2][1]


def test_a_writer_may_be_the_model_as_it_is_then(tmp_path: Path) -> None:
    done = run(tmp_path, protocol={"length": 4, "writer": "current"}, limit=4)
    texts = [line["texts"] for line in done.edits()] if hasattr(done, "edits") else []
    text = (done.folder / "edits" / "recall-0.jsonl").read_text("utf-8")
    assert text.count("known") == 3, "all but the first edit were written by a model that had learnt something"
    assert texts == [] or len(texts) == 4


@pytest.mark.parametrize(
    ("limit", "length", "said"),
    [
        (12, 5, r"12 contexts make no sequences of 5 each; set limit to 10 or 15, or protocol.length to a divisor"),
        (11, 0, r"11 contexts make no sequences of up to 8 each; set limit to 8 or 16"),
        (3, 8, r"set limit to 8,"),
    ],
)
def test_contexts_that_make_no_whole_sequences_are_refused(limit: int, length: int, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        run(tmp_path, limit=limit, protocol={"length": length})


def test_sequences_of_one_are_the_protocol_single(tmp_path: Path) -> None:
    """The same updates with the same seeds, on a model whose weights say what they were made from."""

    def scores(protocol: Any, folder: Path) -> Any:
        return (
            run(folder, method="animals", model="animals", trainer={"use": "none"}, protocol=protocol)
            .result.rows[0]
            .scores
        )

    one = scores({"use": "sequence", "length": 1, "neutral": 0}, tmp_path / "one")
    assert one == scores("single", tmp_path / "single")


def test_an_updater_that_cannot_continue_says_so_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="cannot continue an adapter; take another start_as"):
        run(
            tmp_path,
            method="animals",
            model="animals",
            trainer={"use": "none"},
            protocol={"use": "sequence", "length": 4, "neutral": 0},
        )
    done = run(tmp_path, method="animals", model="animals", trainer={"use": "none"},
               protocol={"use": "sequence", "length": 4, "start_as": "merge", "neutral": 0})  # fmt: skip
    assert done.complete


@pytest.mark.parametrize(("serve", "right"), [("oracle", 1.0), ("words", 1.0), ("nearest", 1.0), ("learnt", 1.0)])
def test_separate_adapters_answer_by_an_oracle_or_by_what_their_edits_say(
    serve: str, right: float, tmp_path: Path
) -> None:
    """The shelf's edits name their animal, and so do the questions and the model's states: every router finds it."""
    protocol = {"length": 4, "start_as": "apart", "serve": serve}
    done = run(tmp_path, updater={"use": "shelf", "room": 1}, protocol=protocol, also={"zoo": {"task": "zoo"}})
    assert figures(done.result)["gain"] == [100.0] * 3
    found = tables(done.result)
    assert ("routed" in found) == (serve != "oracle"), "the oracle is never wrong, and is not said to route"
    if serve != "oracle":
        assert {*values(found["routed"], 4).values()} == {right}
        assert "kl" not in found, "no one state answers a text"


def test_serving_is_of_adapters_that_are_apart(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"set protocol\.start_as to 'apart'"):
        run(tmp_path, protocol={"length": 4, "serve": "ties"})
