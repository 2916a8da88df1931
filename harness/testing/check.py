"""``harness plugins check``: the contract tests of a plugin's components, and a run of two items; what failed where."""

from __future__ import annotations

import copy
import inspect
import tempfile
import traceback
import unittest
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from harness.api import JSON, HarnessError, Task
from harness.books.store import WeightStore
from harness.errors import PluginError, UsageError
from harness.registry.build import build, check_class
from harness.registry.discover import Plugins
from harness.registry.plugin import Plugin
from harness.runs import config as configuration
from harness.testing import components
from harness.testing.contracts import CONTRACTS, Contract
from harness.testing.embedded import embedded_task, lab_model
from harness.testing.end_to_end import two_items

_PLAIN = {kind for kind, _ in components.slots().values()}
_PASSAGE_TASKS = ("squad", "file")
"""Tasks that made-up passages can replace, in milliseconds; so they can the default model's own task."""


@dataclass(frozen=True)
class Outcome:
    """The result of one check."""

    subject: str
    """``editor 'mine'``, or ``method 'mine'`` where a run was tried."""
    check: str
    status: Literal["passed", "failed", "skipped"]
    said: str = ""
    where: str = ""
    """``file:line`` in the plugin, where the failure passed through it."""


def few(task: Any, count: int) -> Any:
    """A task of the same class with only the first ``count`` items of each split."""
    shortened = copy.copy(task)
    shortened.load = lambda split: task.load(split)[:count]
    return shortened


def check(target: str, *, task: str = "", run: bool = True) -> Iterator[Outcome]:
    """Check a plugin and yield one outcome at a time.

    Args:
        target: a plugin's name, or its file.
        task: name of the task whose episodes the components get; by default that of the plugin's method that uses
            the component, or a few made-up passages if there is none.
        run: whether two items are run from end to end at the end.

    Raises:
        HarnessError: the plugin cannot be loaded at all.
    """
    files = (Path(target),) if target.endswith(".py") else ()
    plugins = Plugins(files)
    name = plugins.at_hand[0] if files else target
    plugin = plugins.load(name)
    if not files:
        plugins.at_hand.insert(0, name)
    for kind, contract in CONTRACTS.items():
        for component in plugin.provides(kind):
            found = plugins.component_of(plugin, kind, component)
            try:
                check_class(found)
            except PluginError as error:
                yield Outcome(f"{kind} {component!r}", "derives from the base class of its kind", "failed", str(error))
                continue
            home, members = _home(Plugins(files), plugin, component)
            specific = _contract(found.cls, plugins, contract, {"use": task} if task else home, members)
            yield from _made_with_defaults(specific, f"{kind} {component!r}")
    for method in (plugin.provides("method") or [name]) if run else ():
        yield _run(target, {"method": method, **({"task": task} if task else {})})


def _made_with_defaults(contract: type[Contract], subject: str) -> Iterator[Outcome]:
    """The contract's checks; or, if the component cannot be made with its defaults, the error that says so."""
    try:
        if contract.kind != "model":
            contract().make()
    except UsageError as error:
        yield Outcome(subject, "test it with a contract of your own that sets `settings`", "skipped", str(error))
        return
    yield from run_contract(contract, subject)


def run_contract(contract: type[Contract], subject: str = "") -> Iterator[Outcome]:
    """Every check of a contract, each on a fresh instance and in a folder of its own."""
    for name, method in inspect.getmembers(contract, inspect.isfunction):
        if not name.startswith("test_"):
            continue
        title = name.removeprefix("test_").replace("_", " ")
        with tempfile.TemporaryDirectory() as folder:
            arguments = [Path(folder)] if "tmp_path" in inspect.signature(method).parameters else []
            yield _outcome(subject, title, partial(method, contract(), *arguments), contract)


def _contract(
    found: Any, plugins: Plugins, contract: type[Contract], world: JSON, more: Mapping[str, Any]
) -> type[Contract]:
    members: dict[str, Any] = {"component": found, **more}
    if world and contract.kind not in {"task", "model"}:
        members["task"] = lambda self: few(build(plugins, Task, world, "task").instance, 4)
    return type(f"{found.__name__}Contract", (contract,), members)


def _home(plugins: Plugins, plugin: Plugin, component: str) -> tuple[JSON, Mapping[str, Any]]:
    """Task of the plugin's first method that uses the component (empty if passages can replace it), and the roles and
    slots of all its methods."""
    passages = (*_PASSAGE_TASKS, embedded_task(plugins))
    world: JSON = {}
    roles: dict[str, None] = {}
    more: dict[str, str] = {}
    for name in plugin.provides("method"):
        method, _ = plugins.method(name)
        roles |= dict.fromkeys(method.roles)
        more |= {slot: str(t["kind"]) for slot, t in method.components.items() if t.get("kind") in _PLAIN}
        config = configuration.resolve({"method": name, "beside": []}, plugins)
        slots = [*method.components.values(), *config.arms[0].slots.values()]
        if not world and component in {slot["use"] for slot in slots} and config.task["use"] not in passages:
            world = config.task
    return world, {"roles": tuple(roles), "more_slots": more}


def _run(target: str, config: dict[str, Any]) -> Outcome:
    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            lab_model(WeightStore(Path(folder)))
            two_items(target, folder=Path(folder), **config)

    return _outcome(f"method {config['method']!r}", "runs two items from end to end", run, None)


def _outcome(subject: str, title: str, call: Any, contract: Any) -> Outcome:
    try:
        call()
    except unittest.SkipTest as reason:
        return Outcome(subject, title, "skipped", str(reason))
    except HarnessError as error:
        return Outcome(subject, title, "failed", str(error))
    except Exception as error:
        said = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        return Outcome(subject, title, "failed", said or "it does not hold", _place(error, contract))
    return Outcome(subject, title, "passed")


def _place(error: BaseException, contract: Any) -> str:
    """The last line of the component's own file that the failure passed through, else the line of the check."""
    own = inspect.getsourcefile(contract.component) if contract is not None else None
    frames = traceback.extract_tb((error.__cause__ or error).__traceback__)
    mine = [frame for frame in frames if frame.filename == own]
    last = (mine or frames)[-1]
    return f"{last.filename}:{last.lineno}"
