"""The engine's rows, answered by a vLLM server: the same requests as token ids, and answers in the engine's form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

from harness.engine import Generated
from harness.errors import RunError
from harness.models.endpoint import Declined, NoSuchModel, Unanswered
from harness.models.stopping import StopTexts
from harness.models.vllm.server import VllmServer, unreachable

if TYPE_CHECKING:
    from harness.engine import Adapter, Engine, GenerationRow, ScoreRow
    from harness.models.vllm.shelf import Shelf

_RESTARTS = 3
"""How often a server may forget its adapters while one set of requests is asked."""
_PLAIN = {
    "n": 1, "min_p": 0.0, "top_k": 0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
    "return_token_ids": True,
}  # fmt: skip
"""Set in every request, as the server otherwise takes them from the model's generation_config.json."""


class ServedEngine:
    """Generates and scores by a server, as :class:`harness.engine.Engine` does here.

    Requests with different adapters are asked side by side, as many adapters at once as the server computes together,
    all of which are loaded before the first request is sent: one that is loaded beside requests in flight may answer
    them.

    Args:
        ends: ids at which the model stops.
        positions: the most tokens that a text may have at the server.
        local: the engine of the same model; it scores texts that leave the server no room for the token that it must
            generate.
        concurrency: the most requests in flight.
        prove: called when the server has been started again; raises unless its answers are the engine's.
    """

    def __init__(
        self,
        server: VllmServer,
        shelf: Shelf,
        *,
        ends: frozenset[int],
        positions: int,
        local: Callable[[], Engine],
        concurrency: int,
        prove: Callable[[], None],
    ) -> None:
        self._server, self._shelf, self._prove, self._local = server, shelf, prove, local
        self._ends, self._positions, self._concurrency = ends, positions, concurrency
        self.slots = 1
        """Adapters that are asked side by side."""

    def generate(self, rows: Sequence[GenerationRow]) -> list[Generated]:
        """Complete every row under its adapter stack, in order; a row that got no answer has finish ``error``.

        Raises:
            RunError: no row got an answer.
        """
        found = [Generated((), "length") if row.max_tokens == 0 else None for row in rows]
        asked = [place for place, one in enumerate(found) if one is None]
        answers = self._ask([(rows[place].adapters, self._wish(rows[place])) for place in asked])
        for place, answer in zip(asked, answers, strict=True):
            if isinstance(answer, Exception):
                found[place] = Generated((), "error", reason=str(answer))
            else:
                found[place] = self._read(rows[place], answer)
        if answers and all(isinstance(answer, Exception) for answer in answers):
            raise unreachable(answers[0])
        return [one for one in found if one is not None]

    def likelihoods(self, rows: Sequence[ScoreRow]) -> list[tuple[list[float], bool]]:
        """Log-probabilities of every row's continuation, and whether greedy decoding would give it.

        Raises:
            RunError: a row got no answer.
        """
        full = [place for place, row in enumerate(rows) if len(row.prompt) + len(row.continuation) >= self._positions]
        scored = dict(
            zip(full, self._local().likelihoods([rows[place] for place in full]) if full else [], strict=True)
        )
        asked = [place for place in range(len(rows)) if place not in scored]
        answers = self._ask([(rows[place].adapters, _score(rows[place])) for place in asked])
        for place, answer in zip(asked, answers, strict=True):
            if isinstance(answer, Exception):
                raise unreachable(answer)
            ids = rows[place].prompt + rows[place].continuation
            first = max(len(rows[place].prompt), 1)  # nothing predicts the first token of a text
            try:
                tokens = [answer["prompt_logprobs"][index][str(ids[index])] for index in range(first, len(ids))]
                scored[place] = [float(one["logprob"]) for one in tokens], all(one["rank"] == 1 for one in tokens)
            except (KeyError, IndexError, TypeError) as error:
                raise RunError(
                    f"{self._server.url} gives no log-probabilities of a prompt (prompt_logprobs)"
                ) from error
        return [scored[place] for place in range(len(rows))]

    def _wish(self, row: GenerationRow) -> dict[str, Any]:
        body = {
            **_PLAIN,
            "prompt": list(row.prompt),
            "max_tokens": row.max_tokens,
            "temperature": row.temperature,
            "top_p": row.top_p,
            "seed": row.seed,
            "stop_token_ids": sorted(self._ends),
        }
        if isinstance(row.stop, StopTexts) and row.stop.texts:
            body["stop"] = list(row.stop.texts)
        if row.logprobs:
            body["logprobs"] = 0
        return body

    def _read(self, row: GenerationRow, answer: Mapping[str, Any]) -> Generated:
        ids = answer.get("token_ids")
        scores = (answer.get("logprobs") or {}).get("token_logprobs") if row.logprobs else None
        if not isinstance(ids, list) or (row.logprobs and (not isinstance(scores, list) or len(scores) != len(ids))):
            raise RunError(f"{self._server.url} gives no token ids or log-probabilities; its vLLM may be too old")
        end = ids[-1] if ids and ids[-1] in self._ends else None
        kept = len(ids) - (end is not None)
        return Generated(
            tuple(ids[:kept]),
            "stop" if end is not None or answer["finish_reason"] == "stop" else "length",
            end,
            scores[-1] if scores and end is not None else None,
            tuple(scores[:kept]) if scores is not None else None,
        )

    def _ask(
        self, asks: Sequence[tuple[tuple[Adapter, ...], Mapping[str, Any]]]
    ) -> list[Mapping[str, Any] | Exception]:
        """One answer for each stack and request, or why there is none."""
        stacks: dict[tuple[str, ...], list[int]] = {}
        for place, (stack, _) in enumerate(asks):
            stacks.setdefault(tuple(adapter.digest() for adapter in stack), []).append(place)
        found: list[Mapping[str, Any] | Exception] = [Unanswered("not asked")] * len(asks)
        waiting = iter(stacks.values())
        with ThreadPoolExecutor(self._concurrency) as pool:
            while wave := list(islice(waiting, self.slots)):
                left = [place for places in wave for place in places]
                for _ in range(_RESTARTS):
                    names = {places[0]: self._shelf.load(asks[places[0]][0]) for places in wave}
                    name_of = {place: names[places[0]] for places in wave for place in places}
                    bodies = [{**asks[place][1], "model": name_of[place]} for place in left]
                    for place, answer in zip(left, pool.map(self._complete, bodies), strict=True):
                        found[place] = answer
                    left = [place for place in left if isinstance(found[place], NoSuchModel)]
                    if not left:
                        break
                    self._shelf.forget()
                    self._prove()
                else:
                    raise RunError(f"{self._server.url} forgets adapters as soon as they are loaded; look at its log")
                self._shelf.trim(self.slots)
        return found

    def _complete(self, body: Mapping[str, Any]) -> Mapping[str, Any] | Exception:
        try:
            return self._server.complete(body)
        except (Declined, Unanswered, NoSuchModel) as error:
            return error


def _score(row: ScoreRow) -> dict[str, Any]:
    ids = list(row.prompt + row.continuation)
    return {**_PLAIN, "prompt": ids, "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
