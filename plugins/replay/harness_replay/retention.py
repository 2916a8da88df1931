"""Retention matrices of continual self-editing (SEAL, arXiv 2506.10943, figure 6), and the figures computed from them.

``matrix[i][j]`` is the accuracy on passage j after i edits; row 0 is the model before any edit. A file holds means and
standard deviations over sequences, and zeros above the diagonal (passages not yet met), which are missing, not zero:
forward transfer therefore cannot be computed. The published overall file averages the runs' standard deviations;
:func:`pool` computes the pooled one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import stats
from harness.reading import conform
from harness.stats.retention import figures
from harness_replay.questions import LogError, load_json
from harness_replay.schemas import RetentionFile


@dataclass(frozen=True)
class Retention:
    """One file: ``mean`` and ``std`` have shape ``[edits + 1, passages]``, with NaN where nothing was measured."""

    path: Path
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    sequences: int
    model: str


def is_retention(raw: Any) -> bool:
    return isinstance(raw, dict) and "mean_over_sequences" in raw


def read_retention(path: Path) -> Retention:
    """Read one matrix file. Raises :class:`LogError` if the matrices do not have the shape of a retention matrix."""
    raw = load_json(path)
    if not is_retention(raw):
        raise LogError(f"{path}: not a retention matrix: no mean_over_sequences in it")
    checked = conform(RetentionFile, raw, f"{path}: malformed", LogError)
    try:
        mean = np.array(checked.mean_over_sequences, dtype=np.float64)
        std = np.array(checked.std_over_sequences, dtype=np.float64)
    except ValueError:
        raise LogError(f"{path}: malformed: the rows of a matrix are of different lengths") from None
    if mean.ndim != 2 or mean.shape[0] != mean.shape[1] + 1 or mean.shape != std.shape:
        raise LogError(f"{path}: matrices of shape {mean.shape} and {std.shape}; both must be (n + 1, n)")
    if mean.shape[1] < 2:
        raise LogError(f"{path}: a matrix of one passage, on which retention is not defined")
    unmet = np.triu(np.ones(mean.shape, dtype=bool), 0)
    unmet[0] = False
    return Retention(path, _blank(mean, unmet), _blank(std, unmet), checked.n_sequences, checked.base_model)


def _blank(matrix: NDArray[np.float64], unmet: NDArray[np.bool_]) -> NDArray[np.float64]:
    out = matrix.copy()
    out[unmet] = np.nan
    return out


def pool(runs: Sequence[Retention]) -> Retention:
    """Several runs as one: the mean over all sequences, and their pooled standard deviation (n-1).

    With run means m, standard deviations s and n sequences each, the sum of squares over all sequences is
    ``sum((n - 1) s^2 + n m^2)``.
    """
    shapes = {run.mean.shape for run in runs}
    if len(shapes) != 1:
        raise LogError(f"matrices of different shapes cannot be pooled: {sorted(shapes)}")
    count = sum(run.sequences for run in runs)
    total = sum(run.sequences * run.mean for run in runs)
    squares = sum((run.sequences - 1) * run.std**2 + run.sequences * run.mean**2 for run in runs)
    mean = np.asarray(total, dtype=np.float64) / count
    variance = (np.asarray(squares, dtype=np.float64) - count * mean**2) / max(1, count - 1)
    return Retention(Path("pooled"), mean, np.sqrt(np.clip(variance, 0, None)), count, runs[0].model)


def summary(one: Retention, runs: Sequence[Retention] = ()) -> dict[str, Any]:
    """The figures as one JSON object; with the ``runs`` behind a pooled matrix, intervals over runs."""
    found = figures(one.mean)
    passages = one.mean.shape[1]
    intervals = _intervals(runs) if len(runs) > 1 else {}
    return {
        "file": one.path.name,
        "kind": "published",
        "layout": "retention",
        "average": "macro",
        "macro": found.final,
        "micro": None,
        "baseline_macro": found.base,
        "n_contexts": passages,
        "n_queries": None,
        "seeds": one.sequences,
        "scored": int(np.isfinite(one.mean).sum()),
        "expected": passages + passages * (passages + 1) // 2,
        "ci95": intervals.get("final"),
        "base": found.base,
        "net_gain": found.gain,
        "learned": found.learning,
        "final": found.final,
        "backward_transfer": found.backward,
        "backward_transfer_ci95": intervals.get("backward_transfer"),
        "forward_transfer": found.forward,
        "forgetting": found.forgetting,
        "forgetting_ci95": intervals.get("forgetting"),
        "mean": _listed(one.mean),
        "std": _listed(one.std),
        "std_is": "pooled over sequences" if runs else "as published",
        "start_model": one.model,
        "complete": True,
        "notes": ["zeros above the diagonal are passages not yet met: missing, so forward transfer is not computable"]
        + ([] if intervals else ["means only: no rows of single sequences, so no interval"]),
    }


_WITH_INTERVALS = {"final": "final", "backward_transfer": "backward", "forgetting": "forgetting"}


def _intervals(runs: Sequence[Retention]) -> dict[str, list[float]]:
    """Percentile intervals of the pooled matrix's figures over resampled runs, each weighted by its sequences."""
    weights = np.array([run.sequences for run in runs], dtype=np.float64)
    times = np.random.default_rng([stats.SEED, 4]).multinomial(len(runs), [1 / len(runs)] * len(runs), size=stats.DRAWS)
    shares = times * weights / (times @ weights)[:, None]
    drawn = [figures(mean) for mean in np.tensordot(shares, np.stack([run.mean for run in runs]), axes=1)]
    out = {}
    for name, field in _WITH_INTERVALS.items():
        found = stats.interval(np.array([getattr(one, field) for one in drawn]))
        out[name] = [found.low, found.high]
    return out


def _listed(matrix: NDArray[np.float64]) -> list[list[float | None]]:
    return [[None if np.isnan(cell) else round(float(cell), 4) for cell in row] for row in matrix]


def published_std_gap(overall: Retention, runs: Sequence[Retention]) -> float:
    """The largest gap between the standard deviations in the overall file and the pooled ones."""
    return float(np.nanmax(np.abs(overall.std - pool(runs).std)))


def mean_gap(overall: Retention, runs: Sequence[Retention]) -> float:
    """The largest gap between the overall file's means and those of the runs."""
    return float(np.nanmax(np.abs(overall.mean - pool(runs).mean)))
