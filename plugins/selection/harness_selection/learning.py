"""What the methods of this package share: a supervised update, and labels that are known."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.api import Ask, Episode, Example, Query, SelfEdit, Session, State, UpdateJob
from harness.errors import RunError, UsageError

_log = logging.getLogger("harness")


def learn(s: Session, edits: Sequence[SelfEdit], *name: object) -> dict[str, Any]:
    """Train the role ``teacher`` on edits with the updater of slot ``sft``; how that went.

    Raises:
        RunError: the update was lost.
    """
    job_id = "/".join(map(str, name))
    given = tuple(edit for edit in edits if edit.data)
    if not given:
        _log.warning("%s: there is nothing to learn: the model stays as it was", job_id)
        return {"note": "there is nothing to learn: the model stays as it was"}
    before = s.roles["teacher"]
    start_as: Literal["merge", "stack"] = "merge" if before.adapters else "stack"
    [done] = s.update("sft", [UpdateJob(job_id, before, given, s.seed(*name), start_as=start_as)])
    if done.status == "error":
        raise RunError(f"{job_id}: the update was lost: {done.reason}")
    if done.state is None:
        _log.warning("%s: the update failed: %s", job_id, done.reason)
        return {"note": f"the update failed, the model stays as it was: {done.reason}"}
    s.roles["teacher"] = done.state
    if before.adapters and before not in s.roles.values():
        s.release([before])
    return {name: done.log[name] for name in ("steps", "loss") if done.log.get(name) is not None}


@dataclass(frozen=True)
class Question:
    """A query with its episode."""

    episode: Episode
    query: Query

    @property
    def id(self) -> str:
        return self.query.id


def questions(s: Session, split: Literal["train", "test"], who: str) -> list[Question]:
    """All queries of a split, in order.

    Raises:
        UsageError: there is none.
    """
    found = [Question(episode, query) for episode in s.episodes(split) for query in episode.queries]
    if not found:
        raise UsageError(f"trainer {who!r} needs questions: the task's split {split!r} has none")
    return found


def gold(s: Session, asked: Sequence[Question], names: tuple[str, str], slot: str = "oracle") -> dict[str, bool]:
    """Query id -> the right one of two labels, by the evaluator of a slot: a control, which costs labels.

    An answer that is neither label says nothing, and its query is left out.

    Raises:
        UsageError: references of the test split are asked for.
    """
    state = s.roles["teacher"]
    episodes = {one.episode.id: one.episode for one in asked}
    rows = s.evaluate([Ask(state, episode, 1, s.seed("oracle")) for episode in episodes.values()], slot)
    scores = {score.query: score for row in rows for score in row}
    out = {}
    for one in asked:
        score = scores[one.id]
        if score.value is None:
            raise UsageError(
                "right labels need references, and those of the test split are not handed out: set "
                "trainer.split = 'train'"
            )
        said = s.task.extract(one.query, score.answers[0]) if score.answers else None
        true = [said is not None and s.task.same(one.query, said, name.strip()) for name in names]
        if any(true):
            out[one.id] = true[0] == (score.value > 0.5)
    return out


def labelled(s: Session, one: Question, target: str) -> SelfEdit:
    """A question with its label, as training data."""
    prompt = s.task.prompt(one.query, {}, chat="chat" in s.lm("teacher").can)
    return SelfEdit(f"{one.id}/label", one.episode.id, (Example(prompt, target),))


def embedder(s: Session) -> State:
    """Whose states are embeddings: the role ``embedder``'s, and where there is none, the model's own."""
    return s.roles["embedder" if "embedder" in list(s.roles) else "teacher"]
