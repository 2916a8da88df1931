"""The gate: verdicts, exit codes, reports that are always written, and a baseline that keeps its reasons."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from typer import Typer
from typer.testing import CliRunner, Result

from harness.api import HarnessError
from harness.cli.gate import command
from harness.evidence.gate.verdict import Gate, check_all, confirm, exact, pool
from harness.evidence.result import ResultFile, Row, TaskItems
from harness.evidence.result_file import read, write
from tests.leaderboard.examples import items, result_file, row

app = Typer()
app.command()(command)

TASK = items(contexts=60)


def _file(*rows: Row, run: str = "head", task: TaskItems = TASK) -> ResultFile:
    return result_file(rows, run=run, task=task)


def _row(chance: float, *, draw: int = 0, seeds: Sequence[int] = range(5), method: str = "m") -> Row:
    return row(method, chance, task=TASK, seeds=seeds, draw=draw)


def _incomplete(base: Row, lost: int) -> Row:
    """The row without a value for its first ``lost`` queries of every seed."""
    per_seed = len(base.scores[0])
    return replace(
        base,
        scores=tuple((None,) * lost + one[lost:] for one in base.scores),
        status=("e" * lost + "o" * (per_seed - lost),) * len(base.seeds),
        scored=base.scored - lost * len(base.seeds),
        errors=lost * len(base.seeds),
    )


def test_verdicts() -> None:
    base = _file(_row(0.5), run="base")
    assert check_all(base, base)[0].verdict == "pass"
    assert check_all(base, _file(_row(0.2)))[0].verdict == "regressed"
    assert check_all(base, _file(_row(0.8)))[0].verdict == "improved"
    small = items(contexts=8)
    few = [_file(row("m", 0.5, task=small, seeds=(0, 1, 2), draw=draw), task=small) for draw in range(2)]
    undecided = check_all(*few)[0]
    assert undecided.verdict == "inconclusive"
    assert undecided.needed is not None


def test_a_sure_but_small_drop_does_not_fail() -> None:
    base = _row(0.5)
    worse = replace(base, scores=tuple(tuple(0.99 * (v or 0) for v in one) for one in base.scores))
    found = check_all(_file(base), _file(worse))[0]
    assert found.ci90 is not None
    assert found.ci90[1] < 0
    assert found.verdict == "pass"


@pytest.mark.parametrize(
    ("head", "verdict", "said"),
    [
        (_file(_row(0.5, method="other")), "error", "no such row"),
        (
            _file(replace(_row(0.5), conditions={"task": "facts", "version": "2"})),
            "incomparable",
            "version 1 against 2",
        ),
        (_file(_incomplete(_row(0.5), 2)), "error", "10 of 900 scores are missing"),
        (_file(_incomplete(_row(0.5), 180)), "error", "nothing was measured"),
    ],
)
def test_what_cannot_be_compared_is_no_regression(head: ResultFile, verdict: str, said: str) -> None:
    found = check_all(_file(_row(0.5), run="base"), head)[0]
    assert found.verdict == verdict
    assert said in found.reason


def test_other_items_are_incomparable() -> None:
    fewer = items(contexts=59)
    found = check_all(_file(_row(0.5)), _file(row("m", 0.5, task=fewer), task=fewer))[0]
    assert found.verdict == "incomparable"
    assert "3 queries have a score on one side only" in found.reason


def test_the_order_of_items_does_not_matter() -> None:
    base, head = _file(_row(0.5)), _file(_row(0.3, draw=1))
    order = list(range(len(TASK.items)))
    random.Random(0).shuffle(order)
    turned = replace(TASK, items=tuple(TASK.items[at] for at in order))
    mixed = tuple(tuple(value for at in order for value in one[3 * at : 3 * at + 3]) for one in head.rows[0].scores)
    shuffled = _file(replace(head.rows[0], scores=mixed), task=turned)
    assert check_all(base, shuffled) == check_all(base, head)


def test_the_worst_row_decides_and_nothing_is_an_error() -> None:
    base = _file(_row(0.5, method="a"), _row(0.5, method="b"))
    head = _file(_row(0.5, method="a"), _row(0.1, method="b"))
    gate = Gate("x", tuple(check_all(base, head)), 0.02)
    assert (gate.verdict, gate.exit_code()) == ("regressed", 1)
    assert (Gate("x", (), 0.02).verdict, Gate("x", (), 0.02).exit_code()) == ("error", 4)


def test_the_exact_tier_names_every_change() -> None:
    golden = _file(_row(0.5))
    assert exact(golden, golden)[0].verdict == "pass"
    changed = replace(golden.rows[0], scores=((1.0 - (golden.rows[0].scores[0][0] or 0), *golden.rows[0].scores[0][1:]),
                                              *golden.rows[0].scores[1:]))  # fmt: skip
    found = exact(golden, _file(changed))[0]
    assert found.verdict == "regressed"
    assert len(found.lost) == 1
    assert found.lost[0].startswith("seed 0, c0/q0: ")
    assert exact(golden, _file(_row(0.5, seeds=(7,))))[0].verdict == "incomparable"


def test_confirmation_needs_both_looks() -> None:
    base, head = _file(_row(0.5)), _file(_row(0.3))
    first = check_all(base, head)
    fine = confirm(base, head, _file(_row(0.9, draw=3, seeds=range(5, 10))), first, 0.02)[0]
    assert fine.verdict != "regressed"
    assert fine.confirmed_with == (5, 6, 7, 8, 9)
    bad = confirm(base, head, _file(_row(0.3, draw=3, seeds=range(5, 10))), first, 0.02)[0]
    assert bad.verdict == "regressed"
    assert "confirmed by 5 further seeds" in bad.reason
    assert bad.seeds == (5, 10)


def test_further_seeds_must_be_of_the_same_run() -> None:
    with pytest.raises(HarnessError, match="repeat seeds"):
        pool(_file(_row(0.5)), _file(_row(0.5)))
    with pytest.raises(HarnessError, match="not of the same run"):
        pool(_file(_row(0.5)), _file(_row(0.5, method="other", seeds=(9,))))


# --- the command -----------------------------------------------------------------------------------------------------


def _gate(folder: Path, *arguments: str) -> Result:
    out = ["--out", str(folder / "gate.json"), "--junit", str(folder / "out.xml"), "--summary", str(folder / "out.md")]
    return CliRunner().invoke(app, [*arguments, *out])


def _saved(folder: Path, found: ResultFile, name: str) -> str:
    return str(write(found, folder / name))


@pytest.mark.parametrize(("chance", "verdict", "code"), [(0.5, "pass", 0), (0.9, "improved", 0), (0.1, "regressed", 1)])
def test_exit_codes_and_reports(tmp_path: Path, chance: float, verdict: str, code: int) -> None:
    base, head = _saved(tmp_path, _file(_row(0.5)), "b.json"), _saved(tmp_path, _file(_row(chance)), "h.json")
    done = _gate(tmp_path, "--baseline", base, "--run", head)
    assert done.exit_code == code, done.output
    said = json.loads((tmp_path / "gate.json").read_text())
    assert (said["verdict"], said["exit_code"]) == (verdict, code)
    assert verdict in (tmp_path / "out.md").read_text()
    suite = ElementTree.parse(tmp_path / "out.xml").getroot().find("testsuite")
    assert suite is not None
    assert suite.get("failures") == str(int(verdict == "regressed"))


@pytest.mark.parametrize(("again", "code"), [(0.1, 1), (0.9, 0)])
def test_confirm_runs_further_seeds_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: float, code: int
) -> None:
    base = _saved(tmp_path, _file(_row(0.5)), "b.json")
    folder = tmp_path / "head"
    _saved(folder, _file(_row(0.1)), "result.json")
    record = {
        "given": {"method": "m", "seeds": 5}, "plugin_files": [], "layers": ["flags"],
        "resolved": {
            "method": "m", "seed": 0, "task": {"use": "facts"}, "model": {"use": "lab"},
            "arms": {"m": {"plugin": "p", "protocol": {"use": "single"}, "roles": {}}},
        },
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(record))
    asked: list[dict[str, object]] = []

    def run(config: dict[str, object], **_: object) -> SimpleNamespace:
        asked.append(config)
        return SimpleNamespace(result=_file(_row(again, draw=7, seeds=range(5, 8))))

    monkeypatch.setattr("harness.runs.runner.run", run)
    done = _gate(tmp_path, "--baseline", base, "--run", str(folder), "--confirm", "3")
    assert done.exit_code == code, done.output
    assert asked == [{"method": "m", "seed": 5, "seeds": 3, "leaderboard": ""}]
    assert json.loads((tmp_path / "gate.json").read_text())["checks"][0]["confirmed_with"] == [5, 6, 7]


def test_confirm_needs_the_folder_of_the_run(tmp_path: Path) -> None:
    base, head = _saved(tmp_path, _file(_row(0.5)), "b.json"), _saved(tmp_path, _file(_row(0.1)), "h.json")
    with pytest.raises(HarnessError, match="needs the run's folder") as caught:
        CliRunner().invoke(app, ["--baseline", base, "--run", head, "--confirm", "2"], catch_exceptions=False)
    assert caught.value.exit_code == 2


def test_inconclusive_fails_only_under_strict(tmp_path: Path) -> None:
    small = items(contexts=8)
    paths = [
        _saved(tmp_path, _file(row("m", 0.5, task=small, seeds=(0, 1, 2), draw=draw), task=small), f"{draw}.json")
        for draw in range(2)
    ]
    assert _gate(tmp_path, "--baseline", paths[0], "--run", paths[1]).exit_code == 0
    assert _gate(tmp_path, "--baseline", paths[0], "--run", paths[1], "--strict").exit_code == 5


def test_no_baseline_is_never_a_pass(tmp_path: Path) -> None:
    head = _saved(tmp_path, _file(_row(0.5)), "h.json")
    done = _gate(tmp_path, "--baseline", str(tmp_path / "none.json"), "--run", head)
    assert done.exit_code == 3
    assert "no baseline at" in done.stdout
    assert json.loads((tmp_path / "gate.json").read_text())["verdict"] == "incomparable"


def test_a_run_that_broke_is_an_error_with_reports(tmp_path: Path) -> None:
    base = _saved(tmp_path, _file(_row(0.5)), "b.json")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "config.json").write_text("{}")
    (tmp_path / "half.json").write_text(Path(base).read_text()[:500])
    for broken in ("cut", "half.json", "nowhere"):
        done = _gate(tmp_path, "--baseline", base, "--run", str(tmp_path / broken))
        assert done.exit_code == 4, broken
        assert (tmp_path / "out.xml").exists()
    empty = _saved(tmp_path, _file(_incomplete(_row(0.5), 180)), "h.json")
    assert _gate(tmp_path, "--baseline", base, "--run", empty).exit_code == 4


def test_wrong_use_writes_nothing(tmp_path: Path) -> None:
    base = _saved(tmp_path, _file(_row(0.5)), "b.json")
    for wrong in (["--margin", "2"], ["--confirm", "-1"], ["--reason", "x"], ["--accept"]):
        with pytest.raises(HarnessError) as caught:
            CliRunner().invoke(app, ["--baseline", base, "--run", base, "--out", str(tmp_path / "g.json"), *wrong],
                               catch_exceptions=False)  # fmt: skip
        assert caught.value.exit_code == 2
    assert not (tmp_path / "g.json").exists()


def test_accept_keeps_the_reasons(tmp_path: Path) -> None:
    baseline = tmp_path / "base" / "m.json"
    first, second = (
        _saved(tmp_path, _file(_row(0.5), run="one"), "1.json"),
        _saved(tmp_path, _file(_row(0.2), run="two"), "2.json"),
    )
    assert _gate(tmp_path, "--baseline", str(baseline), "--run", first, "--accept", "--reason", "first").exit_code == 0
    assert _gate(tmp_path, "--baseline", str(baseline), "--run", second).exit_code == 1
    done = _gate(tmp_path, "--accept", "--reason", "a new tokenizer")
    assert done.exit_code == 0, done.output
    kept = read(baseline)
    assert kept.run == "two"
    assert [(one["reason"], one["replaced"]) for one in kept.environment["accepted"]] == [
        ("first", ""), ("a new tokenizer", "one"),
    ]  # fmt: skip
    assert _gate(tmp_path, "--baseline", str(baseline), "--run", second).exit_code == 0


def test_an_incomplete_run_cannot_become_a_baseline(tmp_path: Path) -> None:
    head = _saved(tmp_path, _file(_incomplete(_row(0.5), 1)), "h.json")
    with pytest.raises(HarnessError, match="incomplete") as caught:
        CliRunner().invoke(app, ["--baseline", str(tmp_path / "b.json"), "--run", head, "--accept", "--reason", "x"],
                           catch_exceptions=False)  # fmt: skip
    assert caught.value.exit_code == 4
    assert not (tmp_path / "b.json").exists()


def test_junit_follows_the_common_schema(tmp_path: Path) -> None:
    etree = pytest.importorskip("lxml.etree", reason="lxml is not installed: the schema cannot be checked")
    base = _file(*(_row(0.5, method=name) for name in ("same", "worse", "gone", "<&\x01>")))
    head = _file(_row(0.5, method="same"), _row(0.1, method="worse"), _row(0.6, method="<&\x01>", draw=5))
    paths = _saved(tmp_path, base, "b.json"), _saved(tmp_path, head, "h.json")
    assert _gate(tmp_path, "--baseline", paths[0], "--run", paths[1]).exit_code == 1
    schema = etree.XMLSchema(etree.parse(str(Path(__file__).with_name("junit.xsd"))))
    schema.assertValid(etree.parse(str(tmp_path / "out.xml")))
