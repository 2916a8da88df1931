"""One update of the policy by a slot, from any starting state; and the states of the rounds, for the protocol."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from harness.api import SelfEdit, Session, StartAs, State, UpdateJob
from harness.errors import RunError

_log = logging.getLogger("harness")


def learn(
    s: Session, slot: str, start: State, edits: Sequence[SelfEdit], start_as: StartAs, *name: object
) -> tuple[State, dict[str, Any]]:
    """The state after an update on the edits, and what to report; the start itself where nothing could be learnt.

    Args:
        start_as: what becomes of the adapters of ``start``; without adapters it makes no difference.

    Raises:
        RunError: the update was lost.
    """
    if not edits:
        return start, {f"{slot}_note": "nothing to learn"}
    how: StartAs = start_as if start.adapters else "stack"
    job = UpdateJob("/".join(map(str, (*name, slot))), start, tuple(edits), s.seed(*name, slot), start_as=how)
    [done] = s.update(slot, [job])
    if done.status == "error":
        raise RunError(f"{job.id}: the update was lost: {done.reason}")
    if done.state is None:
        _log.warning("%s: the update failed: %s", job.id, done.reason)
        return start, {f"{slot}_note": f"the update failed, the policy stays as it was: {done.reason}"}
    return done.state, {f"{slot}_{key}": done.log[key] for key in ("steps", "loss") if done.log.get(key) is not None}


def keep(s: Session, place: int, state: State) -> None:
    """Note the policy after a round (0: before the first one), so that the protocol ``by-round`` can measure it.

    States that are noted must not be released.
    """
    s.keep(_NAME.format(place), {"base": state.base, "adapters": list(state.adapters)})


def kept(s: Session) -> list[State]:
    """The policies that were noted, the start first."""
    found: list[State] = []
    while (one := s.keep(_NAME.format(len(found)))) is not None:
        found.append(State(str(one["base"]), tuple(map(str, one["adapters"]))))
    return found


_NAME = "policy after round {}"
