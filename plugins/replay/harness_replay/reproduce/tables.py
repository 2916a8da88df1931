"""Published tables that can be run again: TOML files of plugins, in the entry-point group ``harness.tables``.

An entry point's value is a package; each ``NAME.toml`` in it is a table. Its sections:

``run``        the configuration of a run, as in ``harness run --config``, with a variant or method for every row
``row``        a row of the published table: which arm of the run, the published figure, and where it is from
``size``       counts and lengths from which the dry run estimates hours and money without any data
``subset``     what is set over ``run`` for a smaller run that is still faithful (``--subset``)
``toy``        what is set over ``run`` to try the table on the embedded model (``--toy``)
``panel.NAME`` a further run of the same rows, such as another model; without any there is one run
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from importlib.resources import files
from typing import Any, Literal

from harness.api import HEADLINE, JSON
from harness.errors import UsageError, nearest
from harness.reading import parse_toml
from harness.registry.settings import check_settings

GROUP = "harness.tables"
_WITHOUT_PAPER = ("model", "preset", "judge", "task", "seeds", "limit", "roles", "protocol")
"""Keys of a run that a trial on the embedded model leaves to its own defaults."""


@dataclass(frozen=True)
class PublishedRow:
    """A figure of a published table."""

    arm: str
    """The method or variant of the run that it is compared with."""
    score: float | None = None
    """In points, or in the unit of the table; None where nothing is published."""
    called: str = ""
    """The row's name in the paper."""
    table: str = HEADLINE
    """Table of our result that holds the figure; ``NAME@STEP`` is one of its steps."""
    panel: str = ""
    """The panel that it belongs to; "" where there are none."""
    queries: int = 0
    """Queries behind it (sequences, for a figure per sequence), where they are not those of the table."""
    note: str = ""


@dataclass(frozen=True)
class Lengths:
    """How long an arm's texts are, on average."""

    edit_tokens: float
    """Tokens that are written for an edit, reasoning included."""
    sequences: float
    """Training sequences of an edit in single updates, the passage included."""
    joint_sequences: float = 2.0
    """Training sequences of an edit where one update learns all of them, the passage included."""


@dataclass(frozen=True)
class Size:
    """Counts and lengths of a table, from its paper and logs."""

    contexts: int
    queries: int
    context_tokens: float
    edit_tokens: float
    sequences: float
    joint_sequences: float = 2.0
    train_queries: float = 4.5
    """Mean number of queries of a training context."""
    answer_tokens: float = 25.0
    """Tokens that are written for a query, over all prompts that ask it."""
    update_tokens: float = 0.0
    """Tokens of a single update's sequences, where they are more than the edit and the passage; 0 if not."""
    arms: Mapping[str, Lengths] = field(default_factory=dict)

    def of(self, arm: str) -> Lengths:
        return self.arms.get(arm) or Lengths(self.edit_tokens, self.sequences, self.joint_sequences)


@dataclass(frozen=True)
class PublishedTable:
    """A published table and how it is run."""

    title: str
    paper: str
    run: JSON
    row: tuple[PublishedRow, ...]
    size: Size
    average: Literal["macro", "micro"] = "macro"
    departures: tuple[str, ...] = ()
    """How the run differs from the published one, each with its likely effect."""
    notes: tuple[str, ...] = ()
    subset: JSON = field(default_factory=dict)
    toy: JSON = field(default_factory=dict)
    panel: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    @property
    def panels(self) -> Sequence[str]:
        return tuple(self.panel) or ("",)

    def rows(self, panel: str) -> list[PublishedRow]:
        return [row for row in self.row if row.panel in ("", panel)]

    def configuration(self, panel: str = "", *, toy: bool = False, subset: bool = False) -> dict[str, Any]:
        """The configuration of a panel's run.

        Raises:
            UsageError: there is no such panel.
        """
        if panel not in self.panels:
            raise UsageError(f"{self.name} has no panel {panel!r}.{nearest(panel, self.panels)}")
        run = merged(self.run, self.panel.get(panel, {}))
        if subset:
            run = merged(run, self.subset)
        if toy:
            run = merged({key: value for key, value in run.items() if key not in _WITHOUT_PAPER}, self.toy)
            run.setdefault("model", "lab")
        return run


def merged(under: JSON, over: JSON) -> dict[str, Any]:
    """``over`` on top of ``under``, table by table; a table that names another component replaces the one under it."""
    if under.get("use") and over.get("use") not in (None, under["use"]):
        return dict(over)
    out = dict(under)
    for key, value in over.items():
        there = out.get(key)
        out[key] = merged(there, value) if isinstance(there, Mapping) and isinstance(value, Mapping) else value
    return out


def names() -> dict[str, str]:
    """Every installed table -> the package that brings it, by name."""
    found: dict[str, str] = {}
    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        for item in files(entry.module).iterdir():
            if item.name.endswith(".toml"):
                found.setdefault(item.name.removesuffix(".toml"), entry.module)
    return dict(sorted(found.items()))


def read(name: str) -> PublishedTable:
    """A table by its name.

    Raises:
        UsageError: no plugin brings it, or its file is malformed.
    """
    known = names()
    if name not in known:
        raise UsageError(f"no published table is called {name!r}.{nearest(name, known)}")
    where = f"table {name}"
    content = parse_toml(files(known[name]).joinpath(f"{name}.toml").read_text("utf-8"), where)
    table: PublishedTable = check_settings(PublishedTable, {**content, "name": name}, where, "a published table")
    for row in table.row:
        if row.panel and row.panel not in table.panels:
            raise UsageError(f"{where}: row {row.arm!r} is of panel {row.panel!r}.{nearest(row.panel, table.panels)}")
    return table
