"""The editor ``entigraph``: list a passage's entities, then write about how some of them relate (section 2.2)."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.api import Completion, Data, EditAsk, EditFailed, Editor, Recipe, Request, SelfEdit, Session
from harness.errors import UsageError
from harness.registry.prompt_files import load
from harness_entigraph.entities import Entities, from_json, from_lines, groups, names_all

_log = logging.getLogger("harness")
_SCHEMA = {
    "type": "object",
    "properties": {"summary": {"type": "string"}, "entities": {"type": "array", "items": {"type": "string"}}},
    "required": ["summary", "entities"],
    "additionalProperties": False,
}
_READ = 100
"""How many names of a list are read at most."""
_SIZES = {"pair": ("a", "b"), "triple": ("a", "b", "c")}


@dataclass(frozen=True)
class EntiGraphSettings:
    """How many texts are written about a passage, and with which prompts."""

    template: str = "harness_entigraph:templates/entigraph-1.toml"
    """A prompt file with the keys ``entities``, ``pair`` and ``triple``."""
    entities_as: Literal["json", "lines"] = "json"
    """Form of the list that the prompt asks for; ``json`` includes a summary."""
    max_entities: Annotated[int, Field(ge=2)] = 10
    """How many of the listed entities are used, the first ones (the number of pairs grows with the square)."""
    in_passage: bool = False
    """Leave out listed names that do not occur verbatim in the passage; for writers that invent some."""
    pairs: Annotated[int, Field(ge=-1)] = 5
    """Pair texts per passage, drawn from all pairs; -1 writes about every pair, as the paper does."""
    triples: Annotated[int, Field(ge=-1)] = 0
    """Triple texts per passage."""
    match_pairs: bool = False
    """Keep pair and triple texts in turn until they have as many tokens as the pair texts alone: this shows what
    triples are worth when they add no text."""
    budget_tokens: Annotated[int, Field(ge=0)] = 0
    """Keep texts of a passage while they stay within this many tokens; 0 keeps all. At least one is kept."""
    share: Annotated[float, Field(ge=0, le=1)] = field(default=1.0, metadata={"added_later": True})
    """Share of the pairs and triples that are written about, each by a draw of its own: the texts of a smaller share
    are among those of a larger one, as prefixes of the paper's shuffled corpus are (its accuracy against tokens)."""
    summary: bool = True
    """Whether the summary, if there is one, is learnt too."""
    one_sequence: bool = True
    """Whether each text is one training sequence, as in the paper; otherwise the task splits it like any edit."""
    temperature: float = 1.0
    """Sampling temperature; 0 is greedy decoding."""
    top_p: float = 0.95
    """Nucleus sampling: only the most probable tokens that together have this probability are drawn."""
    max_tokens: Annotated[int, Field(ge=1)] = 1024
    """New tokens per text."""
    tries: Annotated[int, Field(ge=1)] = 1
    """Samples per text; the first that names all its entities is kept (else the first). For weak writers."""
    entity_tokens: Annotated[int, Field(ge=1)] = 512
    """New tokens per entity list."""


@dataclass(frozen=True)
class _Sample:
    """An edit in the making: number ``n`` of the ask at ``place``."""

    place: int
    ask: EditAsk
    n: int
    listed: Completion
    entities: Entities
    left_out: int
    """Number of listed names that do not occur in the passage."""
    chosen: tuple[tuple[str, ...], ...]
    """Groups of names, pairs before triples; parallel to the texts."""


class EntiGraph(Editor):
    """Three bulk passes: entity lists, pair texts, triple texts. An edit is all texts of one list, and the passage.

    A passage in which fewer than two entities are found is learnt as it is. One line says how many lists were repaired
    and how many texts name all their entities; the run's journal keeps it under ``entigraph/<first context>``.
    """

    Settings: ClassVar[type[EntiGraphSettings]] = EntiGraphSettings

    def __init__(self, settings: EntiGraphSettings) -> None:
        if not settings.pairs and not settings.triples:
            raise UsageError("editor 'entigraph': pairs and triples are both 0, so there is nothing to write")
        self._settings = settings
        self._list = load(settings.template, "entities", ("text",))
        self._write = {key: load(settings.template, key, ("text", *marks)) for key, marks in _SIZES.items()}

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        """``ask.n`` edits of each ask's passage, written by ``ask.state``."""
        lists = s.generate([self._listing(ask, s.lm(ask.state).can) for ask in asks])
        samples = [
            self._sample(place, ask, n, one)
            for place, (ask, row) in enumerate(zip(asks, lists, strict=True))
            for n, one in enumerate(row)
        ]
        texts: dict[tuple[int, int], list[Completion]] = {}
        for key, size in (("pair", 2), ("triple", 3)):
            asked = [(sample, group) for sample in samples for group in sample.chosen if len(group) == size]
            written = s.generate(
                [self._writing(key, sample, group, s.lm(sample.ask.state).can) for sample, group in asked]
            )
            for (sample, group), tried in zip(asked, written, strict=True):
                texts.setdefault((sample.place, sample.n), []).append(_first_naming(tried, group))
        self._report(samples, texts, s)
        rows: list[list[SelfEdit]] = [[] for _ in asks]
        for sample in samples:
            rows[sample.place].append(self._edit(sample, texts.get((sample.place, sample.n), []), s))
        return rows

    # --- asking ---

    def _listing(self, ask: EditAsk, can: frozenset[str]) -> Request:
        own = self._settings
        structured = own.entities_as == "json" and "schema" in can
        return Request(
            ask.state,
            self._list.fill(_passage(ask), chat="chat" in can),
            n=ask.n,
            temperature=own.temperature,
            top_p=own.top_p,
            max_tokens=own.entity_tokens,
            seed=ask.seed,
            schema=_SCHEMA if structured else None,
        )

    def _sample(self, place: int, ask: EditAsk, n: int, listed: Completion) -> _Sample:
        own, passage = self._settings, str(ask.episode.context["text"])
        read = from_json if own.entities_as == "json" else from_lines
        entities = read(listed.text, passage, _READ)
        held = [name for name in entities.names if name.casefold() in passage.casefold()]
        names = (held if own.in_passage else entities.names)[: own.max_entities]
        pairs = groups(names, 2, own.pairs, ask.seed + n)
        triples = groups(names, 3, own.triples, ask.seed + n)
        left_out = len(entities.names) - len(held) if own.in_passage else 0
        chosen = tuple(group for group in (*pairs, *triples) if _drawn(group, ask.seed + n) < own.share)
        return _Sample(place, ask, n, listed, entities, left_out, chosen)

    def _writing(self, key: str, sample: _Sample, group: tuple[str, ...], can: frozenset[str]) -> Request:
        own = self._settings
        values = {**_passage(sample.ask), **dict(zip(_SIZES[key], group, strict=True))}
        return Request(
            sample.ask.state,
            self._write[key].fill(values, chat="chat" in can),
            n=own.tries,
            temperature=own.temperature,
            top_p=own.top_p,
            max_tokens=own.max_tokens,
            seed=sample.ask.seed + sample.n,
        )

    # --- from texts to edits ---

    def _edit(self, sample: _Sample, texts: Sequence[Completion], s: Session) -> SelfEdit:
        episode = sample.ask.episode
        edit = SelfEdit(f"{episode.id}/{sample.n}", episode.id, (), actions=(sample.listed, *texts))
        if sample.listed.finish == "failed":
            return replace(edit, status="failed", reason=sample.listed.reason)
        learnt = [sample.entities.summary] if self._settings.summary and sample.entities.summary else []
        learnt += [one.text.strip() for one in self._kept(sample, texts)]
        data: list[Data] = []
        for text in learnt:
            recipe = Recipe("lines", {"text": text, "lines": False} if self._settings.one_sequence else {"text": text})
            try:
                s.task.expand(recipe, episode, sample.ask.seed)
            except EditFailed:
                continue  # one empty or degenerate text among others
            data.append(recipe)
        return replace(edit, data=(*data, Recipe("passage")))

    def _kept(self, sample: _Sample, texts: Sequence[Completion]) -> list[Completion]:
        """The texts within the budget, in the order in which they were drawn."""
        own = self._settings
        usable = [(len(group), one) for group, one in zip(sample.chosen, texts, strict=True) if one.text.strip()]
        order, budget = [one for _, one in usable], own.budget_tokens
        if own.match_pairs:
            pairs = [one for size, one in usable if size == 2]
            by_turns = zip_longest(pairs, [one for size, one in usable if size == 3])
            order = [one for one in chain.from_iterable(by_turns) if one is not None]
            budget = min(filter(None, (budget, sum(map(_tokens, pairs)))), default=0)
        kept: list[Completion] = []
        for one in order:
            if budget and kept and sum(map(_tokens, kept)) + _tokens(one) > budget:
                break
            kept.append(one)
        return kept

    def _report(
        self, samples: Sequence[_Sample], texts: Mapping[tuple[int, int], list[Completion]], s: Session
    ) -> None:
        if not samples:
            return
        how = Counter(sample.entities.how for sample in samples)
        named = [
            names_all(one.text, group)
            for sample in samples
            for group, one in zip(sample.chosen, texts.get((sample.place, sample.n), []), strict=True)
        ]
        report = {
            "edits": len(samples),
            **{name: how[name] for name in ("ok", "repaired", "fallback")},
            "names_left_out": sum(sample.left_out for sample in samples),
            "without_pairs": sum(not sample.chosen for sample in samples),
            "texts": len(named),
            "naming_all": sum(named),
            "cut": sum(one.finish == "length" for row in texts.values() for one in row),
        }
        s.keep(f"entigraph/{samples[0].ask.episode.id}", report)
        _log.info(
            "entigraph: %d lists (%d repaired, %d by fallback, %d with no pair to write about, %d names left out); "
            "%d texts, %d of them name all their entities, %d were cut off",
            *(report[name] for name in ("edits", "repaired", "fallback", "without_pairs", "names_left_out")),
            *(report[name] for name in ("texts", "naming_all", "cut")),
        )


def _passage(ask: EditAsk) -> dict[str, str]:
    return {name: str(ask.episode.context[name]).strip() for name in ("title", "text")}


def _drawn(group: tuple[str, ...], seed: int) -> float:
    """A number in [0, 1) of the group's own."""
    return random.Random(f"share/{seed}/{'/'.join(group)}").random()


def _first_naming(tried: Sequence[Completion], group: Sequence[str]) -> Completion:
    return next((one for one in tried if names_all(one.text, group)), tried[0])


def _tokens(one: Completion) -> int:
    return int(one.cost.get("completion_tokens", len(one.tokens or one.text.split())))
