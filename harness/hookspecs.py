# mypy: disable-error-code="empty-body"
"""The hooks, in the order in which a run calls them.

A plugin is a module named by an entry point of the group ``harness.plugins``. It implements the hooks it needs, marked
with ``harness.hookimpl``. The nine provider hooks return ``name -> "package.module:Class"``, so that components can be
listed without importing them; the three observer hooks receive a frozen event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from harness.api import Command, Method
    from harness.events import RoundFinished, RunFinished, RunStarted

hookspec = pluggy.HookspecMarker("harness")


# --- providers: called when a run first needs a name of that kind ---------------------------------------------------


@hookspec
def harness_methods() -> Mapping[str, Method | str]:
    """Methods by name: what ``--plugin NAME`` runs.

    Called when the configuration is resolved. A value is a :class:`harness.api.Method`, or ``"module:attribute"`` of
    one.
    """


@hookspec
def harness_tasks() -> Mapping[str, str]:
    """Tasks by name: ``--task NAME``. Classes derived from :class:`harness.api.Task`.

    Called when a run first needs a task by its name, and when tasks are listed.
    """


@hookspec
def harness_models() -> Mapping[str, str]:
    """Model backends by name: ``--model NAME[:what]``. Classes derived from :class:`harness.api.Model`.

    Called when a run first needs a model by its name, and when models are listed.
    """


@hookspec
def harness_editors() -> Mapping[str, str]:
    """Editors by name, for the slot ``editor``: classes derived from :class:`harness.api.Editor`.

    Called when a run first needs an editor by its name, and when editors are listed.
    """


@hookspec
def harness_rewards() -> Mapping[str, str]:
    """Rewards by name, for the slot ``reward``: classes derived from :class:`harness.api.RewardFunction`.

    Called when a run first needs a reward by its name, and when rewards are listed.
    """


@hookspec
def harness_updaters() -> Mapping[str, str]:
    """Updaters by name, for the slot ``updater``: classes derived from :class:`harness.api.Updater`.

    Called when a run first needs an updater by its name, and when updaters are listed.
    """


@hookspec
def harness_evaluators() -> Mapping[str, str]:
    """Evaluators by name, for the slot ``evaluator``: classes derived from :class:`harness.api.Evaluator`.

    Called when a run first needs an evaluator by its name, and when evaluators are listed.
    """


@hookspec
def harness_trainers() -> Mapping[str, str]:
    """Trainers by name, for the slot ``trainer``: classes derived from :class:`harness.api.Trainer`.

    Called when a run first needs a trainer by its name, and when trainers are listed.
    """


@hookspec
def harness_protocols() -> Mapping[str, str]:
    """Protocols by name: ``--protocol NAME``. Classes with :class:`harness.api.EvaluationProtocol`'s ``measure``.

    Called when a run first needs a protocol by its name, and when protocols are listed. A protocol is handed test
    scores, so use one only of an author whose evaluator you would trust.
    """


# --- defaults, and the verbs of the command line --------------------------------------------------------------------


@hookspec
def harness_defaults() -> Mapping[str, str]:
    """Defaults for what a user does not name. The first plugin that returns a key decides it: plugins given as files
    come first, then those that come with the harness, then the others, by name.

    Keys: ``method`` (used without ``--plugin``), ``model`` (used without ``--model``), and ``host`` and
    ``host_with_loop``: ``"module:attribute"`` of the method that hosts the component of a plugin without a method of
    its own, the latter where that component is a reward or a trainer.

    Called when a run's configuration leaves one of them open.
    """


@hookspec
def harness_commands() -> Mapping[str, Command]:
    """Verbs by name: ``harness NAME``. The core's own verbs take precedence.

    Called when a verb is used that is not the core's, and for ``harness --help``.
    """


# --- observers: an exception becomes a warning that names plugin, hook and distribution, and the run goes on ---------


@hookspec
def harness_run_started(event: RunStarted) -> None:
    """Called once the configuration is resolved and the run's folder exists, before anything is spent."""


@hookspec
def harness_round_finished(event: RoundFinished) -> None:
    """Called after every round of an outer loop, when its checkpoint is safe on disk."""


@hookspec
def harness_run_finished(event: RunFinished) -> None:
    """Called when all rows of the run are known and the leaderboard file is written."""
