"""What a user may write in a run's configuration besides the slots."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

TABLE_NAME = re.compile(r"[A-Za-z0-9_.-]+")

Count = Annotated[int, Field(ge=0)]

JUDGING = ("judge", "max_judge_calls", "max_judge_cost", "judge_batch")
"""Settings of the judge, given once for every row of the run whose evaluator has one."""


@dataclass(frozen=True)
class Options:
    """The keys of a run's configuration that are not slots."""

    method: str = ""
    """Name of the main method; "" takes the default of the installed plugins."""
    preset: str = ""
    """"" takes the method's preset that is named like the model, if there is one."""
    seeds: Annotated[int, Field(ge=1)] = 1
    """Number of root seeds that every method is run under. A row of one seed is shown but not ranked."""
    seed: int = 0
    """The first of the root seeds."""
    limit: Count = 0
    """Test contexts; 0 takes all."""
    samples: Annotated[int, Field(ge=1)] = 1
    """Self-edits per test context; their scores are averaged (single), or all are trained on (cpt)."""
    also: Mapping[str, Any] = field(default_factory=dict)
    """Table of the result -> what is measured beside the headline, as :class:`AlsoSettings` says."""
    checkpoint: Literal["validation", "last"] = "validation"
    """Which round's policy is tested: the best on the validation split (the start counts as a round), or the last."""
    validation: Count = 0
    """Validation contexts that are measured after every round; with 0 nothing is, and the last round is tested."""
    beside: tuple[str, ...] | None = None
    """Methods to run beside this one; by default those that the method itself names."""
    all: bool = False
    """Run every other method that has the preset as well, with the methods that each of them names."""
    max_cost: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """US dollars that may be spent on each remote model that sets no limit of its own; 0 is no limit."""
    out: str = "runs"
    """Folder in which the run's folder is made."""
    leaderboard: str = "leaderboards"
    """Folder into which the result file is copied; "" copies it nowhere."""
    max_hours: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Hours after which the run stops and can be resumed; 0 is no limit."""
    edits: str = ""
    """Folder of a run whose test edits are used instead of writing new ones: those of the same method and seed, or else
    of the first seed that the method has there."""
    reuse: str = ""
    """``auto`` reuses what earlier runs under ``out`` have computed; a run's folder, what that run has; "" nothing."""
    variants: Mapping[str, Any] = field(default_factory=dict)
    """Name -> a further row: a method under that name with settings of its own (:mod:`harness.runs.variants`)."""
    observers: tuple[str, ...] = ()
    """Plugins to import for their observer hooks, besides those that the run names."""
    roles: Mapping[str, Any] = field(default_factory=dict)
    """Role -> a model (name, folder or table); replaces the method's own."""


@dataclass(frozen=True)
class AlsoSettings:
    """One table of the section ``also``: another evaluator for the run's own items, or other items."""

    task: str | Mapping[str, Any] | None = None
    """None for the run's task."""
    evaluator: str | Mapping[str, Any] | None = None
    """A component, or ``"@slot"``: the main method's evaluator of that slot. None for its slot ``evaluator``."""
    split: Literal["train", "validation", "test"] = "test"
    """Whose items are asked."""
    limit: Count = 0
    """Contexts; 0 takes all."""
