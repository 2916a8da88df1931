"""The offline judge: four measurements, and the marks that a fixed rule gives them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from harness_proxy_reward import bands
from harness_proxy_reward.offline import OfflineRubric, OfflineSettings
from hypothesis import given
from hypothesis import strategies as st

from harness.api import Completion, EditAsk, Group, Prompt, Request, Reward, SelfEdit, State
from harness.errors import UsageError
from harness.testing import ScriptedLM, ScriptedTask, open_session

PASSAGE = "The moon pulls the sea. The sun pulls it less."
TASK = ScriptedTask({"train": {"tides": (PASSAGE, {"What pulls?": ["the moon"]})}})


class Reader(ScriptedLM):
    """Words from the passage are likely while it is read; all others are unlikely."""

    def __init__(self) -> None:
        super().__init__({}, name="reader")

    def logprobs(self, asks: Sequence[tuple[State, Prompt, str]], /) -> list[list[float]]:
        known = PASSAGE.lower()
        return [
            [
                (-0.1 if word.strip(".").lower() in known else -9.0) if PASSAGE in str(prompt) else -2.0
                for word in text.split()
            ]
            for _, prompt, text in asks
        ]


def scored(folder: Path, *texts: str, **settings: object) -> tuple[Reward, ...]:
    state = State("scripted:reader")
    edits = tuple(
        SelfEdit(f"tides/{n}", "tides", (), actions=(Completion(Request(state, "?"), text),))
        for n, text in enumerate(texts)
    )
    [(episode, _)] = TASK.load("train")
    reward = OfflineRubric(OfflineSettings(**settings))  # type: ignore[arg-type]
    s = open_session(folder, TASK, {"judge": Reader()}, {"reward": ("reward", reward)})
    return s.reward([Group(EditAsk(episode, state, len(texts), 0), edits)])[0].rewards


def test_each_criterion_has_its_own_mark(tmp_path: Path) -> None:
    good, wrong, twice, empty = scored(
        tmp_path,
        "The moon pulls the sea.\nThe sun pulls it less.",
        "The moon pulls Berlin.\nThe sun eats it less.",
        "The moon pulls the sea.\nThe moon pulls the sea.",
        "",
    )
    assert good.measures["correctness"] == 5
    assert good.measures["length"] == 5
    assert wrong.measures["correctness"] == 1
    assert twice.measures["diversity"] == 1 < good.measures["diversity"]
    assert [empty.measures[name] for name in ("length", "diversity", "quality", "correctness")] == [1, 1, 1, 1]
    for reward in (good, wrong, twice, empty):
        assert reward.value == sum(reward.measures[name] for name in ("length", "diversity", "quality", "correctness"))


def test_the_measurements_are_reported_beside_the_marks(tmp_path: Path) -> None:
    [reward] = scored(tmp_path, "The moon pulls Berlin.\nThe sun pulls it less.")
    assert reward.measures["measured"]["confirmed"] == 0.5
    assert reward.measures["measured"]["log_probability"] == pytest.approx((8 * -0.1 - 9.0) / 9)
    assert reward.measures["measured"]["relative_length"] == pytest.approx(9 / 10)


@given(st.floats(0.001, 1000), st.floats(0.01, 10), st.floats(1, 10))
def test_the_length_mark_is_5_within_the_band_and_falls_outside(ratio: float, low: float, width: float) -> None:
    mark = bands.length_mark(ratio, low, low * width)
    assert 1 <= mark <= 5
    assert (mark == 5) == (low * (1 - 1e-9) <= ratio <= low * width * (1 + 1e-9)) or mark == 5
    further = ratio / 2 if ratio < low else ratio * 2 if ratio > low * width else ratio
    assert bands.length_mark(further, low, low * width) <= mark


def test_length_marks_fall_by_one_for_each_factor_of_root_two() -> None:
    assert [bands.length_mark(1 / 2**half, 1.0, 1.0) for half in (0, 0.5, 1, 1.5, 2, 3)] == [5, 4, 3, 2, 1, 1]


@given(st.lists(st.text("abc xyz", min_size=1), max_size=6))
def test_overlap_is_a_share_and_full_for_a_doubled_edit(lines: list[str]) -> None:
    found = bands.lines_of("\n".join(lines))
    assert 0.0 <= bands.overlap(found) <= 1.0
    if found:
        assert bands.overlap(found * 2) == pytest.approx(1.0)


def test_one_doubtful_word_is_enough_and_doubt_is_a_setting(tmp_path: Path) -> None:
    text = "The moon pulls Berlin.\nThe sun pulls it less."
    [strict] = scored(tmp_path / "a", text)
    [lenient] = scored(tmp_path / "b", text, doubt=1e-5)
    assert (strict.measures["measured"]["confirmed"], lenient.measures["measured"]["confirmed"]) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"quality": (-1.0, -2.0, -3.0, -4.0)}, "quality"), ({"length_low": 3.0}, "length_low")],
)
def test_bands_that_make_no_sense_are_refused(settings: dict[str, object], name: str) -> None:
    with pytest.raises(UsageError, match=name):
        OfflineRubric(OfflineSettings(**settings))  # type: ignore[arg-type]
