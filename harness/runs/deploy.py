"""Measure a method: have its policy write edits for a split, apply them as the grouping says, ask the queries.

This is the protocol around a trained policy, the same for every method (SEAL section 4.1 for ``single``, 4.2 for
``cpt``): plugins own what happens inside each step, the core owns the order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.api import Ask, EditAsk, Episode, Group, Score, SelfEdit, TrialJob, UpdateJob
from harness.errors import UsageError
from harness.session.service import SessionService


@dataclass(frozen=True)
class Measured:
    """The scores of a split: for every episode one list of scores a sample."""

    episodes: Sequence[Episode]
    scores: Sequence[Sequence[Sequence[Score]]]
    groups: Sequence[Group]
    """The edits that were deployed; empty for a method without an editor."""
    remarks: Sequence[str] = ()
    """What is to be known of the update beside the scores."""

    def macro(self) -> float | None:
        """Mean over episodes of the mean over samples and queries, in [0, 1]; None while an error is unmended."""
        means = []
        for samples in self.scores:
            values = [score.value for scores in samples for score in scores]
            if any(value is None for value in values):
                return None
            if values:
                means.append(sum(v for v in values if v is not None) / len(values))
        return sum(means) / len(means) if means else None

    def edit_tokens(self) -> int:
        """Tokens that the editor wrote for these edits."""
        actions = [action for group in self.groups for edit in group.edits for action in edit.actions]
        return sum(int(action.cost.get("completion_tokens", len(action.tokens or ()))) for action in actions)


def measure(
    session: SessionService,
    episodes: Sequence[Episode],
    *,
    label: str,
    samples: int,
    grouping: str,
    has_editor: bool,
    recorded: Mapping[str, Sequence[SelfEdit]] | None = None,
    updater: str = "updater",
) -> Measured:
    """Run the protocol on a split.

    Args:
        label: part of the seeds' names, so that the validation split and the test split draw apart.
        updater: slot of the updater that learns all edits together, under the grouping ``cpt``.
        recorded: edits of another run by episode, used instead of writing new ones.
    """
    student = session.roles["student"]
    if not has_editor:
        rows = session.answer([Ask(student, e, 1, session.seed(label, "ask", e.id)) for e in episodes])
        return Measured(episodes, [[row] for row in rows], ())
    asks = [EditAsk(e, session.roles["teacher"], samples, session.seed(label, "edit", e.id)) for e in episodes]
    groups = session.propose("teacher", asks) if recorded is None else _from_record(asks, recorded)
    if grouping == "cpt":
        return _continued(session, episodes, groups, label, updater)
    jobs, at = [], []
    for index, (episode, group) in enumerate(zip(episodes, groups, strict=True)):
        for edit in group.edits:
            jobs.append(
                TrialJob(UpdateJob(f"{label}/{edit.id}", student, (edit,), session.seed("inner", edit.id)), (episode,))
            )
            at.append(index)
    scores: list[list[Sequence[Score]]] = [[] for _ in episodes]
    for index, row in zip(at, session.measure(jobs), strict=True):
        scores[index].append(row)
    # An editor may pass an episode over (selection): then the start model answers, as it would in use.
    bare = [index for index, rows in enumerate(scores) if not rows]
    for index, row in zip(bare, session.answer([Ask(student, episodes[i]) for i in bare]), strict=True):
        scores[index].append(row)
    return Measured(episodes, scores, groups)


def _continued(
    session: SessionService, episodes: Sequence[Episode], groups: Sequence[Group], label: str, updater: str
) -> Measured:
    """All edits in one job, as the task joins them; then every query is asked of the one state that comes out."""
    student = session.roles["student"]
    edits = tuple(edit for group in groups for edit in group.edits)
    join = getattr(session.task, "join", None)
    job = UpdateJob(f"{label}/cpt", student, tuple(join(edits)) if join else edits, session.seed(label, "cpt"))
    [updated] = session.update(updater, [job])
    if updated.state is None:
        rows: Sequence[Sequence[Score]] = [list(session.without_answer(e, updated)) for e in episodes]
    else:
        rows = session.answer([Ask(updated.state, e, 1, session.seed(label, "ask", e.id)) for e in episodes])
    left_out = updated.log.get("left_out")
    said = f"{left_out} of {len(edits)} edits left out of the update, the first: {updated.log.get('left_out_first')}"
    return Measured(episodes, [[row] for row in rows], groups, (said,) if left_out else ())


def _from_record(asks: Sequence[EditAsk], recorded: Mapping[str, Sequence[SelfEdit]]) -> list[Group]:
    missing = [ask.episode.id for ask in asks if ask.episode.id not in recorded]
    if missing:
        raise UsageError(
            f"--edits: the run has no edits for {len(missing)} of {len(asks)} contexts, such as {missing[0]}"
        )
    return [Group(ask, tuple(recorded[ask.episode.id][: ask.n])) for ask in asks]
