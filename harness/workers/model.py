"""A model whose packs are computed by workers, and everything else by the model that the driver holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Literal, TypeVar

from harness.api import (
    JSON,
    Artefact,
    Completion,
    Dropout,
    Example,
    Likelihood,
    Model,
    Prompt,
    Request,
    State,
    Trained,
    TrainItem,
    WeightSource,
)
from harness.errors import UsageError
from harness.workers.packs import Done, Pack
from harness.workers.pool import Pool

_T = TypeVar("_T")
STAYS = "full fine-tunes, merges, losses of a plugin's own, and whatever borrows the module"
"""What the driver computes itself, for messages."""


class PooledModel(Model):
    """The model of ``own``, with bulk calls in ``pool``.

    Args:
        own: in the driver; its weights are loaded only when something needs them here.
        identity: as the workers have it.
        wait: gives the turn away until an answer is there (:meth:`harness.session.turns.Turns.wait`).
        spent: told the seconds that workers took.
    """

    local = True

    def __init__(
        self,
        own: Model,
        identity: JSON,
        pool: Pool,
        weights: WeightSource,
        wait: Callable[[Future[Done]], Done],
        spent: Callable[[float], None],
    ) -> None:
        self._own, self._pool, self._weights, self._wait, self._spent = own, pool, weights, wait, spent
        self.base, self.name, self.identity, self.can = own.base, own.name, identity, own.can
        self.chunk, self.wave = own.chunk, own.wave
        self.profile = own.profile  # type: ignore[misc]  # of the class that it stands for

    def generate(self, asks: Sequence[Request], /) -> Sequence[Sequence[Completion]]:
        answers: list[Sequence[Completion]] = self._compute(Pack("generate", list(asks)), (a.state for a in asks))
        return answers

    def logprobs(
        self, asks: Sequence[tuple[State, Prompt, str]], /, *, dropout: Dropout | None = None
    ) -> Sequence[Sequence[float]]:
        pack = Pack("logprobs", list(asks), _given(dropout=dropout))
        return self._compute(pack, (state for state, _, _ in asks))

    def likelihoods(self, asks: Sequence[tuple[State, Prompt, str]], /) -> Sequence[Likelihood]:
        return self._compute(Pack("likelihoods", list(asks)), (state for state, _, _ in asks))

    def hidden(
        self,
        asks: Sequence[tuple[State, str]],
        /,
        *,
        layer: int,
        pool: Literal["mean", "last"] = "mean",
        dropout: Dropout | None = None,
    ) -> Sequence[Sequence[float]]:
        pack = Pack("hidden", list(asks), {"layer": layer, "pool": pool, **_given(dropout=dropout)})
        return self._compute(pack, (state for state, _ in asks))

    def train(self, items: Sequence[TrainItem], /, loss: str | Any = "sft") -> Iterator[Trained]:
        if not isinstance(loss, str | Mapping):  # a plugin's code, which workers need not have
            yield from self._here().train(items, loss)
        elif items:
            yield from self._compute(Pack("train", list(items), {"loss": loss}), (item.start for item in items))

    def borrow(self, state: State, /) -> AbstractContextManager[Any]:
        return self._here().borrow(state)

    def merge(self, state: State, /) -> Artefact:
        return self._here().merge(state)

    def over_long(self, data: Sequence[Example], max_length: int, /) -> str:
        return self._own.over_long(data, max_length)

    def cannot_read(self, texts: Sequence[str], /) -> str:
        return self._own.cannot_read(texts)

    def memory(self) -> Any:
        return self._own.memory()

    def _here(self) -> Model:
        """The driver's own model, where it computes as the workers do.

        Raises:
            UsageError: it is on another kind of device.
        """
        if dict(self._own.identity) != dict(self.identity):
            raise UsageError(
                f"in the driver stay {STAYS}, and its model is {dict(self._own.identity)} where the workers' is "
                f"{dict(self.identity)}; start the run on a machine like theirs, or without --devices"
            )
        return self._own

    def _compute(self, pack: Pack, states: Iterable[State]) -> list[Any]:
        digests = dict.fromkeys(digest for state in states for digest in state.adapters)
        done = self._wait(self._pool.submit(pack, {digest: self._weights.adapter(digest) for digest in digests}))
        self._spent(done.seconds)
        return done.results


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given: a model's class need not know the others."""
    return {name: value for name, value in options.items() if value is not None}
