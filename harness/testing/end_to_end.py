"""A whole run of a plugin on two test items of the embedded task, with the embedded model."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.registry.discover import Plugins
    from harness.runs.runner import Run

_SMALL: Mapping[str, Any] = {"limit": 2, "validation": 0, "beside": [], "leaderboard": "", "seeds": 1, "samples": 1}
_SMALL_TRAINER: Mapping[str, Any] = {"rounds": 1, "contexts": 2, "samples": 2}


def two_items(plugin: str | Path, *, folder: Path | None = None, **config: Any) -> Run:
    """Run a plugin as ``harness run --plugin`` does, on two test items; the outer loop, if there is one, on two more.

    Args:
        plugin: its name, or its file.
        folder: where the run's folder is made; a temporary folder by default.
        config: further keys of the configuration, such as ``task``, ``model``, or ``method`` if the plugin has several.

    Raises:
        HarnessError: the run could not be started or finished.
        AssertionError: a score is missing because of an error (not a failure of the method).
    """
    from harness.registry.discover import Plugins
    from harness.runs import config as configuration
    from harness.runs import runner

    files = (Path(plugin),) if str(plugin).endswith(".py") else ()
    plugins = Plugins(files)
    name = plugins.at_hand[0] if files else str(plugin)
    given: dict[str, Any] = {**_SMALL, "method": name, **config}
    arm = configuration.resolve(dict(given), plugins).arms[0]
    if trainer := arm.slots.get("trainer"):
        given["trainer"] = {**_small(plugins, trainer), **given.get("trainer", {})}
    with tempfile.TemporaryDirectory() as scratch:
        given["out"] = str(folder or scratch)
        done = runner.run(given, plugin_files=files)
        assert done.complete, _missing(done)
        assert len({line["episode"] for line in done.scores()}) == 2, "two test items were not asked"
    return done


def _small(plugins: Plugins, table: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that make a trainer's rounds small, and those of a trainer that it is made around."""
    from harness.registry.build import component_class

    cls = component_class(plugins, "trainer", table["use"]).cls
    sizes = {field.name for field in dataclasses.fields(cls.Settings)} if cls.Settings else set()
    inner = {name: _small(plugins, table[name]) for name, kind in cls.nested.items() if kind == "trainer"}
    return {**{name: value for name, value in _SMALL_TRAINER.items() if name in sizes}, **inner}


def _missing(done: Run) -> str:
    lines = [line for line in done.scores() if line["value"] is None]
    reason = lines[0].get("reason") if lines else "nothing was scored"
    return f"{len(lines)} scores are missing because of errors: {reason}"
