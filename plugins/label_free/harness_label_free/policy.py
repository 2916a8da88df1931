"""One step of policy gradient for a role: rollouts with advantages into the updater of a slot."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from harness.api import Rollout, SelfEdit, Session, UpdateJob
from harness.errors import RunError
from harness_label_free.answering import Answered

_log = logging.getLogger("harness")


def rollouts(group: Answered, advantages: Sequence[float | None]) -> SelfEdit | None:
    """A question's answers as training data; None where nothing is to be learnt (a tied group).

    Args:
        advantages: of the first completions; those without one are left out, as are those at 0, which have no gradient.
    """
    data = tuple(
        Rollout(one, group.query.id, advantage)
        for one, advantage in zip(group.completions, advantages, strict=False)
        if advantage and one.finish != "failed"
    )
    return SelfEdit(f"{group.query.id}/rollouts", group.episode.id, data) if data else None


def step(s: Session, role: str, slot: str, edits: Sequence[SelfEdit | None], *name: object) -> dict[str, Any]:
    """Train the role's policy on rollouts; it goes on with its adapter and the optimiser's moments.

    Raises:
        RunError: the update was lost.
    """
    given = tuple(edit for edit in edits if edit is not None)
    if not given:
        return {"note": "every group was tied: nothing to learn"}
    before = s.roles[role]
    job = UpdateJob(
        "/".join(map(str, name)), before, given, s.seed(*name), start_as="continue" if before.adapters else "stack"
    )
    [done] = s.update(slot, [job])
    if done.status == "error":
        raise RunError(f"{job.id}: the update was lost: {done.reason}")
    if done.state is None:
        _log.warning("%s: the update failed: %s", job.id, done.reason)
        return {"note": f"the update failed, the policy stays as it was: {done.reason}"}
    s.roles[role] = done.state
    if before.adapters and before not in s.roles.values():
        s.release([before])  # the core keeps what may still be chosen
    return {"loss": done.log["loss"]} if done.log.get("loss") is not None else {}
