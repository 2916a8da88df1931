"""Canaries: requests whose answers are known, which show whether a server answers as the engine does.

A server can be wrong without an error: other weights, another adapter than the one asked for, log-probabilities at the
sampling temperature. So texts are generated and scored by both, base and adapters mixed in one set of requests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch

from harness.engine import Adapter, GenerationRow, ScoreRow
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.engine import Engine, Generated

_TOKENS = 8
_PLACES = (
    "The lighthouse at the mouth of the river", "In the spring of 1871 the harbour", "She opened the letter and read",
    "The capital of the country is", "A list of what follows from this:", "Question: who built the tower?",
)  # fmt: skip
_TOLERANCE = {"float32": 2e-3}
_COARSE = 0.1
"""Mean difference of log-probabilities that rounding may make, in nats: with float32, and with less precision."""


class _Answers(Protocol):
    def generate(self, rows: Sequence[GenerationRow]) -> list[Generated]: ...

    def likelihoods(self, rows: Sequence[ScoreRow]) -> list[tuple[list[float], bool]]: ...


@dataclass(frozen=True)
class Proof:
    """What the canaries found."""

    base: tuple[int, int]
    """Base requests whose greedy text is the engine's, and how many there were."""
    adapters: tuple[int, int]
    """The same for requests with an adapter, which were mixed with them."""
    apart: float
    """Mean difference between the log-probabilities that the server and the engine give the same texts, in nats."""
    sampled: float
    """The same for texts that the server sampled at temperature 0.5, as it reported them while sampling."""
    tolerance: float
    """The most that the differences may be."""

    @property
    def whole(self) -> bool:
        """Whether the server answers as the engine does."""
        texts = self.base[0] == self.base[1] and self.adapters[0] == self.adapters[1]
        return texts and self.apart <= self.tolerance and self.sampled <= self.tolerance

    def __str__(self) -> str:
        return (
            f"{self.base[0]} of {self.base[1]} base and {self.adapters[0]} of {self.adapters[1]} adapter answers are "
            f"the engine's; log-probabilities differ by {self.apart:.1g} on average, by {self.sampled:.1g} in sampling"
        )


def prove(
    server: _Answers, engine: Engine, encode: Callable[[str], tuple[int, ...]], *, count: int, max_rank: int, dtype: str
) -> Proof:
    """Ask a server and the engine for the same greedy texts, and the same log-probabilities.

    Args:
        encode: the token ids of a text.
        count: requests to the base, and as many to two adapters.
        max_rank: the server's maximum for an adapter.
        dtype: of the engine's weights.
    """
    tolerance = _TOLERANCE.get(dtype, _COARSE)
    adapters = _adapters(engine, encode(_PLACES[0]), min(8, max_rank), 50 * tolerance)
    prompts = [encode(f"{_PLACES[index % len(_PLACES)]} {index}") for index in range(count)]
    rows = [
        GenerationRow(prompt, stack, _TOKENS)
        for index, prompt in enumerate(prompts)
        for stack in ((), (adapters[index % 2],))
    ]
    mine, theirs = engine.generate(rows), server.generate(rows)
    same = [_is_greedy(engine, row, one, other, tolerance) for row, one, other in zip(rows, mine, theirs, strict=True)]
    texts = [ScoreRow(row.prompt, _all(one), row.adapters) for row, one in zip(rows, mine, strict=True)]
    apart = _mean(server.likelihoods(texts), engine.likelihoods(texts))
    drawn = [replace(row, temperature=0.5, logprobs=True, seed=index) for index, row in enumerate(rows[:8])]
    answers = server.generate(drawn)
    said = [
        ([*(one.logprobs or ()), *([one.eos_logprob] if one.eos_logprob is not None else [])], False) for one in answers
    ]
    scored = engine.likelihoods(
        [ScoreRow(row.prompt, _all(one), row.adapters) for row, one in zip(drawn, answers, strict=True)]
    )
    return Proof((sum(same[::2]), count), (sum(same[1::2]), count), apart, _mean(said, scored), tolerance)


def no_adapter(engine: Engine) -> Adapter:
    """An adapter of rank 1 on one module that changes nothing."""
    fresh = engine.init_lora(rank=1, alpha=1.0, targets=None, seed=0)
    name, (a, b) = next(iter(fresh.weights.items()))
    return Adapter({name: (torch.zeros_like(a), torch.zeros_like(b))}, 1, 1.0, (name.rpartition(".")[2],))


def refuse(url: str, name: str, proof: Proof, dtype: str) -> None:
    """Refuse a server whose canaries failed.

    Raises:
        UsageError: they did.
    """
    if proof.whole:
        return
    likely = f"it holds other weights, computes in another precision than {dtype}, or mixes adapters up"
    if proof.base[0] == proof.base[1] and proof.adapters[0] == proof.adapters[1] and proof.apart <= proof.tolerance:
        likely = "it reports log-probabilities at the sampling temperature: start it with --logprobs-mode raw_logprobs"
    raise UsageError(f"{url} does not answer as the model {name!r} does here: {proof}; {likely}")


def _adapters(engine: Engine, prompt: tuple[int, ...], rank: int, apart: float) -> list[Adapter]:
    """Two adapters with random weights, large enough that either changes a text's log-probabilities by ``apart``."""
    [text] = engine.generate([GenerationRow(prompt, (), _TOKENS)])
    row = ScoreRow(prompt, _all(text) or prompt)
    plain = engine.likelihoods([row])
    out: list[Adapter] = []
    for seed in (1, 2):
        fresh = engine.init_lora(rank=rank, alpha=float(rank), targets=None, seed=seed)
        size = 0.01
        while True:
            generator = torch.Generator().manual_seed(seed)
            grown = {
                name: (a, size * torch.randn(b.shape, generator=generator)) for name, (a, b) in fresh.weights.items()
            }
            adapter = Adapter(grown, fresh.rank, fresh.alpha, fresh.targets)
            if size > 100 or _mean(engine.likelihoods([row._replace(adapters=(adapter,))]), plain) > apart:
                break
            size *= 2
        out.append(adapter)
    return out


def _is_greedy(engine: Engine, row: GenerationRow, mine: Generated, theirs: Generated, tolerance: float) -> bool:
    """Whether a text is the greedy one, up to two tokens that are equally probable but for rounding."""
    one, other = _all(mine), _all(theirs)
    if theirs.finish == "error" or one == other:
        return one == other and theirs.finish == mine.finish
    first = next((i for i, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    if first is None:
        return False
    texts = [ScoreRow(row.prompt, ids[: first + 1], row.adapters) for ids in (one, other)]
    (best, _), (taken, _) = engine.likelihoods(texts)
    return best[-1] - taken[-1] <= tolerance


def _all(text: Generated) -> tuple[int, ...]:
    """The ids with the end token."""
    return text.ids if text.eos is None else (*text.ids, text.eos)


def _mean(one: Sequence[tuple[Sequence[float], bool]], other: Sequence[tuple[Sequence[float], bool]]) -> float:
    """Mean absolute difference, over all tokens; infinite where there are not as many."""
    pairs = []
    for (a, _), (b, _) in zip(one, other, strict=True):
        if len(a) != len(b):
            return float("inf")
        pairs += [abs(x - y) for x, y in zip(a, b, strict=True)]
    return sum(pairs) / len(pairs) if pairs else 0.0
