"""Checks of what components answer. A wrong answer stops the run with one line that names component and plugin."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, get_args

from harness.api import (
    Ask,
    Component,
    Data,
    Delta,
    EditAsk,
    Group,
    Reward,
    Round,
    Score,
    SelfEdit,
    State,
    Status,
    Updated,
)
from harness.books.records import canonical
from harness.errors import PluginError, RunError
from harness.registry.build import BuiltComponent
from harness.registry.plugin import blaming
from harness.session import typed
from harness.session.ambient import put_back

_DATA = get_args(Data)


def guarded(slot: BuiltComponent[Component], run: Callable[[], Any]) -> Any:
    """Run a component's code; an exception (or ``sys.exit``) becomes one line that names the component. What it
    changes of the process is put back.

    Raises:
        RunError: for an error of the operating system, such as a full disk.
        PluginError: for any other exception that is not one of the harness's own.
    """
    with blaming(f"{_who(slot)} raised"), put_back(_who(slot)):
        try:
            return run()
        except OSError as error:
            raise RunError(f"{slot.kind} {slot.name!r}: {error}; what was booked is intact") from error


def drawn(answered: Any) -> Any:
    """A generator's items as a list, so that its exceptions are raised where they are blamed on the component.

    Anything else is returned as it is.
    """
    return [drawn(item) for item in answered] if isinstance(answered, Iterator | list | tuple) else answered


def edits(slot: BuiltComponent[Component], answered: Any, asks: Sequence[EditAsk]) -> list[list[SelfEdit]]:
    """For each ask in order, at most ``ask.n`` edits of its episode.

    An edit becomes an error where one of the completions that wrote it is one.
    """
    rows = _rows(slot, answered, len(asks), "asks")
    named: dict[str, int] = {}
    for place, (ask, row) in enumerate(zip(asks, rows, strict=True)):
        if len(row) > ask.n:
            raise PluginError(
                f"{_who(slot)} gave {len(row)} edits for episode {ask.episode.id!r}, and was asked for {ask.n}"
            )
        for edit in row:
            _of_kind(slot, SelfEdit, edit, but=("data", "status"))
            if edit.episode != ask.episode.id:
                raise PluginError(
                    f"{_who(slot)} gave edit {edit.id!r} of episode {edit.episode!r} for episode {ask.episode.id!r}"
                )
            before = named.setdefault(edit.id, place)
            named[edit.id] = place
            if asks[before].episode.id != ask.episode.id or sum(one.id == edit.id for one in row) > 1:
                raise PluginError(f"{_who(slot)} gave two edits the id {edit.id!r}; an edit's id is its own")
            if not isinstance(edit.data, list | tuple):
                raise PluginError(f"{_who(slot)}: edit {edit.id!r} has the data {edit.data!r:.40}, which is no tuple")
            for data in edit.data:
                if not isinstance(data, _DATA):
                    wrong = type(data).__name__
                    raise PluginError(f"{_who(slot)}: edit {edit.id!r} holds a {wrong}, which is not training data")
                _typed(slot, data)
            _status(slot, edit.status, f"edit {edit.id!r}")
            _writable(slot, edit, f"edit {edit.id!r}")
    return [[_with_errors(edit) for edit in row] for row in rows]


def rewards(slot: BuiltComponent[Component], answered: Any, groups: Sequence[Group]) -> list[list[Reward]]:
    """One reward per edit, in order: a number, or None exactly where its status is ``error``."""
    rows = _rows(slot, answered, len(groups), "groups")
    if [len(row) for row in rows] != [len(group.edits) for group in groups]:
        raise PluginError(f"{_who(slot)} must give one reward for every edit, in order")
    for group, row in zip(groups, rows, strict=True):
        for edit, reward in zip(group.edits, row, strict=True):
            what = f"the reward of edit {edit.id!r}"
            _of_kind(slot, Reward, reward, but=("value", "status"))
            _status(slot, reward.status, what)
            _number(slot, reward.value, what)
            if (reward.value is None) != (reward.status == "error"):
                raise PluginError(f"{_who(slot)}: {what} must have a value exactly when its status is not error")
            _writable(slot, reward, what)
    return rows


def updates(slot: BuiltComponent[Component], results: Any, jobs: Collection[str]) -> list[Updated]:
    """One answer per job, with a state exactly when it is ok."""
    if not isinstance(results, list):
        raise PluginError(f"{_who(slot)} gave {_a(results)}, not an answer for each of the {len(jobs)} jobs")
    seen: set[str] = set()
    for updated in results:
        _of_kind(slot, Updated, updated, but=("state", "status"))
        if updated.job not in jobs or updated.job in seen:
            raise PluginError(
                f"{_who(slot)} answered for job {updated.job!r}, which it was not given or has answered already"
            )
        what = f"job {updated.job!r}"
        _status(slot, updated.status, what)
        if (updated.state is None) != (updated.status != "ok"):
            raise PluginError(
                f"{_who(slot)}: {what} must have a state exactly when its status is ok, not {updated.status!r}"
            )
        if updated.state is not None:
            _of_kind(slot, State, updated.state)
        _writable(slot, updated, what)
        seen.add(updated.job)
    for job in jobs:
        if job not in seen:
            raise PluginError(f"{_who(slot)} gave no answer for job {job!r}")
    return results


def scores(slot: BuiltComponent[Component], answered: Any, asks: Sequence[Ask]) -> list[list[Score]]:
    """One score per query, in order, with a value in [0, 1] exactly when it is not an error."""
    rows = _rows(slot, answered, len(asks), "asks")
    for ask, row in zip(asks, rows, strict=True):
        for score in row:
            _of_kind(slot, Score, score, but=("value", "status"))
        if [score.query for score in row] != [query.id for query in ask.episode.queries]:
            raise PluginError(f"{_who(slot)}: one score for every query of episode {ask.episode.id!r}, in order")
        for score in row:
            what = f"query {score.query!r}"
            if score.episode != ask.episode.id:
                raise PluginError(
                    f"{_who(slot)}: {what} belongs to episode {ask.episode.id!r}, and its score names "
                    f"{score.episode!r:.60}"
                )
            _status(slot, score.status, what)
            if (score.value is None) != (score.status == "error"):
                raise PluginError(f"{_who(slot)}: {what} must have a value exactly when its status is not error")
            _number(slot, score.value, what)
            if score.value is not None and not 0 <= score.value <= 1:
                raise PluginError(f"{_who(slot)}: {what} has the value {score.value!r}, which is not in [0, 1]")
            _writable(slot, score, what)
    return rows


def round_of(slot: BuiltComponent[Component], answered: Any) -> Round:
    """What a trainer yields: a round whose roles hold states, with metrics that the journal can hold."""
    done: Round = _of_kind(slot, Round, answered, but=("roles",))
    if not isinstance(done.roles, Mapping) or not all(isinstance(state, State) for state in done.roles.values()):
        raise PluginError(f"{_who(slot)}: round {done.index!r}: its roles must map names to states")
    for state in done.roles.values():
        _typed(slot, state)
    _writable(slot, done, f"round {done.index!r}")
    return done


def deltas(value: Any) -> set[str]:
    """Digests of the ready-made weights that edits name, so that they are kept with the edits."""
    if isinstance(value, SelfEdit):
        return {data.artefact for data in value.data if isinstance(data, Delta)}
    if isinstance(value, list):
        return {found for item in value for found in deltas(item)}
    return set()


def _who(slot: BuiltComponent[Component]) -> str:
    return f"{slot.plugin}: {slot.kind} {slot.name!r}"


def _rows(slot: BuiltComponent[Component], answered: Any, count: int, of: str) -> list[list[Any]]:
    """The answer as ``count`` lists; an error tells of a forgotten ``return`` or of one flat list."""
    if not isinstance(answered, list | tuple):
        raise PluginError(f"{_who(slot)} gave {_a(answered)}, not a list for each of the {count} {of}")
    if len(answered) != count:
        raise PluginError(f"{_who(slot)} gave {len(answered)} lists for {count} {of}")
    for row in answered:
        if not isinstance(row, list | tuple):
            raise PluginError(f"{_who(slot)} gave {_a(row)} where the list for one of the {of} belongs")
    return [list(row) for row in answered]


def _a(value: Any) -> str:
    return "nothing (None)" if value is None else f"a {type(value).__name__}"


def _status(slot: BuiltComponent[Component], status: Any, what: str) -> None:
    if status not in get_args(Status):
        raise PluginError(f"{_who(slot)}: {what} has the status {status!r}; it may be {', '.join(get_args(Status))}")


def _number(slot: BuiltComponent[Component], value: Any, what: str) -> None:
    """Refuse anything but a finite number or None."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PluginError(f"{_who(slot)}: {what} has the value {value!r:.40}, which is not a number")
    if not math.isfinite(value):
        raise PluginError(f"{_who(slot)}: {what} has the value {value!r}")


def _writable(slot: BuiltComponent[Component], record: Any, what: str) -> None:
    """Refuse a record that the journal cannot hold."""
    try:
        canonical(record)
    except (TypeError, ValueError) as error:
        raise PluginError(f"{_who(slot)}: {what} cannot be written to the journal: {error}") from error


def _of_kind(slot: BuiltComponent[Component], kind: type, value: Any, but: Collection[str] = ()) -> Any:
    """The value, which must be such a record, its fields but some checked too."""
    if not isinstance(value, kind):
        raise PluginError(f"{_who(slot)} gave {_a(value)}, not a {kind.__name__}")
    _typed(slot, value, but)
    return value


def _typed(slot: BuiltComponent[Component], record: Any, but: Collection[str] = ()) -> None:
    if wrong := typed.fault(record, but):
        raise PluginError(f"{_who(slot)}: {wrong}")


def _with_errors(edit: SelfEdit) -> SelfEdit:
    for action in edit.actions:
        if action.finish == "error":
            return dataclasses.replace(edit, status="error", reason=action.reason)
    return edit
