"""Score against synthetic tokens: nested texts, the fit and its interval, and the command on a run's folder."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from harness_entigraph.scaling import Point, fit, points_of
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cli import main
from harness.errors import UsageError
from tests.entigraph.test_editor import learnt, proposed, session, writer


def code(*arguments: str) -> object:
    with pytest.raises(SystemExit) as stopped:
        main(["entigraph-scaling", *arguments])
    return stopped.value.code


def row(name: str, tokens: int, right: list[float], each: int = 10) -> Point:
    return Point(
        name, tokens, {str(i): value for i, value in enumerate(right)}, {str(i): float(each) for i in range(len(right))}
    )


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.05, 0.08), st.floats(0.1, 0.4), st.lists(st.integers(3, 18), min_size=3, max_size=6, unique=True))
def test_a_line_is_found_again(slope: float, start: float, doublings: list[int]) -> None:
    points = [row(f"r{k}", 2**k, [10 * (start + slope * k)] * 5) for k in sorted(doublings)]
    found = fit(points, draws=50)
    assert found.per_doubling == pytest.approx(slope, abs=1e-9)
    assert found.at_one == pytest.approx(start, abs=1e-9)
    assert found.interval.low == pytest.approx(found.interval.high, abs=1e-9), "contexts do not differ"
    if abs(slope) > 1e-3:
        assert found.explained == pytest.approx(1, abs=1e-6)


def test_the_interval_is_that_of_contexts() -> None:
    """Slopes that differ by context with a standard deviation of 2 points: their mean of 100 has one of 0.2."""
    rng = np.random.default_rng(1)
    slopes = rng.normal(0.04, 0.02, 100)
    found = fit([row(f"r{k}", 2**k, list(10 * (0.2 + slopes * k))) for k in (4, 6, 8)])
    assert found.interval.low < 0.04 < found.interval.high
    assert found.interval.high - found.interval.low == pytest.approx(2 * 1.96 * 0.02 / math.sqrt(100), rel=0.25)


def test_what_has_no_line_is_refused() -> None:
    with pytest.raises(UsageError, match="three rows"):
        fit([row("a", 4, [1]), row("b", 8, [1]), row("c", 8, [1])])
    with pytest.raises(UsageError, match="0 has no logarithm"):
        fit([row("a", 0, [1]), row("b", 8, [1]), row("c", 16, [1])])
    with pytest.raises(UsageError, match="same questions"):
        fit([row("a", 4, [1]), row("b", 8, [1]), row("c", 16, [1], each=9)])


def test_a_smaller_share_has_some_of_the_same_texts(tmp_path: Path) -> None:
    kept = [
        set(learnt(s, proposed(s)[0]))
        for share in (0.0, 0.4, 0.7, 1.0)
        for s in [session(tmp_path / str(share), writer, pairs=-1, triples=-1, summary=False, share=share)]
    ]
    assert kept[0] < kept[1] <= kept[2] < kept[3]
    assert len(kept[0]) == 1, "the passage"
    assert len(kept[3]) == 6 + 4 + 1


def test_the_command_reads_a_finished_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    for part in ("edits", "scores"):
        (run / part).mkdir(parents=True)
    for name, words, right in (("share-0.25", 8, 1), ("share-0.5", 16, 2), ("entigraph", 32, 3)):
        texts = [{"name": "lines", "args": {"text": "word " * words}}, {"name": "passage", "args": {}}]
        (run / "edits" / f"{name}-0.jsonl").write_text(json.dumps({"edits": [{"data": texts}]}) + "\n", "utf-8")
        scores = [{"episode": "e", "value": float(n < right)} for n in range(4)]
        (run / "scores" / f"{name}-0.jsonl").write_text("".join(json.dumps(one) + "\n" for one in scores), "utf-8")
    (run / "scores" / "none-0.jsonl").write_text('{"episode": "e", "value": 0.0}\n', "utf-8")
    assert [(point.name, point.tokens, point.score) for point in points_of(run)] == [
        ("share-0.25", 8, 0.25), ("share-0.5", 16, 0.5), ("entigraph", 32, 0.75),
    ]  # fmt: skip
    assert code("--of", str(run)) == 0
    assert "25.0 (25.0 to 25.0) points for each doubling" in capsys.readouterr().out
    assert code("--of", str(tmp_path / "nowhere")) == 2
    assert code("--shares", "0.5,1") == 2
