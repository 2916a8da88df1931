"""A language model that answers from a table, a task made from plain values, and a real session to use them in.

Nothing about the session is faked: calls are journalled, cached, checked and replayed as in any run. Only the model's
answers and the weights that "training" returns are made up, deterministically. All of it takes milliseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

from harness.api import (
    JSON,
    Completion,
    Dropout,
    EditFailed,
    Episode,
    Example,
    Finish,
    Method,
    Model,
    Prompt,
    Query,
    Recipe,
    References,
    Request,
    Split,
    State,
    Task,
    Trained,
    TrainItem,
)
from harness.books.episodes import EpisodeBook
from harness.books.journal import Journal
from harness.books.records import digest
from harness.books.store import WeightStore
from harness.reads import Reader, own, watch
from harness.registry.build import BuiltComponent, C
from harness.registry.fingerprint import of_class
from harness.session.context import RunContext
from harness.session.progress import Quiet
from harness.session.scope import Scope
from harness.session.service import SessionService

Answer = Callable[[Request, int], str]
"""(request, sample index) -> text."""


class ScriptedLM(Model):
    """A :class:`harness.api.Model` that answers from a table.

    Args:
        answers: prompt fragment -> text (that of the first fragment found in the prompt; "" if none is), or a function
            of the request and the sample's index.
        name: part of the base digest: scripted models with different names are different models.
        can: the abilities it declares; it has all of the default ones.
    """

    local: ClassVar[bool] = True

    def __init__(
        self,
        answers: Mapping[str, str] | Answer,
        *,
        name: str = "scripted",
        can: frozenset[str] = frozenset({"generate", "logprobs", "hidden", "dropout", "train", "seed", "schema"}),
    ) -> None:
        self.name = name
        self.can = can
        self.base = f"scripted:{name}"
        self.asked: list[Request] = []
        """Every request that reached the model; those answered from the journal do not."""
        self._answer: Answer = answers if callable(answers) else _from_table(answers)

    def generate(self, asks: Sequence[Request], /) -> list[list[Completion]]:
        """``n`` scripted completions per request; tokens are the text's bytes."""
        self.asked.extend(asks)
        return [[self._complete(ask, index) for index in range(ask.n)] for ask in asks]

    def logprobs(
        self, asks: Sequence[tuple[State, Prompt, str]], /, *, dropout: Dropout | None = None
    ) -> list[list[float]]:
        """One value in (-1, 0] for every word of the continuation, derived from a digest."""
        thin = [dropout] if dropout else []
        return [[-_unit([prompt, state, word, *thin]) for word in text.split()] for state, prompt, text in asks]

    def hidden(
        self,
        asks: Sequence[tuple[State, str]],
        /,
        *,
        layer: int,
        pool: Literal["mean", "last"] = "mean",
        dropout: Dropout | None = None,
    ) -> list[list[float]]:
        """Four values in [0, 1) per text, derived from a digest."""
        thin = [dropout] if dropout else []
        return [[_unit([state, text, layer, pool, axis, *thin]) for axis in range(4)] for state, text in asks]

    def train(self, items: Sequence[TrainItem], loss: str | Any = "sft") -> Iterator[Trained]:
        """An adapter that depends on everything it was made from, and on nothing else."""
        for item in items:
            if not item.data:
                yield Trained(item.id, None, "failed", "there is nothing to learn from")
                continue
            tensors, config = made_up_weights(
                digest([item.start, item.start_as, list(item.data), item.seed, item.settings, str(loss)])
            )
            from harness.books.artefacts import artefact

            made: Any = artefact(tensors, config)
            yield Trained(item.id, made, log={"steps": len(item.data), "tokens": 0})

    def merge(self, state: State) -> Any:
        """Full weights of the one module that the made-up adapters have, derived from the state."""
        from harness.books.artefacts import artefact

        tensors, _ = made_up_weights(digest(["merged", state]))
        return artefact({"layer.weight": tensors["layer.lora_B"] @ tensors["layer.lora_A"]}, {"kind": "full"})

    @contextmanager
    def borrow(self, state: State) -> Iterator[tuple[None, None]]:
        """Lends ``(None, None)``: there is no module."""
        yield None, None

    def _complete(self, ask: Request, index: int) -> Completion:
        text = self._answer(ask, index)
        tokens = tuple(text.encode()[: ask.max_tokens])
        finish: Finish = "stop" if len(text.encode()) <= ask.max_tokens else "length"
        cost = {"prompt_tokens": len(str(ask.prompt)), "completion_tokens": len(tokens)}
        return Completion(ask, bytes(tokens).decode("utf-8", "ignore"), tokens, (-0.5,) * len(tokens), finish, cost)


class ScriptedTask(Task):
    """A task made from plain values: ``{split: {episode id: (text, {question: [answers]})}}``."""

    name = "scripted"
    version = "1"
    metric = "exact"

    def __init__(self, splits: Mapping[str, Mapping[str, tuple[str, Mapping[str, Sequence[str]]]]]) -> None:
        self.splits = {split: dict(episodes) for split, episodes in splits.items()}

    def load(self, split: Split, /) -> Sequence[tuple[Episode, References]]:
        out = []
        for episode_id, (text, asked) in self.splits.get(split, {}).items():
            queries = tuple(Query(f"{episode_id}/q{i}", question) for i, question in enumerate(asked))
            references = {query.id: asked[query.text] for query in queries}
            out.append((Episode(episode_id, split, {"title": episode_id, "text": text}, queries), references))
        return out

    def prompt(self, query: Query, memory: JSON, /, *, chat: bool) -> Prompt:
        return f"{memory.get('passage', '')}\nQuestion: {query.text}\nAnswer:"

    def expand(self, recipe: Recipe, episode: Episode, seed: int, /) -> Sequence[Example]:
        """``passage`` is the text, ``repeat`` the text ``times`` over; ``lines`` one example per line of ``text``."""
        if recipe.name in {"passage", "repeat"}:
            return [Example("", str(episode.context["text"]))] * int(recipe.args.get("times", 1))
        if recipe.name == "lines":
            lines = [line for line in str(recipe.args["text"]).splitlines() if line.strip()]
            if not lines:
                raise EditFailed("the edit is empty")
            return [Example("", line) for line in lines]
        raise EditFailed(f"no recipe is called {recipe.name!r}")

    def extract(self, query: Query, answer: str, /) -> str | None:
        return answer.strip() or None

    def same(self, query: Query, a: str, b: str, /) -> bool:
        return a.strip().lower() == b.strip().lower()


def open_session(
    folder: Path,
    task: Any,
    models: Mapping[str, Any],
    slots: Mapping[str, tuple[str, Any]],
    *,
    roles: Mapping[str, str] | None = None,
    sees: Literal["context", "context+queries"] = "context",
    seed: int = 0,
    weights: WeightStore | None = None,
) -> SessionService:
    """A real session in a folder; opening the same folder again resumes it.

    Args:
        models: role -> model.
        slots: slot -> (kind, component).
        roles: further roles that follow one of ``models``, as ``{"student": "@teacher"}``.
        weights: the store that a local model was made with; by default one in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    watch()
    own(folder)
    built = {name: _built(kind, instance) for name, (kind, instance) in slots.items()}
    context = RunContext(
        folder,
        Journal(folder),
        weights or WeightStore(folder / "weights"),
        EpisodeBook(task),
        {model.base: model for model in models.values()},
        Quiet(),
    )
    context.weights.root.mkdir(exist_ok=True)
    for model in models.values():
        model.ledger = context.journal.ledger
    follows = {role: who.removeprefix("@") for role, who in (roles or {}).items()}
    method = Method("scripted", "", "a test's method", {}, sees=sees)
    states = {role: State(model.base) for role, model in models.items()}
    return SessionService(Scope(context, method, _built("task", task), built, states, follows, {}, seed))


def made_up_weights(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A rank-1 LoRA on one 2x2 module, derived from a name: the tensors and their configuration."""
    import torch

    values = [byte / 255 for byte in hashlib.sha256(name.encode()).digest()[:4]]
    tensors = {
        "layer.lora_A": torch.tensor([values[:2]], dtype=torch.float32),
        "layer.lora_B": torch.tensor([[values[2]], [values[3]]], dtype=torch.float32),
    }
    return tensors, {"rank": 1, "alpha": 1.0, "targets": ["layer"]}


def _built(kind: str, instance: C) -> BuiltComponent[C]:
    name = type(instance).__name__
    source = of_class(type(instance))
    identity = {"component": name, "source": source.digest, "settings": {}, "nested": {}}
    return BuiltComponent(kind, name, instance, {}, identity, f"test component {name!r}", reads=Reader(source.modules))


def _from_table(table: Mapping[str, str]) -> Answer:
    def answer(request: Request, index: int) -> str:
        prompt = str(request.prompt)
        return next((text for fragment, text in table.items() if fragment in prompt), "")

    return answer


def _unit(value: Any) -> float:
    return int(digest(value)[:8], 16) / 2**32
