"""A language model as components see it: every answer booked under what made it, pack by pack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from harness import reads
from harness.api import JSON, Completion, Dropout, Likelihood, Model, Prompt, Request, State
from harness.books.item import Item, writable_item
from harness.books.records import digest
from harness.errors import UsageError
from harness.session import answers as answered
from harness.session.packs import missing, packs
from harness.session.progress import Piece

if TYPE_CHECKING:
    from harness.session.scope import Scope


class BookedLM:
    """:class:`harness.api.LM` around a backend: a request that was answered before is answered from the journal."""

    def __init__(self, backend: Model, scope: Scope, source: str) -> None:
        self._backend = backend
        self._scope = scope
        self._identity: JSON = {"base": backend.base, "source": source, **backend.identity}
        self._reader = scope.reader(backend.base)
        self.can: frozenset[str] = reads.call(self._reader, lambda: backend.can)
        self.base: str = backend.base

    def generate(self, asks: Sequence[Request], /) -> Sequence[Sequence[Completion]]:
        """Completions by request. One that failed at our end has ``finish="error"``, and ``resume`` asks it again."""

        def run(part: Sequence[Request]) -> Sequence[Any]:
            answers = answered.completions(self.base, self._backend.generate(part), part)
            return [
                [{"text": c.text, "tokens": c.tokens, "logprobs": c.logprobs, "finish": c.finish, "cost": c.cost,
                  "reason": c.reason}
                 for c in completions]
                for completions in answers
            ]  # fmt: skip

        def cost(result: Any) -> dict[str, float]:
            sums: dict[str, float] = {"calls": float(len(result))}
            for completion in result:
                for name, value in completion["cost"].items():
                    sums[name] = sums.get(name, 0.0) + float(value)
            return sums

        def status(result: Any) -> str:
            return "error" if any(c["finish"] == "error" for c in result) else "ok"

        asks = self._scope.writable(list(asks))
        if self._scope.watch:
            self._scope.watch.prompted(self.base, [ask.prompt for ask in asks])
        results = self._booked("completion", list(asks), run, cost, status)
        return [
            [
                Completion(
                    ask,
                    c["text"],
                    None if c["tokens"] is None else tuple(c["tokens"]),
                    None if c["logprobs"] is None else tuple(c["logprobs"]),
                    c["finish"],
                    c["cost"],
                    c["reason"],
                )
                for c in result
            ]
            for ask, result in zip(asks, results, strict=True)
        ]

    def logprobs(
        self, asks: Sequence[tuple[State, Prompt, str]], /, *, dropout: Dropout | None = None
    ) -> Sequence[Sequence[float]]:
        options, variant = self._thinned(dropout)

        def run(part: Sequence[tuple[State, Prompt, str]]) -> Sequence[Any]:
            return answered.logprobs(self.base, self._backend.logprobs(part, **options), len(part))

        if self._scope.watch:
            self._scope.watch.prompted(self.base, [prompt for _, prompt, _ in asks])
        return self._booked("logprobs", self._scope.writable(list(asks)), run, _free, _ok, variant)

    def likelihoods(self, asks: Sequence[tuple[State, Prompt, str]], /) -> Sequence[Likelihood]:
        def run(part: Sequence[tuple[State, Prompt, str]]) -> Sequence[Any]:
            found = answered.likelihoods(self.base, self._backend.likelihoods(part), len(part))
            return [{"logprobs": list(one.logprobs), "greedy": one.greedy} for one in found]

        if self._scope.watch:
            self._scope.watch.prompted(self.base, [prompt for _, prompt, _ in asks])
        rows = self._booked("likelihoods", self._scope.writable(list(asks)), run, _free, _ok)
        return [Likelihood(tuple(row["logprobs"]), row["greedy"]) for row in rows]

    def hidden(
        self,
        asks: Sequence[tuple[State, str]],
        /,
        *,
        layer: int,
        pool: Literal["mean", "last"] = "mean",
        dropout: Dropout | None = None,
    ) -> Sequence[Sequence[float]]:
        options, variant = self._thinned(dropout)

        def run(part: Sequence[tuple[State, str]]) -> Sequence[Any]:
            return answered.vectors(self.base, self._backend.hidden(part, layer=layer, pool=pool, **options), len(part))

        return self._booked(f"hidden/{layer}/{pool}", self._scope.writable(list(asks)), run, _free, _ok, variant)

    def _thinned(self, dropout: Dropout | None) -> tuple[dict[str, Any], str]:
        """The backend's keyword arguments for a stochastic pass, and what tells its items from others.

        Raises:
            UsageError: the model cannot do one.
        """
        if dropout is None:
            return {}, ""
        if "dropout" not in self.can:
            raise UsageError(f"model {self.base} has no dropout passes; use a local model (hf)")
        if not 0 < dropout.rate < 1:
            raise UsageError(f"a dropout rate lies between 0 and 1, not {dropout.rate}")
        return {"dropout": dropout}, f"/dropout/{dropout.rate!r}/{dropout.seed}"

    def _booked(
        self,
        kind: str,
        asks: list[Any],
        run: Callable[[Sequence[Any]], Sequence[Any]],
        cost: Callable[[Any], dict[str, float]],
        status: Callable[[Any], str],
        variant: str = "",
    ) -> list[Any]:
        scope, journal = self._scope, self._scope.journal
        keys = [digest([kind + variant, self._identity, ask]) for ask in asks]
        known = {key: item.result for key, item in journal.find(list(dict.fromkeys(keys))).items()}
        journal.reused += len(known)
        # A model elsewhere is paid by the request, and no batch of ours decides its bits: it is asked what is missing.
        whole = self._backend.local
        todo = []
        if len(known) < len(set(keys)):
            size = scope.pack_sizes(self.base).requests
            todo = [pack for pack in packs(keys, asks, size) if missing(pack, known)]
        piece: Piece = "answers" if scope.clock.phase == "grading" else "edits"
        if todo:
            scope.context.progress.begin(piece, sum(_samples(missing(pack, known)) for pack in todo))

        def one(pack: dict[str, Any]) -> None:
            lacking = missing(pack, known)
            part = pack if whole else lacking
            results = self._run(run, list(part.values()))
            seconds = scope.clock.lap() / len(part)
            files = self._reader.files()
            made = (
                Item(key, kind, self.base, status(result), result, {"seconds": seconds, **cost(result)}, files=files)
                for key, result in zip(part, results, strict=True)
                if key in lacking
            )
            items = [writable_item(item) for item in made]
            with journal.writing():
                journal.book(items)
            known.update({item.digest: item.result for item in items})
            scope.context.progress.advance(piece, _samples(lacking), seconds * len(lacking))
            scope.check_time()

        with scope.clock.span(""):
            scope.clock.lap()
            scope.context.turns.side_by_side(todo, one)
        with journal.writing():
            scope.facts.use(scope.clock.phase, list(dict.fromkeys(keys)))
        return [known[key] for key in keys]

    def _run(self, run: Callable[[Sequence[Any]], Sequence[Any]], part: Sequence[Any]) -> Sequence[Any]:
        return answered.asked(self.base, lambda: reads.call(self._reader, lambda: run(part)))


def _samples(asks: Mapping[str, Any]) -> int:
    return sum(ask.n if isinstance(ask, Request) else 1 for ask in asks.values())


def _free(result: Any) -> dict[str, float]:
    return {}


def _ok(result: Any) -> str:
    return "ok"
