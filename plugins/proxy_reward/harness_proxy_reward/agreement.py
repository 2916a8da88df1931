"""The reward ``beside-trial``: the proxy reward is used, with the true reward of the same edits beside it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from statistics import fmean
from typing import Any, ClassVar

from harness.api import Group, Reward, RewardFunction, Session
from harness_proxy_reward.correlation import Correlation, Pairs, spearman

_log = logging.getLogger("harness")


class BesideTrial(RewardFunction):
    """Returns the rewards of ``proxy``, and reports how well they agree with those of ``true``.

    ``measures["true"]`` of each reward holds the true one. Each round's agreement is shown in one line and kept in the
    run's journal under ``proxy-reward/agreement/<first edit>``: Spearman's coefficient over all edits and within
    contexts, with intervals over contexts; the true reward of the proxy's choices, of a random and of the best choice;
    and the seconds that each reward took (few if its answers were already in the journal).
    """

    nested: ClassVar[Mapping[str, str]] = {"proxy": "reward", "true": "reward"}

    def __init__(self, proxy: RewardFunction, true: RewardFunction) -> None:
        self._proxy = proxy
        self._true = true

    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        """The proxy's rewards, in order."""
        start = time.perf_counter()
        guessed = self._proxy.score(groups, s)
        between = time.perf_counter()
        true = self._true.score(groups, s)
        seconds = {"proxy": between - start, "true": time.perf_counter() - between}
        if any(group.edits for group in groups):
            first = next(group.edits[0].id for group in groups if group.edits)
            report = {**agreement(guessed, true, s.seed("agreement", first)), "seconds": seconds}
            s.keep(f"proxy-reward/agreement/{first}", report)
            _log.info("%s", _line(report))
        return [
            [
                replace(mine, measures={**mine.measures, "true": {"value": other.value, **other.measures}})
                for mine, other in zip(row, others, strict=True)
            ]
            for row, others in zip(guessed, true, strict=True)
        ]


def agreement(proxy: Sequence[Sequence[Reward]], true: Sequence[Sequence[Reward]], seed: int) -> dict[str, Any]:
    """How well two rewards of the same edits agree; only edits that have both, and did not fail, are compared."""
    contexts: list[Pairs] = []
    for row, others in zip(proxy, true, strict=True):
        pairs = [
            (mine.value, other.value)
            for mine, other in zip(row, others, strict=True)
            if mine.status == "ok" and mine.value is not None and other.value is not None
        ]
        if pairs:
            contexts.append(pairs)
    report: dict[str, Any] = {
        "contexts": len(contexts),
        "edits": sum(map(len, contexts)),
        "spearman": asdict(spearman(contexts, within=False, seed=seed)),
        "spearman_within": asdict(spearman(contexts, within=True, seed=seed)),
    }
    if contexts:
        report["chosen"] = fmean(max(pairs, key=lambda pair: pair[0])[1] for pairs in contexts)
        report["random"] = fmean(fmean(true for _, true in pairs) for pairs in contexts)
        report["best"] = fmean(max(true for _, true in pairs) for pairs in contexts)
    return report


def _line(report: Mapping[str, Any]) -> str:
    share = report["seconds"]["proxy"] / max(1e-9, report["seconds"]["true"])
    said = (
        f"proxy reward against the true one: Spearman {_shown(report['spearman'])}, within contexts "
        f"{_shown(report['spearman_within'])}, on {report['edits']} edits of {report['contexts']} contexts"
    )
    if "chosen" in report:
        said += (
            f"; true reward of its choices {report['chosen']:.3f} (random {report['random']:.3f}, "
            f"best {report['best']:.3f})"
        )
    return f"{said}; it took {100 * share:.1f}% of the trials' time"


def _shown(found: Mapping[str, float | None]) -> str:
    one = Correlation(**found)
    if one.value is None:
        return "undefined (no variation)"
    interval = "" if one.low is None else f" [{one.low:+.2f}, {one.high:+.2f}]"
    return f"{one.value:+.2f}{interval}"
