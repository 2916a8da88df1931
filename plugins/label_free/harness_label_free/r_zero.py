"""R-Zero (Huang et al. 2025, arXiv 2508.05004): a challenger and a solver from one base, each trained in its turn.

The challenger (role ``teacher``) is rewarded for problems on which the frozen solver's answers are split in half; the
solver (role ``student``) then learns the majority's answers to the challenger's problems that are neither too easy nor
too hard. Nobody is asked what is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any

from pydantic import Field

from harness.api import Completion, Episode, Query, Request, Round, Session, Trainer
from harness.errors import PluginError, RunError, UsageError
from harness.trainers.advantages import Scale, group_advantages
from harness.votes import Vote
from harness_label_free.answering import Answered, Positive, Sampling, answered, measured, votes
from harness_label_free.policy import rollouts, step
from harness_label_free.repetition import repetition
from harness_label_free.ttrl import averaged, shuffled

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class RZeroSettings:
    """The sizes of the three phases of an iteration."""

    rounds: Positive = 3
    """Iterations; each gives a checkpoint."""
    prompt: str = ""
    """What the challenger is asked; see the preset ``paper-qwen3-4b`` for the released wording's sense."""
    pattern: str = r"<question>(.*?)</question>"
    """A regular expression whose first group is the problem in the challenger's text; no match is a malformed one."""
    max_tokens: Positive = 128
    """New tokens per problem, and per answer."""
    challenger_steps: Annotated[int, Field(ge=0)] = 5
    """0 is the control: the base writes the problems."""
    generations: Positive = 2048
    """Problems per challenger step, which are rewarded together."""
    group: Positive = 4
    """Problems whose rewards are compared."""
    judged_by: Positive = 10
    """Answers of the solver per problem, in the challenger's reward."""
    penalty: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the share of the batch that says nearly the same."""
    pool: Positive = 8000
    """Problems that are written for the solver."""
    labelled_by: Positive = 9
    """Answers of the solver that vote for a pseudo-label."""
    lowest: Share = 0.3
    """Lower bound on the majority's share, of the parsed answers, of problems that are kept."""
    highest: Share = 0.8
    """Its upper bound."""
    solver_steps: Positive = 15
    """Policy steps of the solver per iteration."""
    contexts: Positive = 512
    """Problems per solver step."""
    samples: Positive = 5
    """Answers per problem, all trained on."""
    temperature: float = 1.0
    """Sampling temperature; 0 is greedy decoding."""
    top_p: float = 1.0
    """Nucleus sampling: only the most probable tokens that together have this probability are drawn."""
    scale: Scale = "group"
    """What advantages are divided by: the standard deviation of the ``group`` or the ``batch``, or nothing."""


class RZero(Trainer):
    """Trains with the slots ``challenger`` and ``solver``; measures of both phases stand in the round."""

    Settings = RZeroSettings

    def __init__(self, settings: RZeroSettings) -> None:
        if not settings.prompt:
            raise UsageError("trainer.prompt: say what the challenger is asked, such as 'Write a problem.'")
        try:
            self._pattern = re.compile(settings.pattern, re.DOTALL)
        except re.error as error:
            raise UsageError(f"trainer.pattern: {settings.pattern!r} is no regular expression: {error}") from error
        if not self._pattern.groups:
            raise UsageError(f"trainer.pattern: {settings.pattern!r} has no group, such as '<question>(.*)</question>'")
        self._settings = settings
        self.rounds = settings.rounds

    def candidates(self, contexts: int, /) -> int:
        own = self._settings
        return own.rounds * (own.challenger_steps * own.generations + own.pool)

    def run(self, s: Session, /) -> Iterator[Round]:
        """One checkpoint per iteration.

        Raises:
            RunError: problems, answers or an update were lost.
        """
        own = self._settings
        for index in range(own.rounds):
            steps = [self._challenge(s, index, place) for place in range(own.challenger_steps)]
            metrics = {f"challenger_{name}": value for name, value in averaged(steps[-1:]).items()}
            if steps:
                shown = [name for name in ("agreement", "medium") if name in steps[0]]
                metrics |= {f"challenger_{name}_first": steps[0][name] for name in shown}
            kept, found = self._pool(s, index)
            metrics |= found
            if kept:
                order = shuffled([group.episode for group, _ in kept], own.contexts, s.seed("r-zero", index, "order"))
                known = {group.episode.id: str(vote.answer) for group, vote in kept}
                rows = [self._solve(s, next(order), known, index, place) for place in range(own.solver_steps)]
                metrics |= {f"solver_{name}": value for name, value in averaged(rows).items()}
            else:
                metrics["note"] = "no problem was kept: the solver stays as it was"
            yield Round(index, dict(s.roles), metrics)

    # --- the challenger ---

    def _challenge(self, s: Session, index: int, place: int) -> dict[str, Any]:
        """One step of the challenger; what its problems are like before it."""
        own = self._settings
        name = ("r-zero", index, "challenge", place)
        written = self._write(s, own.generations, *name)
        groups = self._asked(s, [self._problem(one) for one in written], own.judged_by, *name)
        shares = [None if group is None else _share(group, s) for group in groups]
        copied = repetition([self._problem(one) or one.text for one in written])
        rewards = [
            (-1.0 if share is None else min(share, 1 - share)) - own.penalty * repeated
            for share, repeated in zip(shares, copied, strict=True)
        ]
        [host] = s.make([_made("challenger", own.prompt)], {})
        parts = [slice(i, i + own.group) for i in range(0, len(written), own.group)]
        advantages = group_advantages([rewards[part] for part in parts], scale=own.scale)
        edits = []
        for number, (part, row) in enumerate(zip(parts, advantages, strict=True)):
            query = Query(f"challenge-{number}", own.prompt)
            edits.append(rollouts(Answered(host, query, 0, tuple(written[part]), ()), row))
        known = [share for share in shares if share is not None]
        out: dict[str, Any] = {
            "well_formed": len(known) / len(written),
            "repetition": sum(copied) / len(copied),
            "reward": sum(rewards) / len(rewards),
        }
        if known:  # of no problem at all there is no agreement, not one of 0
            out["agreement"] = sum(known) / len(known)
            out["medium"] = sum(own.lowest <= share <= own.highest for share in known) / len(known)
        return out | step(s, "teacher", "challenger", edits, *name)

    def _write(self, s: Session, count: int, *name: object) -> list[Completion]:
        own = self._settings
        state = s.roles["teacher"]
        turns = (("user", own.prompt),) if "chat" in s.lm(state).can else own.prompt
        request = Request(
            state, turns, count, own.temperature, own.top_p, own.max_tokens, seed=s.seed(*name, "problems")
        )
        [row] = s.generate([request])
        lost = next((one for one in row if one.finish == "error"), None)
        if lost is not None:
            raise RunError(f"r-zero: a problem was lost: {lost.reason or 'no reason given'}")
        return list(row)

    def _problem(self, one: Completion) -> str | None:
        found = self._pattern.search(one.text)
        return " ".join(found[1].split()) or None if found else None

    def _asked(self, s: Session, texts: Sequence[str | None], count: int, *name: object) -> list[Answered | None]:
        """The solver's answers to problems; None for a text that is no problem, or one of the test's."""
        episodes: dict[str, Episode] = {}
        for text in dict.fromkeys(text for text in texts if text):
            try:
                [episodes[text]] = s.make([_made("problem", text)], {})
            except PluginError:  # it wrote what it will be tested on, which nobody may learn from
                continue
        how = Sampling(count, self._settings.temperature, self._settings.top_p, self._settings.max_tokens)
        groups = answered(s, s.roles["student"], list(episodes.values()), how, *name)
        of = {group.query.text: group for group in groups}
        return [of.get(text) if text else None for text in texts]

    # --- the solver ---

    def _pool(self, s: Session, index: int) -> tuple[list[tuple[Answered, Vote]], dict[str, Any]]:
        """Problems with pseudo-labels that are kept for the solver, and what was found on the way."""
        own = self._settings
        written = self._write(s, own.pool, "r-zero", index, "pool")
        texts = list(dict.fromkeys(text for one in written if (text := self._problem(one))))
        groups = [group for group in self._asked(s, texts, own.labelled_by, "r-zero", index, "label") if group]
        found = votes(s, groups, "class")
        kept = [
            (group, vote)
            for group, vote in zip(groups, found, strict=True)
            if vote.answer is not None and own.lowest <= vote.share_of_valid <= own.highest
        ]
        s.diagnose(f"pseudo-label, iteration {index + 1}", {g.query.id: str(vote.answer) for g, vote in kept})
        shares = [vote.share_of_valid for vote in found]
        out: dict[str, Any] = {"pool": len(written), "pool_different": len(texts), "survivors": len(kept)}
        if shares:
            out["pool_medium"] = len(kept) / len(shares)
            out["pool_easy"] = sum(share > own.highest for share in shares) / len(shares)
            out["pool_agreement"] = sum(shares) / len(shares)
        return kept, out

    def _solve(
        self, s: Session, episodes: Sequence[Episode], known: dict[str, str], index: int, place: int
    ) -> dict[str, Any]:
        """One step of the solver: agreement with the pseudo-labels, which stay as they are."""
        own = self._settings
        name = ("r-zero", index, "solve", place)
        how = Sampling(own.samples, own.temperature, own.top_p, own.max_tokens)
        groups = answered(s, s.roles["student"], episodes, how, *name)
        rewards = [[float(yes) for yes in group.agreeing(known[group.episode.id], s)] for group in groups]
        advantages = group_advantages(rewards, scale=own.scale)
        edits = [rollouts(group, row) for group, row in zip(groups, advantages, strict=True)]
        flat = [reward for row in rewards for reward in row]
        return {
            **measured(groups, votes(s, groups, "class")),
            "reward": sum(flat) / len(flat),
            **step(s, "student", "solver", edits, *name),
        }


def _share(group: Answered, s: Session) -> float:
    """The majority's share of all answers, unparsed ones included."""
    [vote] = votes(s, [group], "class")
    return vote.share


def _made(kind: str, text: str) -> Episode:
    """An episode of the method's own; its name is its text's, so that a problem written twice is one."""
    name = f"{kind}-{sha256(text.encode()).hexdigest()[:16]}"
    return Episode(name, "made", {"text": text}, (Query(f"{name}/answer", text),))
