"""What a run keeps for who looks at it: its outer loop, the updates it deployed, and what was asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import harness
from harness.books.verify import verify
from harness.models.loss_curve import POINTS, thinned
from tests.runner.test_runner import run


def lines(done: harness.Run, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (done.folder / name).read_text().splitlines()]


def test_the_outer_loop_is_kept_round_by_round(tmp_path: Path) -> None:
    rounds = [one for one in lines(run(tmp_path), "history/animals-0.jsonl") if one["kind"] == "round"]
    assert [one["round"] for one in rounds] == [0, 1, 2]
    assert [one["validation"] for one in rounds] == [0.5, 1.0, 1.0]
    assert [one["chosen"] for one in rounds] == [False, True, False]
    first = rounds[1]
    assert len(first["candidates"]) == 12
    assert all(one["rewards"]["reward"]["status"] == "ok" and one["text"] for one in first["candidates"])
    [update] = first["updates"]
    assert update["slot"] == "policy"
    assert len(update["edits"]) == 6
    assert set(update["edits"]) < {one["edit"] for one in first["candidates"]}


def test_deployed_updates_are_kept_with_their_sequences(tmp_path: Path) -> None:
    done = run(tmp_path, limit=3)
    updates = [one for one in lines(done, "history/animals-0.jsonl") if one["kind"] == "update"]
    assert [one["edits"][0]["episode"] for one in updates] == [name for name, _ in done.result.task.items]
    assert updates[0]["edits"][0]["sequences"] == [["", f"{updates[0]['edits'][0]['episode']} is an animal (0)", 1.0]]
    costs = [one for one in lines(done, "history/animals-0.jsonl") if one["kind"] == "cost"]
    assert {one["stage"] for one in costs} == {"outer", "deploy"}


def test_one_update_over_all_edits_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, protocol="cpt", limit=4)
    [update] = [one for one in lines(done, "history/animals-0.jsonl") if one["kind"] == "update"]
    assert len(update["edits"]) == 4
    assert update["status"] == "ok"


def test_items_are_kept_with_their_references_and_sealed(tmp_path: Path) -> None:
    done = run(tmp_path, limit=2)
    kept = lines(done, "items/score.jsonl")
    assert [(one["episode"], tuple(query["id"] for query in one["queries"])) for one in kept] == list(
        done.result.task.items
    )
    assert all(one["references"][query["id"]] for one in kept for query in one["queries"])
    path = done.folder / "items" / "score.jsonl"
    assert not verify(done.folder).damaged
    path.write_text(path.read_text().replace("animal", "mineral"))
    assert [one.path for one in verify(done.folder).damaged] == ["items/score.jsonl"]


def test_a_resumed_run_keeps_the_same(tmp_path: Path) -> None:
    done = run(tmp_path, limit=3)
    names = ["history/animals-0.jsonl", "items/score.jsonl"]
    before = [(done.folder / name).read_bytes() for name in names]
    for name in names:
        (done.folder / name).unlink()
    assert harness.resume(done.folder).ran == 0
    assert [(done.folder / name).read_bytes() for name in names] == before


def test_a_curve_keeps_its_ends_and_drops_what_is_no_number() -> None:
    kept = thinned([float(step) for step in range(500)] + [float("nan"), float("inf")])
    assert len(kept) == POINTS
    assert (kept[0], kept[-1]) == (0.0, 499.0)
    assert thinned([0.123456]) == [0.1235]
