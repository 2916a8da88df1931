"""How often the gate errs: false alarms on equal runs, and true drops that it misses.

    python benchmarks/gate.py [--run RESULT.json | --effects SEED.json ...] [--comparisons 2000] [--json out.json]

Base and head are simulated rows of 100 contexts with 5 questions, K seeds each, scored right or wrong. A seed covers
everything stochastic, the policy's training included, so all of a seed's scores share one deviation. Scores follow a
linear mixed model on the probability scale, clipped to [0.02, 0.98]: mean + context + question + seed + seed x context,
the first two shared by base and head. The variance components come from a measured result file (``--run``: its first
row with at least 3 seeds, by analysis of variance), from the per-seed files of ``benchmarks/lab_effects.py``
(``--effects``), or, without either, from the assumptions written below; they are printed.

Every comparison goes through the gate's own code (:func:`harness.evidence.gate.verdict.check_all`).
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from harness.evidence.gate.verdict import LEVEL, MARGIN, check_all
from harness.evidence.result import SCHEMA, Card, ModelCard, ResultFile, Row, TaskItems, make_row, single_table
from harness.evidence.result_file import read
from harness.files import write_text

CONTEXTS, QUESTIONS = 100, 5
EFFECT_QUESTIONS = 6
"""Questions of a page in ``benchmarks/lab_effects.py``."""


@dataclass(frozen=True)
class Components:
    """Standard deviations on the probability scale."""

    mean: float
    context: float
    question: float
    seed: float
    seed_context: float
    source: str


# SEAL's published logs give a mean of 0.40 and a standard deviation of 0.28 between contexts. How far another training
# of the policy moves a run's mean is an assumption: the logs hold one training run. Used only without a measured file.
FALLBACK = Components(
    0.40, 0.24, 0.25, 0.02, 0.08, "assumptions near the published logs' spread; no measured file given"
)


def components(path: Path, method: str | None) -> Components:
    """Moment estimates from a row's scores ``[seed, context, question]``; negative variances count as 0."""
    found = read(path)
    row = next(
        (one for one in found.rows if len(one.seeds) >= 3 and one.complete and method in (None, one.method)), None
    )
    if row is None:
        raise SystemExit(f"{path}: no complete row with at least 3 seeds" + (f" called {method!r}" if method else ""))
    scores = np.array(row.scores, dtype=float)
    sizes = [len(queries) for _, queries in found.task.items]
    blocks = [scores[:, a:b] for a, b in pairwise(np.cumsum([0, *sizes])) if b - a > 1]
    seeds, contexts, size = len(row.seeds), len(blocks), float(np.mean(sizes))
    if contexts < 2:
        raise SystemExit(f"{path}: contexts of one query each do not show how queries differ")
    means = np.stack([block.mean(axis=1) for block in blocks], axis=1)
    cell = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    cell_variance = float((cell**2).sum() / ((seeds - 1) * (contexts - 1)))  # seed x context, and coin / questions
    coin = float(np.mean([_coin(block) for block in blocks]))
    question = max(0.0, float(np.mean([block.mean(axis=0).var(ddof=1) for block in blocks])) - coin / seeds)
    context = max(0.0, float(means.mean(axis=0).var(ddof=1)) - question / size - cell_variance / seeds)
    seed = max(0.0, float(means.mean(axis=1).var(ddof=1)) - cell_variance / contexts)
    seed_context = max(0.0, cell_variance - coin / size)
    return Components(
        float(means.mean()), *(float(np.sqrt(one)) for one in (context, question, seed, seed_context)),
        f"{path.name}, row {row.method}, {seeds} seeds, {contexts} contexts",
    )  # fmt: skip


def from_effects(paths: list[Path], method: str) -> Components:
    """Bounds from the page means of ``lab_effects``, whose pages differ by seed. Components that these cannot separate
    are counted as the kind that is harder for the gate: the deviation of seed means in full (pages add to it), a page's
    own level as seed x context, and everything else as noise."""
    files = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    pages = np.array([one["accuracy"][method] for one in files])
    if len(pages) < 3:
        raise SystemExit("--effects needs the files of at least 3 seeds")
    chance = float((pages * (1 - pages) / (EFFECT_QUESTIONS - 1)).mean())
    level = max(0.0, float(pages.var(axis=1, ddof=1).mean()) - chance)
    return Components(
        float(pages.mean()), 0.0, 0.0, float(pages.mean(axis=1).std(ddof=1)), float(np.sqrt(level)),
        f"lab_effects, {method}, {len(pages)} seeds with a policy trained for each, {pages.shape[1]} pages a seed",
    )  # fmt: skip


def _coin(block: np.ndarray) -> float:
    """Variance of a score around its question's and seed's level, from a ``[seed, question]`` block."""
    rest = block - block.mean(axis=0) - block.mean(axis=1, keepdims=True) + block.mean()
    seeds, questions = block.shape
    return float((rest**2).sum() / ((seeds - 1) * (questions - 1)))


class World:
    """Draws pairs of rows."""

    def __init__(self, parts: Components, seeds: int, rng: np.random.Generator) -> None:
        self._parts, self._seeds, self._rng = parts, seeds, rng
        items = tuple((f"c{c}", tuple(f"c{c}/{q}" for q in range(QUESTIONS))) for c in range(CONTEXTS))
        self._task = TaskItems("simulated", "1", "test", "right", items)

    def pair(self, shift: float) -> tuple[ResultFile, ResultFile]:
        """Base and head on the same contexts and questions; head's levels are lower by ``shift``."""
        level = self._levels(CONTEXTS)
        return self._file(level), self._file(level - shift)

    def shift(self, drop: float) -> float:
        """The shift of levels that lowers the mean chance by ``drop``; larger than it where chances are clipped."""
        level = self._levels(20_000)
        run = self._rng.normal(0, np.hypot(self._parts.seed, self._parts.seed_context), level.shape)
        low, high = 0.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            lost = float((_chance(level + run) - _chance(level + run - middle)).mean())
            low, high = (middle, high) if lost < drop else (low, middle)
        return high

    def _levels(self, contexts: int) -> np.ndarray:
        parts, rng = self._parts, self._rng
        return (
            parts.mean
            + rng.normal(0, parts.context, (contexts, 1))
            + rng.normal(0, parts.question, (contexts, QUESTIONS))
        )

    def _file(self, level: np.ndarray) -> ResultFile:
        parts, rng = self._parts, self._rng
        run = rng.normal(0, parts.seed, (self._seeds, 1, 1)) + rng.normal(
            0, parts.seed_context, (self._seeds, CONTEXTS, 1)
        )
        chance = _chance(level + run)
        scores = (rng.random(chance.shape) < chance).astype(float).reshape(self._seeds, -1)
        task = self._task
        conditions = {
            "task": task.name,
            "version": task.version,
            "items": "simulated",
            "metric": task.metric,
            "base_model": "",
        }
        row: Row = make_row(
            scores=scores.tolist(), status=["o" * scores.shape[1]] * self._seeds, queries=scores.shape[1], method="m",
            plugin="simulated", card=Card(), protocol="single", editor_model="", start_model="", conditions=conditions,
            seeds=tuple(range(self._seeds)),
        )  # fmt: skip
        return ResultFile(
            SCHEMA, "simulated", "measured", "benchmarks/gate.py", ModelCard("simulated"), {},
            single_table(task, [row]),
        )  # fmt: skip


def _chance(level: np.ndarray) -> np.ndarray:
    return np.clip(level, 0.02, 0.98)


def share_regressed(parts: Components, seeds: int, drop: float, comparisons: int, root: int) -> dict[str, float]:
    """How often the gate says ``regressed``, with the binomial standard error, the mean observed drop, and how often
    the gate's interval covers the true one."""
    world = World(parts, seeds, np.random.default_rng([root, seeds, round(1000 * drop)]))
    shift = world.shift(drop) if drop else 0.0
    verdicts, seen, covered = [], [], []
    for _ in range(comparisons):
        check = check_all(*world.pair(shift))[0]
        low, high = check.ci90 or (0.0, 0.0)
        verdicts.append(check.verdict == "regressed")
        seen.append(check.difference or 0.0)
        covered.append(low <= -drop <= high)
    share = float(np.mean(verdicts))
    return {
        "seeds": seeds,
        "true_drop": drop,
        "mean_difference": float(np.mean(seen)),
        "share_regressed": share,
        "standard_error": float(np.sqrt(share * (1 - share) / comparisons)),
        "covered": float(np.mean(covered)),
    }


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--run", type=Path, help="measured result file for the variance components")
    reader.add_argument("--effects", type=Path, nargs="+", help="per-seed files of benchmarks/lab_effects.py")
    reader.add_argument("--method", help="the row of it, or the condition (seal by default)")
    reader.add_argument("--comparisons", type=int, default=2000)
    reader.add_argument("--root-seed", type=int, default=0)
    reader.add_argument("--json", type=Path, help="write the figures here too")
    reader.add_argument("--markdown", type=Path, help="write them as a page (benchmarks/GATE.md)")
    given = reader.parse_args()
    parts = FALLBACK
    if given.run:
        parts = components(given.run, given.method)
    elif given.effects:
        parts = from_effects(given.effects, given.method or "seal")
    print(f"variance components (standard deviations): {parts}")
    print(f"{CONTEXTS} contexts x {QUESTIONS} questions, margin {MARGIN}, {given.comparisons} comparisons each")
    started, found = time.monotonic(), []
    for name, seeds, drop, limit in (
        ("false alarms, 5 seeds", 5, 0.0, "at most 0.08"),
        ("false alarms, 3 seeds", 3, 0.0, "at most 0.10"),
        ("drop of 8 points caught, 5 seeds", 5, 0.08, "at least 0.90"),
        ("drop of 8 points caught, 3 seeds", 3, 0.08, "shown"),
    ):
        one = share_regressed(parts, seeds, drop, given.comparisons, given.root_seed)
        found.append({"name": name, "target": limit, **one})
        print(
            f"{name}: {one['share_regressed']:.3f} (s.e. {one['standard_error']:.3f}; target {limit}; "
            f"mean difference {100 * one['mean_difference']:+.1f} points; the {100 * LEVEL:g}% interval holds the "
            f"truth in {one['covered']:.3f})",
            flush=True,
        )
    print(f"{time.monotonic() - started:.0f} s")
    if given.json:
        write_text(given.json, json.dumps({"components": asdict(parts), "figures": found}, indent=1) + "\n")
    if given.markdown:
        command = f"python benchmarks/gate.py --comparisons {given.comparisons}"
        if given.effects:
            command += " --effects " + " ".join(f"lab_effects/{path.name}" for path in given.effects)
        if given.run:
            command += f" --run {given.run}" + (f" --method {given.method}" if given.method else "")
        write_text(given.markdown, page(asdict(parts), found, command))


def page(parts: dict[str, Any], found: list[dict[str, Any]], command: str) -> str:
    """The figures as a Markdown page."""
    names = ("mean", "context", "question", "seed", "seed_context")
    said = ", ".join(f"{name.replace('_', ' x ')} {parts[name]:.3f}" for name in names)
    lines = [
        f"<!-- made by `{command} --markdown benchmarks/GATE.md` -->",
        "# How often the gate errs",
        "",
        f"Simulated rows of {CONTEXTS} contexts x {QUESTIONS} questions through the gate's own code, margin "
        f"{100 * MARGIN:g} points. Variance components (the mean, then standard deviations, all on the probability "
        f"scale): {said}; from {parts['source']}.",
        "",
        "| | seeds | true drop | mean difference | `regressed` | s.e. | target | "
        f"{100 * LEVEL:g}% interval holds the truth |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        lines.append(
            f"| {one['name']} | {one['seeds']} | {100 * one['true_drop']:g} | {100 * one['mean_difference']:+.1f} | "
            f"{one['share_regressed']:.3f} | {one['standard_error']:.3f} | {one['target']} | "
            f"{one['covered']:.3f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
