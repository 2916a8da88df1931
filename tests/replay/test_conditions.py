"""Every published log keeps its own conditions; differences and unknown conditions are stated in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness_replay.conditions import ADAPTER_BASE, CHAT, KNOWLEDGE_BASE, LONG, QUESTION, REASONING, SMALL_BASE, of_log
from harness_replay.published import result_files
from harness_replay.seal import recorded, replay
from typer import Typer
from typer.testing import CliRunner

from harness.api import HarnessError
from harness.cli.compare import command
from harness.evidence.compare import compare
from harness.evidence.leaderboard.summary import tables
from harness.evidence.sources import open_source
from harness.judges.load import load
from tests.replay.logs import pretraining, save, scored
from tests.shared_data import shared

DATA = "data/synthetic_data/eval/base_val.json"


def _scored(**fields: Any) -> dict[str, Any]:
    return {**scored(), "dataset": DATA, "exp_name": "eval_base", **fields}


def _long(raw: dict[str, Any]) -> dict[str, Any]:
    for article in raw["articles"]:
        for completion in article["completions"]:
            for asked in completion["questions"]:
                asked["baseline_answer"] = "First I recall what the passage says. " * 20
    return raw


@pytest.mark.parametrize(
    ("fields", "base", "start", "prompt"),
    [
        ({}, KNOWLEDGE_BASE, KNOWLEDGE_BASE, QUESTION),
        ({"dataset": "data/synthetic_data/eval_full/naive_val.json"}, KNOWLEDGE_BASE, KNOWLEDGE_BASE, QUESTION),
        ({"dataset": "general-knowledge/data/synthetic_data/3B/eval/base.json"}, SMALL_BASE, SMALL_BASE, QUESTION),
        ({"dataset": "data/synthetic_data/eval/iter1_val.json"}, KNOWLEDGE_BASE, None, QUESTION),
        ({"exp_name": "eval_cot"}, KNOWLEDGE_BASE, KNOWLEDGE_BASE, REASONING),
        ({"exp_name": "eval_ga"}, ADAPTER_BASE, ADAPTER_BASE, CHAT),
        ({"dataset": "data/synthetic_data/train/qwen3_iter0_train.json"}, None, None, None),
        ({"dataset": "elsewhere/base_val.json"}, None, None, None),
    ],
)
def test_what_a_log_says_of_itself(
    fields: dict[str, Any], base: str | None, start: str | None, prompt: str | None
) -> None:
    found = of_log(_scored(**fields), ["short"])
    assert (found.base_model, found.start_model, found.prompt, found.decoding) == (base, start, prompt, None)


@pytest.mark.parametrize(
    ("args", "decoding"),
    [
        ({"eval_temperature": 0.0, "eval_max_tokens": 64, "eval_top_p": 1.0}, "greedy, 64 tokens"),
        ({"eval_temperature": 0.0, "eval_max_tokens": 64, "stop": "\\n"}, "greedy, 64 tokens, to the end of the line"),
        (
            {"eval_temperature": 0.7, "eval_max_tokens": 512, "eval_top_p": 0.9},
            "temperature 0.7, top-p 0.9, 512 tokens",
        ),
        ({}, None),
    ],
)
def test_decoding_is_what_the_log_records(args: dict[str, Any], decoding: str | None) -> None:
    raw = {**pretraining("per_question"), "args": args, "dataset": DATA}
    assert of_log(raw, ["short"]).decoding == decoding


def _compared(tmp_path: Path, a: dict[str, Any], b: dict[str, Any]) -> Any:
    one, other = (save(tmp_path / name / "log.json", raw) for name, raw in (("a", a), ("b", b)))
    return compare(open_source(str(one)), open_source(str(other)))


def test_reasoned_answers_are_not_compared_with_short_ones(tmp_path: Path) -> None:
    """Even if the log does not state it: answers of 760 characters have more than 64 tokens."""
    named = _compared(tmp_path, _scored(), _long(_scored(exp_name="eval_cot")))
    assert named.differing == ("decoding", "prompt")
    assert f"decoding not recorded against {LONG}" in named.notes
    assert f"prompt {QUESTION} against {REASONING}" in named.notes
    assert _compared(tmp_path, _scored(), _long(_scored())).verdict == "incomparable"


def test_other_base_models_get_no_verdict(tmp_path: Path) -> None:
    small = _compared(tmp_path, _scored(), _scored(dataset="data/synthetic_data/3B/eval/base.json"))
    assert small.verdict == "incomparable"
    assert "base model Qwen2.5-7B against Qwen2.5-3B" in small.notes
    adapter = _compared(tmp_path, _scored(), _scored(exp_name="eval_ga"))
    assert adapter.verdict == "incomparable"
    assert "base model Qwen2.5-7B against Mistral-7B-Instruct-v0.2" in adapter.notes


def test_what_neither_side_records_is_said(tmp_path: Path) -> None:
    unknown = _scored(dataset="elsewhere/x.json")
    found = _compared(tmp_path, unknown, unknown)
    assert found.verdict == "inconclusive"
    assert "base model, start model, decoding and prompt not recorded on either side: they may differ" in found.notes
    known = _compared(tmp_path, _scored(), unknown)
    assert known.differing == ("base_model", "prompt", "start_model")


def test_differences_are_words_and_no_digests(tmp_path: Path) -> None:
    fewer = _scored()
    fewer["articles"] = fewer["articles"][:4]
    a, b = save(tmp_path / "a" / "log.json", _scored()), save(tmp_path / "b" / "log.json", fewer)
    app = Typer()
    app.command()(command)
    printed = CliRunner().invoke(app, [str(a), str(b)]).stdout
    assert "items 12 queries of 6 contexts against 8 queries of 4 contexts" in printed
    one, other = open_source(str(a)), open_source(str(a), load("offline-1"))
    assert compare(one, other).notes == ("judge gpt-4.1 against offline-1",)


def _abstraction(*edits: dict[str, bool]) -> dict[str, Any]:
    return {
        str(at): {
            "task_id": {str(place): task for place, task in enumerate(edit)},
            "correct": {str(place): right for place, right in enumerate(edit.values())},
        }
        for at, edit in enumerate(edits)
    }


def test_the_abstraction_log_is_replayed(tmp_path: Path) -> None:
    tasks = ("59341089", "66e6c45b", "68b67ca3", "903d1b4a")
    none = save(tmp_path / "final_results.json", _abstraction(dict.fromkeys(tasks, False)))
    found, graded = replay(none)
    assert (found["macro"], found["scored"], found["n_contexts"], found["layout"]) == (0.0, 4, 4, "abstraction")
    assert graded is not None
    assert graded.adapter is not None
    assert graded.result.task.name == "arc"
    assert graded.adapter.conditions["base_model"] == "Llama-3.2-1B-Instruct"
    assert graded.adapter.conditions["decoding"] is None
    assert recorded(none) == []
    two = [dict(zip(tasks, right, strict=True)) for right in ((True, False, True, True), (True, False, False, False))]
    assert replay(save(tmp_path / "two.json", _abstraction(*two)))[0]["macro"] == 0.5
    with pytest.raises(HarnessError, match="there is nothing to judge"):
        replay(none, load("exact"))


def test_a_damaged_abstraction_log_is_said(tmp_path: Path) -> None:
    raw = _abstraction({"t1": True, "t2": False}, {"t1": True})
    found, _ = replay(save(tmp_path / "gap.json", raw))
    assert not found["complete"]
    assert "1 of 4 verdicts are missing" in found["notes"]
    raw["0"]["correct"]["1"] = "yes"
    with pytest.raises(HarnessError, match=r"0\.correct\.1: 'yes' is not a verdict"):
        replay(save(tmp_path / "text.json", raw))
    del raw["0"]["correct"]["1"]
    with pytest.raises(HarnessError, match="edit 0: 2 task ids beside 1 verdicts"):
        replay(save(tmp_path / "cut.json", raw))
    twice = _abstraction({"t1": True})
    twice["0"] = {"task_id": {"0": "t1", "1": "t1"}, "correct": {"0": True, "1": True}}
    with pytest.raises(HarnessError, match="a task is listed twice"):
        replay(save(tmp_path / "twice.json", twice))


def test_printed_figures_are_those_of_the_rows() -> None:
    """To the printed digit; except a figure that was rounded in the log and once more in the table."""
    checked = 0
    for found in result_files(shared("seal")):
        for row in found.rows:
            if row.scores and row.reported is not None:
                assert f"{100 * tables(found.task, row).mean:.1f}" == f"{100 * row.reported.score:.1f}", row.method
                checked += 1
    assert checked > 12


def test_logs_of_other_conditions_in_the_shared_data() -> None:
    full, adapter, lora = (
        open_source(str(shared(f"seal/{name}.json")))
        for name in ("v2/cpt200_fullft_passage", "v2/cpt200_ga_mistral", "continued_pretraining/cpt_naive")
    )
    assert full.row.conditions["decoding"] == "greedy, 64 tokens"
    assert lora.row.conditions["decoding"] is None
    assert "base model Qwen2.5-7B against Mistral-7B-Instruct-v0.2" in compare(full, adapter).notes
    assert {"decoding", "items"} <= set(compare(full, lora).differing)
