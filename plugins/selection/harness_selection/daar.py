"""DaaR (Ling et al. 2025, arXiv 2502.04380): learn those items of a pool whose domain a probe is least sure of."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.api import Episode, Example, Round, SelfEdit, Session, Trainer
from harness.errors import UsageError
from harness_selection.learning import embedder, learn

Positive = Annotated[int, Field(ge=1)]
_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class DaarSettings:
    """How items are read and probed, and how many are learnt."""

    select: Literal["daar", "random", "all"] = "daar"
    """All but ``daar`` are controls: as many items drawn at random, or the whole pool."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the pool that is learnt."""
    seeds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Example texts of each domain: their mean embedding is where the domain's cluster begins."""
    read: str = "{text} {response}"
    """What of an item's context is embedded and probed."""
    layers: Positive = 3
    """The probe reads states after so many layers."""
    pool: Literal["mean", "last"] = "mean"
    """Their mean, as the paper describes, or the last token's, as the released code takes unless told otherwise."""
    clustered: Annotated[int, Field(ge=0)] = 5000
    """Items that are clustered and probed, the first ones drawn at random; the others are only rated. 0 is all."""
    rate: Annotated[float, Field(gt=0)] = 1e-5
    """Adam's learning rate for both probes."""
    epochs: Positive = 1
    """Passes over the clustered items."""
    batch: Positive = 1
    """Items per step of a probe."""


class Daar(Trainer):
    """Clusters a sample of the train split, probes it, rates the whole split, and learns the top (slot ``sft``).

    An item's context is ``{"text": instruction, "response": answer}``. Embeddings are those of the role ``embedder``:
    of a local model the mean of its embedding layer, of a sentence encoder its sentence vectors.
    """

    Settings = DaarSettings

    def __init__(self, settings: DaarSettings) -> None:
        self._settings = settings
        self.rounds = 1

    def run(self, s: Session, /) -> Iterator[Round]:
        """One checkpoint.

        Raises:
            UsageError: no pool, no responses in it, or no domains.
            RunError: the update was lost.
        """
        own = self._settings
        pool = [episode for episode in s.episodes("train") if episode.queries]
        if not pool:
            raise UsageError("trainer 'daar' needs a pool: the task's split 'train' has no questions")
        odd = next((episode.id for episode in pool if not str(episode.context.get("response", ""))), None)
        if odd is not None:
            raise UsageError(
                f"trainer 'daar' selects from instructions with responses, and the context of {odd!r} has no "
                "'response': name a task such as lab-pool"
            )
        count = max(1, int(own.share * len(pool)))
        metrics: dict[str, Any] = {"pool": len(pool)}
        if own.select == "all":
            chosen = list(range(len(pool)))
        elif own.select == "random":
            chosen = sorted(random.Random(s.seed("daar", "random")).sample(range(len(pool)), count))
        else:
            rated = self._rated(s, pool, metrics)
            chosen = sorted(sorted(range(len(pool)), key=lambda place: (-rated[place], place))[:count])
        metrics["learnt"] = len(chosen)
        metrics |= learn(s, [_edit(s, pool[place]) for place in chosen], "daar", own.select)
        yield Round(0, dict(s.roles), metrics)

    def _rated(self, s: Session, pool: Sequence[Episode], metrics: dict[str, Any]) -> list[float]:
        """Predicted entropy of every item's domain, in nats."""
        import numpy as np

        from harness_selection.domains import Probe, entropy, kmeans

        own = self._settings
        if len(own.seeds) < 2:
            raise UsageError("trainer.seeds: name two domains or more, each with example texts")
        texts = [self._read(episode) for episode in pool]
        rng = random.Random(s.seed("daar", "clustered"))
        size = min(own.clustered or len(pool), len(pool))
        sample = sorted(rng.sample(range(len(pool)), size))
        who = embedder(s)
        examples = [text for name in sorted(own.seeds) for text in own.seeds[name]]
        vectors = np.asarray(s.lm(who).hidden([(who, t) for t in [*examples, *(texts[i] for i in sample)]], layer=0))
        centres, at = [], 0
        for name in sorted(own.seeds):
            centres.append(vectors[at : at + len(own.seeds[name])].mean(0))
            at += len(own.seeds[name])
        found = kmeans(vectors[at:], np.asarray(centres))
        state = s.roles["teacher"]
        states = np.asarray(s.lm(state).hidden([(state, t) for t in texts], layer=own.layers, pool=own.pool))
        how = {"rate": own.rate, "epochs": own.epochs, "batch": own.batch}
        width, clusters = states.shape[1], len(centres)
        probe = Probe(width, clusters, s.seed("daar", "probe"), **how)  # type: ignore[arg-type]
        sure = entropy(probe.classify(states[sample], found.tolist()))
        head = Probe(width, 1, s.seed("daar", "entropy"), **how)  # type: ignore[arg-type]
        head.regress(states[sample], sure)
        agree = probe.probabilities(states[sample]).argmax(1) == found
        metrics["probe_right"] = float(agree.mean())
        metrics["entropy"] = float(sure.mean())
        metrics["clusters"] = len(set(found.tolist()))
        return [float(value) for value in head.values(states)]

    def _read(self, episode: Episode) -> str:
        return _FIELD.sub(lambda found: str(episode.context.get(found[1], "")), self._settings.read).strip()


def _edit(s: Session, episode: Episode) -> SelfEdit:
    query = episode.queries[0]
    prompt = s.task.prompt(query, {}, chat="chat" in s.lm("teacher").can)
    return SelfEdit(f"{query.id}/pair", episode.id, (Example(prompt, str(episode.context["response"])),))
