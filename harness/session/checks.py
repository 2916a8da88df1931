"""What a component may answer. A wrong answer stops the run with one line that names the component and its plugin."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any

from harness.api import (
    Ask,
    Component,
    Delta,
    EditAsk,
    EditFailed,
    Group,
    HarnessError,
    Reward,
    Score,
    SelfEdit,
    Updated,
)
from harness.errors import PluginError, RunError
from harness.registry.build import BuiltComponent
from harness.registry.discover import describe


def guarded(slot: BuiltComponent[Component], run: Callable[[], Any]) -> Any:
    """Run a component's code; what it raises becomes one line that names it.

    Raises:
        RunError: for the operating system's refusals, such as a full disk.
        PluginError: for everything else that is not already one of ours.
    """
    try:
        return run()
    except (HarnessError, EditFailed):
        raise
    except OSError as error:
        raise RunError(f"{slot.kind} {slot.name!r}: {error}; what was booked is intact") from error
    except Exception as error:
        raise PluginError(f"{_who(slot)} raised {describe(error)}") from error


def edits(
    slot: BuiltComponent[Component], rows: Sequence[Sequence[Any]], asks: Sequence[EditAsk]
) -> list[list[SelfEdit]]:
    """One list of edits an ask; an edit is ours to mend when a completion that wrote it could not be had."""
    if len(rows) != len(asks):
        raise PluginError(f"{_who(slot)} gave {len(rows)} lists for {len(asks)} asks")
    return [[_with_errors(_of_kind(slot, SelfEdit, edit)) for edit in row] for row in rows]


def rewards(
    slot: BuiltComponent[Component], rows: Sequence[Sequence[Any]], groups: Sequence[Group]
) -> list[list[Reward]]:
    """One reward an edit, in order."""
    if [len(row) for row in rows] != [len(group.edits) for group in groups]:
        raise PluginError(f"{_who(slot)} must give one reward for every edit, in order")
    return [[_of_kind(slot, Reward, reward) for reward in row] for row in rows]


def updates(slot: BuiltComponent[Component], results: Sequence[Any], jobs: Collection[str]) -> None:
    """One answer a job, with a state exactly when it is ok."""
    seen: set[str] = set()
    for updated in results:
        _of_kind(slot, Updated, updated)
        if updated.job not in jobs or updated.job in seen:
            raise PluginError(f"{_who(slot)} answered for job {updated.job!r}, which it was not given, or twice")
        if (updated.state is None) != (updated.status != "ok"):
            raise PluginError(
                f"{_who(slot)}: job {updated.job!r} must have a state exactly when its status is ok, "
                f"not {updated.status!r}"
            )
        seen.add(updated.job)
    for job in jobs:
        if job not in seen:
            raise PluginError(f"{_who(slot)} gave no answer for job {job!r}")


def scores(slot: BuiltComponent[Component], rows: Sequence[Sequence[Score]], asks: Sequence[Ask]) -> None:
    """One score a query, in order, with a value exactly when it is not an error."""
    if len(rows) != len(asks):
        raise PluginError(f"{_who(slot)} gave {len(rows)} lists for {len(asks)} asks")
    for ask, row in zip(asks, rows, strict=True):
        if [score.query for score in row] != [query.id for query in ask.episode.queries]:
            raise PluginError(f"{_who(slot)}: one score for every query of episode {ask.episode.id!r}, in order")
        for score in row:
            if (score.value is None) != (score.status == "error"):
                raise PluginError(
                    f"{_who(slot)}: query {score.query!r} must have a value exactly when its status is not error"
                )


def deltas(value: Any) -> set[str]:
    """Digests of ready-made weights inside edits, so that they are kept with the edit that names them."""
    if isinstance(value, SelfEdit):
        return {data.artefact for data in value.data if isinstance(data, Delta)}
    if isinstance(value, list):
        return {found for item in value for found in deltas(item)}
    return set()


def _who(slot: BuiltComponent[Component]) -> str:
    return f"{slot.plugin}: {slot.kind} {slot.name!r}"


def _of_kind(slot: BuiltComponent[Component], kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise PluginError(f"{_who(slot)} gave a {type(value).__name__}, not a {kind.__name__}")
    return value


def _with_errors(edit: SelfEdit) -> SelfEdit:
    for action in edit.actions:
        if action.finish == "error":
            return dataclasses.replace(edit, status="error", reason=action.reason)
    return edit
