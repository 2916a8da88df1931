"""``--edits RUN`` takes all of the method's own edits from that run, or says in one line why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.api import (
    Completion,
    Delta,
    EditAsk,
    Episode,
    Example,
    Group,
    MemoryOps,
    Preference,
    Recipe,
    Request,
    Rollout,
    SelfEdit,
    State,
)
from harness.errors import UsageError
from harness.runs.edits import edit_lines, read_edits
from tests.inputs.test_loaders import EDITS


def made(run: Path, *names: str, lines: Any = EDITS) -> Path:
    (run / "edits").mkdir(parents=True, exist_ok=True)
    for name in names:
        (run / "edits" / f"{name}.jsonl").write_text("\n".join(json.dumps({**one, "context": {"of": name}})
                                                               for one in lines))  # fmt: skip
    return run


def test_everything_that_an_edit_may_hold_survives(tmp_path: Path) -> None:
    state = State("base", ("a",), {"passage": "x"})
    request = Request(state, (("user", "q"),), stop=("\n",), schema={"type": "object"})
    answer = Completion(request, "t", (1, 2), (-0.5, -1))
    data = (
        Example("p", "t", 0.5), Example((("user", "q"),), "t"), Preference("p", "good", "bad"),
        Rollout(answer, "g", 0.25), Recipe("lines", {"text": "a\u2028b"}), MemoryOps(({"set": {"k": [1]}},)),
        Delta("digest", 2),
    )  # fmt: skip
    edit = SelfEdit("e/0", "e", data, {"rate": 1e-3}, (), "failed", "why")
    written = SelfEdit("e/0", "e", data, {"rate": 1e-3}, (answer,), "failed", "why")
    group = Group(EditAsk(Episode("e", "test", {"text": "x"}), state, 1, 0), (written,))
    (tmp_path / "edits").mkdir()
    (tmp_path / "edits" / "m-0.jsonl").write_text(edit_lines([group]), "utf-8")
    assert read_edits(tmp_path, "m", 0) == {"e": [edit]}


def test_the_same_seed_or_else_the_first_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for seed in (10, 2):
        lines = [{**EDITS[0], "edits": [{**EDITS[0]["edits"][0], "reason": str(seed)}]}]
        made(folder, f"my-method-{seed}", lines=lines)
    assert [read_edits(folder, "my-method", seed)["e0"][0].reason for seed in (10, 2, 7)] == ["10", "2", "2"]


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("entigraph", "method 'entigraph' has no edits in that run. There are: icl, seal"),
        ("sael", "Did you mean 'seal'?"),
        ("sea", "Did you mean 'seal'?"),
    ],
)
def test_a_method_without_edits_there_never_gets_those_of_another(tmp_path: Path, method: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_edits(made(tmp_path / "run", "icl-0", "seal-0"), method, 0)
    assert said in str(caught.value)


def test_no_run_or_no_edits(tmp_path: Path) -> None:
    made(tmp_path / "run-1", "seal-0")
    (tmp_path / "bare").mkdir()
    with pytest.raises(UsageError, match=r"no such run\. Did you mean 'run-1'"):
        read_edits(tmp_path / "run-2", "seal", 0)
    with pytest.raises(UsageError, match="no recorded edits"):
        read_edits(tmp_path / "bare", "seal", 0)


def _edit(**change: Any) -> dict[str, Any]:
    return {**EDITS[1], "edits": [{**EDITS[1]["edits"][0], **change}]}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({**EDITS[1], "edits": 3}, "line 2, field edits: Input should be a valid list"),
        (_edit(status="fine"), "line 2, field edits[0].status: Input should be 'ok', 'failed' or 'error'"),
        (_edit(episode="e0"), "line 2, field edits[0].episode: 'e0' is not the line's own episode"),
        (_edit(id="e0/0"), "line 2, field edits[0].id: 'e0/0' occurs twice in the file"),
        (_edit(settings={"x": {"$": "State"}}), "line 2, field edits[0].settings: holds the key '$'"),
        (_edit(data=[{"$": "Recipe", "name": "lines"}]), "line 2, field edits[0].data[0].Recipe.args: is missing"),
        (_edit(data=[{"$": "Evil"}]), "line 2, field edits[0].data[0]: Input tag 'Evil' found"),
        (EDITS[0], "line 2, field episode: 'e0' is in an earlier line too"),
    ],
)
def test_what_is_wrong_is_said_with_line_and_field(tmp_path: Path, line: Any, said: str) -> None:
    run = made(tmp_path / "run", "seal-0", lines=[EDITS[0], line])
    with pytest.raises(UsageError) as caught:
        read_edits(run, "seal", 0)
    assert said in str(caught.value)
    assert "seal-0.jsonl" in str(caught.value)
