"""The trainer ``guarded``: any other one, watched on held-out contexts and stopped when it diverges."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Annotated, Any, ClassVar

from pydantic import Field

from harness.api import Completion, EditAsk, Round, Session, State, Trainer

_log = logging.getLogger("harness")
_Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class GuardedSettings:
    """What is watched after every round, and when a loop has diverged. A limit of 0 watches and never stops."""

    contexts: Annotated[int, Field(ge=1)] = 12
    """Contexts of the validation split (of the train split where there is none) of which one edit each is written."""
    rewarded: bool = True
    """Whether these edits are rewarded too, which takes as many trials as the reward makes of them."""
    max_kl: _Share = 100.0
    """Nats by which an edit, in the mean, may be likelier under the policy than under that of the loop's start."""
    max_length: _Share = 3.0
    """Most tokens of an edit, as a multiple of those at the start."""
    min_length: _Share = 0.2
    """The least of the same."""
    min_entropy: _Share = 0.1
    """Entropy per token, as a share of that at the start."""
    max_drop: _Share = 0.1
    """How far the reward of held-out contexts may fall below its best while that of training contexts does not fall."""


class Guarded(Trainer):
    """Yields the rounds of ``inner`` with what it saw in their metrics; after one that diverged it yields no more.

    A round that diverged is a checkpoint like any other: the run chooses among all on the validation split. Measured of
    the policy's own edits on held-out contexts: ``kl`` (nats per edit, the estimate k1: mean of log p - log p of the
    start), ``entropy`` (nats per token), ``length`` (tokens) and, where ``rewarded``, ``held_out`` (mean reward).
    """

    Settings = GuardedSettings
    nested: ClassVar[Mapping[str, str]] = {"inner": "trainer"}

    def __init__(self, settings: GuardedSettings, inner: Trainer) -> None:
        self._settings = settings
        self._inner = inner
        self.rounds = inner.rounds

    def candidates(self, contexts: int, /) -> int:
        watched = (self.rounds + 1) * self._settings.contexts if self._settings.rewarded else 0
        return self._inner.candidates(contexts) + watched

    def run(self, s: Session, /) -> Iterator[Round]:
        """The inner trainer's rounds, up to the first that diverged."""
        start = s.roles["teacher"]
        first = before = self._watch("start", start, s)
        best = first.get("held_out", 0.0)
        reward = float("-inf")
        for done in self._inner.run(s):
            now = self._watch(done.index, start, s)
            now_reward = done.metrics.get("reward_mean", reward)
            reason = self._diverged(first, now, best, fell=now_reward < reward)
            metrics = {**done.metrics, **now}
            if done.index == 0:
                metrics["start"] = before
            if reason:
                note = f"stopped after round {done.index + 1}: {reason}"
                metrics["note"] = "; ".join(filter(None, [str(done.metrics.get("note", "")), note]))
                _log.warning("the guard %s", note)
            yield replace(done, metrics=metrics)
            if reason:
                return
            best = max(best, now.get("held_out", 0.0))
            reward = now_reward

    def _watch(self, when: object, start: State, s: Session) -> dict[str, float]:
        own, policy = self._settings, s.roles["teacher"]
        episodes = s.episodes("validation", own.contexts) or s.episodes("train", own.contexts)
        # The same seeds whatever the round: what differs is the policy.
        groups = s.propose("teacher", [EditAsk(one, policy, 1, s.seed("guard", one.id)) for one in episodes])
        written = [action for group in groups for edit in group.edits for action in edit.actions if action.text]
        found: dict[str, float] = {}
        if written and "logprobs" in s.lm("teacher").can:
            found |= _of_texts(written, policy, start, s)
        if own.rewarded:
            rewards = [r.value for group in s.reward(groups) for r in group.rewards if r.value is not None]
            found |= {"held_out": fmean(rewards)} if rewards else {}
        return found

    def _diverged(self, first: Mapping[str, float], now: Mapping[str, float], best: float, *, fell: bool) -> str:
        """Why the loop is to stop; "" where it may go on."""
        own = self._settings
        share = {name: now[name] / first[name] for name in ("length", "entropy") if first.get(name) and name in now}
        checks: tuple[tuple[Any, str], ...] = (
            (own.max_kl and now.get("kl", 0.0) > own.max_kl,
             f"edits are {now.get('kl', 0.0):.0f} nats from the start's, more than {own.max_kl:g}"),
            (own.max_length and share.get("length", 1.0) > own.max_length,
             f"edits have {share.get('length', 1.0):.1f} times the start's tokens"),
            (share.get("length", 1.0) < own.min_length,
             f"edits have {share.get('length', 1.0):.2f} times the start's tokens"),
            (share.get("entropy", 1.0) < own.min_entropy,
             f"the entropy per token is {share.get('entropy', 1.0):.2f} times the start's"),
            (own.max_drop and not fell and now.get("held_out", best) < best - own.max_drop,
             f"the reward of held-out contexts fell from {best:.3f} to {now.get('held_out', best):.3f} while that of "
             "training contexts did not"),
        )  # fmt: skip
        return next((said for is_so, said in checks if is_so), "")


def _of_texts(written: list[Completion], policy: State, start: State, s: Session) -> dict[str, float]:
    """Divergence, entropy and length of what the policy wrote, by the same tokens under both policies."""
    lm = s.lm("teacher")
    now = lm.logprobs([(policy, one.request.prompt, one.text) for one in written])
    then = now if start == policy else lm.logprobs([(start, one.request.prompt, one.text) for one in written])
    tokens = sum(map(len, now))
    return {
        "kl": fmean(sum(a) - sum(b) for a, b in zip(now, then, strict=True)),
        "entropy": -sum(map(sum, now)) / tokens,
        "length": tokens / len(now),
    }
