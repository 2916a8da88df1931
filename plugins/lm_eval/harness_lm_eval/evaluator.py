"""Scores states by lm-eval's own requests, filters and metrics.

The requests of a task are built once. One bulk call per model and kind of request asks all states, the frozen base
among them; then every state's answers go through the task's filters and metrics.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.api import Ask, Completion, Evaluator, Prompt, References, Request, Score, Session, State
from harness.errors import UsageError, nearest
from harness_lm_eval.library import Loaded, contained, load
from harness_lm_eval.requests import generation, pair

_Place = tuple[str, str, tuple[str, ...], int]
"""A task, a model's base and adapters, and the seed of what is sampled."""


@dataclass(frozen=True)
class _Answer:
    """The answer to one request: what lm-eval's scoring is handed, and how the model's call ended."""

    response: Any
    status: str = "ok"
    reason: str = ""


class LmEval(Evaluator):
    """Grades the task ``lm-eval``. Needs a model that can give log-probabilities, where a task compares continuations.

    A score's ``measures`` are all of the task's metrics for the document, and ``before``: the value of the model
    without any adapter.
    """

    metric = "lm-eval"

    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        """The scores of each ask's documents, ask by ask.

        Raises:
            UsageError: it is asked about another task, the task has no such metric, or a metric is not a share.
        """
        spec = getattr(s.task, "spec", None)
        if spec is None:
            raise UsageError(f"evaluator lm-eval grades the task lm-eval only, not {s.task.name!r}")
        tasks = load(spec)
        pairs: dict[_Place, None] = {}
        for ask in asks:
            for adapters in ((), ask.state.adapters):
                pairs[ask.episode.id, ask.state.base, adapters, ask.seed] = None
        answers = _ask(s, tasks, list(pairs))
        known: dict[_Place, list[Score]] = {}
        for place in pairs:
            loaded = tasks[place[0]]
            with contained():
                known[place] = _scores(loaded, answers[place], metric_of(loaded, spec["metric"]))
        for ask in asks:
            before = known[ask.episode.id, ask.state.base, (), ask.seed]
            after = known[ask.episode.id, ask.state.base, ask.state.adapters, ask.seed]
            asked = {query.id for query in ask.episode.queries}
            yield [
                Score(one.episode, one.query, one.value, one.status, one.answers, _beside(one, first))
                for one, first in zip(after, before, strict=True)
                if one.query in asked
            ]


def metric_of(loaded: Loaded, wanted: str) -> tuple[str, str]:
    """Name and filter of the metric that becomes the score.

    Raises:
        UsageError: the task has no such metric, or a smaller value of it is better.
    """
    higher = dict(loaded.task.higher_is_better())
    filters = [one.name for one in getattr(loaded.task, "_filters", ())] or ["none"]
    name, _, of_filter = (wanted or next(iter(higher), "")).partition(",")
    if name not in higher:
        raise UsageError(f"lm-eval task {loaded.name!r} has no metric {name!r}.{nearest(name, higher)}")
    if of_filter and of_filter not in filters:
        raise UsageError(f"lm-eval task {loaded.name!r} has no filter {of_filter!r}.{nearest(of_filter, filters)}")
    if not higher[name]:
        shares = [one for one, up in higher.items() if up]
        raise UsageError(
            f"lm-eval task {loaded.name!r}: metric {name!r} is better the smaller it is, and a score is a share of "
            f"right answers; choose another with metric.{nearest('', shares) if shares else ''}"
        )
    return name, of_filter or filters[0]


def _ask(s: Session, tasks: Mapping[str, Loaded], places: Sequence[_Place]) -> dict[_Place, list[list[_Answer]]]:
    """``[document][request]`` for every task, state and seed, by as few calls as possible."""
    scored: list[tuple[State, Prompt, str]] = []
    written: list[Request] = []
    for name, base, adapters, seed in places:
        state = State(base, adapters)
        for document in tasks[name].documents:
            for one in document.requests:
                if one.request_type == "generate_until":
                    written.append(generation(one.args, state, seed, one.repeats or 1))
                else:
                    scored.append((state, *pair(one.args)))
    likelihoods: list[Any] = [None] * len(scored)
    for base in dict.fromkeys(state.base for state, _, _ in scored):
        mine = [index for index, (state, _, _) in enumerate(scored) if state.base == base]
        for index, found in zip(mine, s.lm(scored[mine[0]][0]).likelihoods([scored[i] for i in mine]), strict=True):
            likelihoods[index] = found
    completions = iter(s.generate(written) if written else ())
    rest = iter(likelihoods)
    out: dict[_Place, list[list[_Answer]]] = {}
    for place in places:
        loaded = tasks[place[0]]
        out[place] = [
            [
                _written(next(completions))
                if one.request_type == "generate_until"
                else _likelihood(loaded, one.request_type, next(rest))
                for one in document.requests
            ]
            for document in loaded.documents
        ]
    return out


def _written(found: Sequence[Completion]) -> _Answer:
    bad = next((one for one in found if one.finish in ("failed", "error")), None)
    status = "ok" if bad is None else bad.finish
    return _Answer([one.text for one in found], status, bad.reason if bad else "")


def _likelihood(loaded: Loaded, kind: str, found: Any) -> _Answer:
    total = math.fsum(found.logprobs)
    if kind == "loglikelihood_rolling":
        return _Answer([total])
    if found.greedy is None and (
        loaded.task.OUTPUT_TYPE == "loglikelihood" or "exact_match" in loaded.task.aggregation()
    ):
        raise UsageError(
            f"lm-eval task {loaded.name!r} asks whether greedy decoding would write the continuation, which this model "
            "does not say (Model.likelihoods)"
        )
    return _Answer([(total, bool(found.greedy))])


def _scores(loaded: Loaded, answers: Sequence[Sequence[_Answer]], metric: tuple[str, str]) -> list[Score]:
    """The scores of a task's documents, from the answers of one state."""
    task, out = loaded.task, []
    for document, row in zip(loaded.documents, answers, strict=True):
        for request, answer in zip(document.requests, row, strict=True):
            said = answer.response
            request.resps = said if len(said) == (request.repeats or 1) else said * (request.repeats or 1)
            request.filtered_resps = {}
    task.apply_filters()
    name, of_filter = metric
    for document, row in zip(loaded.documents, answers, strict=True):
        bad = next((one for one in row if one.status != "ok"), None)
        if bad is not None:
            value = 0.0 if bad.status == "failed" else None
            out.append(Score(loaded.name, document.id, value, bad.status, (), {"reason": bad.reason}))  # type: ignore[arg-type]
            continue
        filtered = [one.filtered_resps[of_filter] for one in document.requests]
        measures = task.process_results(document.doc, filtered)
        said = tuple(
            text for one in filtered for text in ([one] if isinstance(one, str) else one if _texts(one) else ())
        )
        out.append(Score(loaded.name, document.id, _share(loaded, name, measures), "ok", said, _numbers(measures)))
    return out


def _share(loaded: Loaded, name: str, measures: Mapping[str, Any]) -> float:
    value: Any = measures.get(name)
    number = float(value) if isinstance(value, bool | int | float) or hasattr(value, "item") else math.nan
    if not 0.0 <= number <= 1.0:
        raise UsageError(
            f"lm-eval task {loaded.name!r}: metric {name!r} of a document is {value!r:.60}, not a number in [0, 1]; "
            f"choose another with metric.{nearest(name, [one for one in _numbers(measures) if one != name])}"
        )
    return number


def _numbers(measures: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in measures.items()
        if (isinstance(value, bool | int | float) or hasattr(value, "item")) and math.isfinite(float(value))
    }


def _beside(one: Score, first: Score) -> dict[str, Any]:
    return {**one.measures, **({} if first.value is None else {"before": first.value})}


def _texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
