"""The outer loops of a run's page: rewards, losses, and what every round measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from harness.escape import html
from harness.evidence.leaderboard.table import percent
from harness.evidence.plots import Axis, Point, Series, plot
from harness.evidence.view.data import Shown
from harness.evidence.view.parts import chip, colour, scrolling

WIDE = 8
"""Measures of a round that fit beside each other; more are written below each other."""


def outer_loops(rows: Sequence[Shown]) -> str:
    """Rewards, what was kept, losses, reliability and diagnoses, row by row; "" where there is no outer loop."""
    made = []
    for at, row in enumerate(rows):
        for seed, rounds in row.run.rows[row.method].rounds.items():
            if any(one["candidates"] or one["updates"] or one["metrics"] or one["diagnoses"] for one in rounds):
                made.append(_loop(f"loop{at}-{seed}", at, row, seed, rounds))
    return "".join(made)


def _loop(name: str, at: int, row: Shown, seed: int, rounds: Sequence[Mapping[str, Any]]) -> str:
    drawn = [_rewards(f"{name}-rewards", row, rounds), _round_measures(f"{name}-loss", row, rounds)]
    figures = "".join(one for one in drawn if one)
    columns = list(dict.fromkeys(key for one in rounds for key in (*_plain(one["metrics"]), *_diagnoses(one))))
    lines = [("round", "validation", *(key.replace("_", " ") for key in columns), "tested")]
    for one in rounds:
        said = {**_plain(one["metrics"]), **_diagnoses(one)}
        place = "–" if one["round"] is None else str(one["round"])
        chosen = "yes" if one["chosen"] else ""
        lines.append((place, percent(one["validation"]), *(said.get(key, "–") for key in columns), chosen))
    if len(columns) > WIDE:
        lines = list(zip(*lines, strict=True))  # a line per measure, a column per round
    head = "".join(f'<th scope="col">{html(cell)}</th>' for cell in lines[0])
    body = ["<tr>" + "".join(f"<td>{html(cell)}</td>" for cell in line) + "</tr>" for line in lines[1:]]
    return (
        f'<section class="loop"><h3>{chip(row)}, seed {seed}</h3><div class="plots">{figures}</div>'
        f"{scrolling(f'<table><thead><tr>{head}</tr></thead><tbody>{chr(10).join(body)}</tbody></table>')}"
        f'<details class="candidates" data-row="{at}" data-seed="{seed}"><summary>Every candidate by round</summary>'
        f"<div></div></details></section>"
    )


def _rewards(name: str, row: Shown, rounds: Sequence[Mapping[str, Any]]) -> str:
    """Every candidate's reward by round; of very many, the first of each round."""
    lost: list[Point] = []
    kept_points: list[Point] = []
    means: list[Point] = []
    for one in rounds:
        if not one["round"]:
            continue
        kept = {edit for update in one["updates"] for edit in update["edits"]}
        known = []
        for candidate in one["candidates"]:
            value = next((reward["value"] for reward in candidate.get("rewards", {}).values()), None)
            if value is not None:
                known.append((candidate["edit"], value))
        for place, (edit, value) in enumerate(known[:200]):
            at = one["round"] + ((place % 21) - 10) / 60
            point = Point(at, value, f"{edit}: {value:.3g}{', kept' if edit in kept else ''}")
            (kept_points if edit in kept else lost).append(point)
        if known:
            mean = fmean(value for _, value in known)
            means.append(Point(one["round"], mean, f"mean of round {one['round']}: {mean:.3g}"))
    if not means:
        return ""
    series = [
        Series("not kept", "var(--faint)", lost, line=False),
        Series("kept", colour(row), kept_points, line=False),
        Series("mean", "var(--ink)", means),
    ]
    return plot(name, "Reward of every candidate by round; those kept are what the policy then learnt from.",
                Axis("round", whole=True), Axis("reward", zero=True), series)  # fmt: skip


def _round_measures(name: str, row: Shown, rounds: Sequence[Mapping[str, Any]]) -> str:
    losses = [
        Point(one["round"], update["log"]["loss"], f"round {one['round']}: {update['log']['loss']:.3g}")
        for one in rounds
        for update in one["updates"][:1]
        if one["round"] and isinstance(update["log"].get("loss"), int | float)
    ]
    if not losses:
        return ""
    return plot(name, "The policy's loss at the last step of each round's update.", Axis("round", whole=True),
                Axis("loss", zero=True), [Series("policy loss", colour(row), losses)])  # fmt: skip


def _plain(values: Mapping[str, Any]) -> dict[str, str]:
    """Measures as short texts; an interval as ``0.31 [0.10, 0.52]``."""
    out = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and isinstance(value.get("value"), int | float):
            spread = f" [{value['low']:.2f}, {value['high']:.2f}]" if {"low", "high"} <= set(value) else ""
            out[name] = f"{value['value']:.2f}{spread}"
        elif isinstance(value, bool | str):
            out[name] = str(value)
        elif isinstance(value, int | float):
            out[name] = f"{value:.3g}" if isinstance(value, float) else str(value)
    return out


def _diagnoses(one: Mapping[str, Any]) -> dict[str, str]:
    return {f"{d['name']}: right": f"{d['right']} of {d['compared']}" for d in one["diagnoses"]}
