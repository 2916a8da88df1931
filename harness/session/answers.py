"""Checks of what a model answers. A wrong answer, or an exception, stops the run with one line that names the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

from harness.api import Completion, Finish, Likelihood, Request, Status, Trained, TrainItem
from harness.errors import PluginError, RunError
from harness.registry.plugin import blaming
from harness.session.checks import drawn

_T = TypeVar("_T")
_FINISHES: tuple[str, ...] = get_args(Finish)
_ROUNDING = 0.01
"""How far above 0 a log-probability may lie: that much is rounding."""


def asked(base: str, run: Callable[[], _T]) -> _T:
    """What a call of the model's code returns.

    Raises:
        RunError: for an error of the operating system, such as a connection that broke.
        PluginError: for any other exception that is not one of the harness's own.
    """
    with blaming(f"model {base} raised"):
        try:
            return run()
        except OSError as error:
            raise RunError(f"model {base}: {error}; what was booked is intact") from error


def completions(base: str, answered: Any, asks: Sequence[Request]) -> list[list[Completion]]:
    """``n`` completions per request, in order, each with what the journal can hold."""
    rows = _rows(base, answered, len(asks))
    for ask, row in zip(asks, rows, strict=True):
        for one in row:
            if not isinstance(one, Completion):
                raise PluginError(f"model {base}: {type(one).__name__} where a Completion belongs")
            _completion(base, one)
        if len(row) != ask.n:
            raise PluginError(f"model {base}: {len(row)} completions of a request for {ask.n}")
    return rows


def _completion(base: str, one: Completion) -> None:
    if one.finish not in _FINISHES:
        raise PluginError(
            f"model {base}: a completion has the finish {one.finish!r:.60}; it may be "
            f"{', '.join(_FINISHES)}, and a reason belongs into the field reason"
        )
    for name in ("text", "reason"):
        if not isinstance(getattr(one, name), str):
            raise PluginError(f"model {base}: the {name} of a completion is {getattr(one, name)!r:.40}, not a text")
    tokens, told = one.tokens, one.logprobs
    if tokens is not None and not (_listed(tokens) and all(type(token) is int for token in tokens)):
        raise PluginError(f"model {base}: the tokens of a completion are {tokens!r:.40}, not integers")
    if told is not None:
        _logprobs(base, told)
        if tokens is not None and len(told) != len(tokens):
            raise PluginError(f"model {base}: a completion has {len(told)} log-probabilities for {len(tokens)} tokens")
    if not isinstance(one.cost, Mapping):
        raise PluginError(f"model {base}: the cost of a completion is {one.cost!r:.40}, not a table of numbers")
    for name, value in one.cost.items():
        if not _finite(value) or value < 0:
            raise PluginError(f"model {base}: a completion has the cost {name} = {value!r:.40}; it must be 0 or more")


def logprobs(base: str, answered: Any, count: int) -> list[list[float]]:
    """The natural-log probabilities of ``count`` texts."""
    rows = _rows(base, answered, count)
    for row in rows:
        _logprobs(base, row)
    return rows


def likelihoods(base: str, answered: Any, count: int) -> list[Likelihood]:
    """The likelihoods of ``count`` texts."""
    found = _listed_of(base, answered, count)
    for one in found:
        if not isinstance(one, Likelihood) or not _listed(one.logprobs) or one.greedy not in (None, True, False):
            raise PluginError(f"model {base}: {one!r:.60} where a Likelihood belongs")
        _logprobs(base, one.logprobs)
    return found


def vectors(base: str, answered: Any, count: int) -> list[list[float]]:
    """``count`` vectors of one length."""
    rows = _rows(base, answered, count)
    if any(not _finite(value) for row in rows for value in row):
        raise PluginError(f"model {base}: a hidden state holds what is no finite number")
    if len({len(row) for row in rows}) > 1:
        raise PluginError(f"model {base}: hidden states of different lengths")
    return rows


def trained(base: str, results: Iterable[Any], items: Sequence[TrainItem]) -> Iterator[Trained]:
    """What becomes of each item, as it finishes: an adapter exactly where its status is ``ok``."""
    left = {item.id for item in items}
    iterator = asked(base, lambda: iter(results))
    end: Any = object()
    while (one := asked(base, lambda: next(iterator, end))) is not end:
        if not isinstance(one, Trained):
            raise PluginError(f"model {base}: {type(one).__name__} where a Trained belongs")
        if one.id not in left:
            raise PluginError(f"model {base} trained {one.id!r:.60}, which it was not given or has answered already")
        left.discard(one.id)
        if one.status not in get_args(Status):
            raise PluginError(f"model {base}: {one.id!r} has the status {one.status!r:.60}")
        if (one.adapter is None) != (one.status != "ok"):
            raise PluginError(f"model {base}: {one.id!r} must have an adapter exactly when its status is ok")
        if not isinstance(one.log, Mapping):
            raise PluginError(f"model {base}: the log of {one.id!r} is {one.log!r:.40}, not a table")
        yield one


def _rows(base: str, answered: Any, count: int) -> list[list[Any]]:
    rows = _listed_of(base, answered, count)
    wrong = next((row for row in rows if not _listed(row)), None)
    if wrong is not None:
        raise PluginError(f"model {base}: {type(wrong).__name__} where a list for one of the requests belongs")
    return [list(row) for row in rows]


def _listed_of(base: str, answered: Any, count: int) -> list[Any]:
    """The answer as ``count`` items; a generator is read to its end, which may raise."""
    found = asked(base, lambda: drawn(answered))
    if not _listed(found):
        what = "nothing (None)" if found is None else f"a {type(found).__name__}"
        raise PluginError(f"model {base} gave {what}, not an answer to each of the {count} requests")
    if len(found) != count:
        raise PluginError(f"model {base}: {len(found)} answers to {count} requests")
    return list(found)


def _listed(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _logprobs(base: str, row: Sequence[Any]) -> None:
    if not _listed(row):
        raise PluginError(f"model {base}: log-probabilities are {row!r:.40}, not numbers")
    for value in row:
        if not _finite(value) or value > _ROUNDING:
            raise PluginError(f"model {base}: a log-probability is {value!r:.40}; it must be finite, and 0 at most")
