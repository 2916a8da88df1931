"""Many edits in one update: an edit that cannot be learnt affects no other, and is counted."""

from __future__ import annotations

from pathlib import Path

from harness.api import EvaluationProtocol, Example, SelfEdit, UpdateJob
from harness.registry.build import build
from harness.registry.discover import Plugins
from harness.runs.bench import RunBench
from harness.runs.measured import take
from harness.session.service import SessionService
from harness.testing import ScriptedLM
from tests.seal.test_loop import opened
from tests.session import parts


def session(folder: Path) -> SessionService:
    return parts.session(folder, ScriptedLM(parts.knows_after_training))


def test_an_edit_without_sequences_is_left_out_and_counted(tmp_path: Path) -> None:
    s = session(tmp_path)
    good = SelfEdit("cats/0", "cats", (Example("", "cats purr"),))
    bad = SelfEdit("dogs/0", "dogs", (Example("", "x"),), status="failed", reason="unreadable")
    [done] = s.update("updater", [UpdateJob("j", s.roles["student"], (good, bad), 0)])
    assert done.status == "ok"
    assert (done.log["left_out"], done.log["left_out_first"]) == (1, "unreadable")
    [alone] = s.update("updater", [UpdateJob("k", s.roles["student"], (bad,), 0)])
    assert (alone.status, alone.reason) == ("failed", "unreadable")


def test_continued_pretraining_says_how_many_edits_it_left_out(tmp_path: Path) -> None:
    s, _ = opened(tmp_path)
    bench = RunBench(s, "train", samples=5)
    tables = take(build(Plugins(), EvaluationProtocol, {"use": "cpt"}, "protocol"), bench)
    assert bench.remarks == ["5 of 25 edits left out of the update, the first: the edit is empty"]
    assert tables["score"].macro() == 1.0
