"""How far a model has moved on texts that no update is about: its divergence from the base, in nats per token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.api import Bench, Measure, Measurement, Prompt, Request, Score, SelfEdit, State
from harness.books.records import canonical

TOKENS = 48
"""Most tokens of a neutral text, which is the base's continuation of a context."""


class Drift:
    """KL(base || now) on the base's own continuations of contexts that belong to no sequence.

    The texts are drawn from the base, so that the mean over their tokens of ``log p(base) - log p(now)`` is an unbiased
    estimate of the divergence. It needs only log-probabilities of given texts. (The estimator ``r - 1 - log r``, which
    is never negative, is of no use here: one token that was improbable under the base outweighs all others.)"""

    def __init__(self, bench: Bench, base: State, count: int) -> None:
        self._bench, self._base = bench, base
        self._texts: list[tuple[Prompt, str]] | None = None
        self._before: Sequence[Sequence[float]] = ()
        self._count = count if {"generate", "logprobs"} <= bench.session.lm(base).can else 0

    def measured(self, states: Sequence[tuple[str, State]], step: int) -> Iterator[Measurement]:
        """The divergence of every sequence's state, text by text; nothing where there are no texts."""
        texts = self._drawn()
        if not texts:
            return
        s = self._bench.session
        asks = [(state, prompt, text) for _, state in states for prompt, text in texts]
        rows = iter(s.lm(self._base).logprobs(asks))
        scores = [
            Score(name, f"{name}/text-{i + 1}", divergence(before, next(rows)))
            for name, _ in states
            for i, before in enumerate(self._before)
        ]
        yield Measurement("kl", scores, step, self._measure("KL(base || now) per token"))

    def of_edits(
        self, states: Sequence[tuple[str, State | None, Sequence[SelfEdit]]], step: int
    ) -> Iterator[Measurement]:
        """How far each sequence's state has moved on the edit that it has just learnt, as it was written, under the
        prompt that asked for it; nothing where another model, or none, wrote the edits.

        It is the same log-ratio, but no estimate of a divergence, as these texts have been learnt: below 0 where they
        have become more probable. (RL's Razor, arXiv 2509.04259, measures a divergence on the new task.)"""
        if not self._count:
            return
        asks: list[tuple[State, Prompt, str]] = []
        names: list[str] = []
        for name, state, edits in states:
            written = [action for edit in edits for action in edit.actions if action.text.strip()]
            # What another model wrote may be longer than this one can read.
            mine = [action for action in written if action.request.state.base == self._base.base]
            for action in mine if state else ():
                asks += [(one, action.request.prompt, action.text) for one in (self._base, state) if one]
                names.append(name)
        rows = self._bench.session.lm(self._base).logprobs(asks) if asks else []
        scores = [
            Score(name, f"{name}/{i + 1}", divergence(before, now))
            for i, (name, before, now) in enumerate(zip(names, rows[::2], rows[1::2], strict=True))
            if before
        ]
        if scores:
            metric = "log p(base) - log p(now) per token of the last edit"
            yield Measurement("edit", scores, step, self._measure(metric))

    def _measure(self, metric: str) -> Measure:
        task = self._bench.session.task
        return Measure(task.name, task.version, "protocol sequence", metric,
                       unit="nats", lower_is_better=True)  # fmt: skip

    def _drawn(self) -> list[tuple[Prompt, str]]:
        """The neutral texts, drawn once; those that end at once are left out."""
        if self._texts is None:
            s = self._bench.session
            episodes = list(s.episodes("validation") or s.episodes("train"))[: self._count] if self._count else []
            prompts = [_opening(episode.context) for episode in episodes]
            seeds = [s.seed("neutral", episode.id) for episode in episodes]
            asks = [
                Request(self._base, prompt, temperature=1.0, max_tokens=TOKENS, seed=seed)
                for prompt, seed in zip(prompts, seeds, strict=True)
            ]
            drawn = [completion.text for (completion,) in s.generate(asks)] if asks else []
            self._texts = [(prompt, text) for prompt, text in zip(prompts, drawn, strict=True) if text.strip()]
            lm = s.lm(self._base)
            self._before = lm.logprobs([(self._base, *one) for one in self._texts]) if self._texts else []
        return self._texts


def divergence(before: Sequence[float], now: Sequence[float]) -> float:
    """The mean log-ratio, in nats, over tokens that were drawn from the model before."""
    return sum(a - b for a, b in zip(before, now, strict=True)) / len(before)


def _opening(context: object) -> str:
    """The first half of what a context says, to a word's end, as the prompt of a continuation."""
    text = ""
    if isinstance(context, dict) or hasattr(context, "get"):
        text = "\n".join(str(context[key]) for key in ("title", "text") if key in context)  # type: ignore[index,operator]
    words = (text or canonical(context)).split(" ")
    return " ".join(words[: max(1, len(words) // 2)])
