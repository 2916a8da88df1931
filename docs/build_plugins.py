"""Write ``docs/plugins.md`` (hook specs, base classes, contracts, examples) and ``docs/reference/`` (``reference.py``).

python docs/build_plugins.py            # write them
python docs/build_plugins.py --check    # exit 1 if one is not current
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness import api, events, hookspecs
from harness.registry.plugin import KINDS
from harness.testing.contracts import CONTRACTS

HERE = Path(__file__).parent
TARGET = HERE / "plugins.md"

EXAMPLES = {
    "harness_methods": "bare_passage",
    "harness_tasks": "two_towns",
    "harness_models": "parrot",
    "harness_editors": "passage_twice",
    "harness_rewards": "brevity",
    "harness_updaters": "quick_lora",
    "harness_evaluators": "first_word",
    "harness_trainers": "one_round",
    "harness_protocols": "before_and_after",
    "harness_defaults": "house_rules",
    "harness_commands": "house_rules",
    "harness_run_started": "diary",
    "harness_round_finished": "diary",
    "harness_run_finished": "diary",
}
"""Hook -> its example in ``docs/examples``; ``tests/plugins/test_docs.py`` runs every one."""
BASES: dict[str, Any] = {
    "method": api.Method,
    "task": api.Task,
    "model": api.Model,
    "editor": api.Editor,
    "reward": api.RewardFunction,
    "updater": api.Updater,
    "evaluator": api.Evaluator,
    "trainer": api.Trainer,
    "protocol": api.EvaluationProtocol,
}
BESIDE: dict[str, tuple[Any, ...]] = {"model": (api.TrainItem, api.Trained, api.WeightSource, api.LM)}
"""Kind -> the records that its base class refers to, shown after it."""
MORE = {"harness_models": "two_engines"}
"""Hook -> a second example."""
EVENTS: dict[str, Any] = {
    "harness_defaults": None,
    "harness_commands": api.Command,
    "harness_run_started": events.RunStarted,
    "harness_round_finished": events.RoundFinished,
    "harness_run_finished": events.RunFinished,
}

INTRO = """\
<!-- Written by docs/build_plugins.py from the sources; do not edit. -->

# Plugins

This page is the reference for writing a plugin: how to start, what a result depends on, every hook with its base class
and an example, the tests that a component must pass, and the session that components are handed.

A plugin is a Python module that implements some of the hooks below. It needs one import,
`from harness import hookimpl`, and a line in its package's `pyproject.toml`:

```toml
[project.entry-points."harness.plugins"]
my-editor = "my_package"
```

While you try something out, a single file is enough: `harness run --plugin ./my_editor.py`. Edit it and run it again,
and the run reuses everything from earlier runs that the change does not affect, and says what that was. (`--reuse auto`
does the same for an installed plugin; `--reuse off` computes everything again. A result is found by the digest of
everything it depends on, [including its source and the files read for it](#what-a-result-depends-on), among runs with
the same versions on the same hardware; it keeps the cost that was once paid for it.)

| | |
| --- | --- |
| `harness plugins new my-editor --kind editor` | writes an installable package around a component that works at once |
| `harness plugins check my-editor` | tests it against every rule below, and runs two items from end to end |
| `harness list plugins --verbose` | distribution, version, hooks, components and cards of everything installed |
| `harness plugins why my-editor` | why it is not found or cannot be used, with file and line |
| `harness run --plugin my-editor` | runs it and its controls, and prints a table |

A plugin without a method of its own runs as SEAL with its component in SEAL's place: with SEAL's outer loop where it
brings a reward or a trainer, and without it otherwise (`harness_defaults` names these host methods). If it brings only
a task or a model, the run uses that one.

Four rules hold everywhere. **Bulk**: a component sees all items of a call at once and answers in their order.
**Every effect is a Session call**, so that it is journalled, cached, costed and replayed. **Two kinds of failure**:
`failed` is the method's doing and counts as wrong; `error` is the harness's or the environment's, has no value and is
retried; neither is ever a silent zero. **References stay with the core**; only an evaluator is handed them.

The session that a component is handed offers the calls below and nothing else: no attribute leads to the journal, the
references, a test score, the task's loader or the run's folder. Scores of test episodes come back without values, a
trial on one is refused, and so is an episode of your own (`make`) that copies a test context. No call reads the counts
of `diagnose`. Python itself cannot be sealed: code that walks `gc`, closures or stack frames, patches the harness, or
opens the data's files gets past any wall, and so does an evaluator that passes its references on. A plugin is a program
that its user runs; the harness keeps honest plugins honest, and shows what others do
([architecture.md](architecture.md)).

A component is a class that derives from the base class of its kind in `harness.api`. The abstract methods there must be
implemented; everything else has a default that its docstring explains, and the harness looks for no undeclared members.
A class that does not derive from its base is refused in one line. [Every component](#every-component) describes what
all kinds share: settings, and components nested in others.

Observers are called in the runs that name their plugin, through its method or a component, and in those whose
configuration lists it: `--set 'observers=["diary"]'`. If one raises, that is a warning, and the run goes on.

The module with the hooks is imported whenever plugins are listed, so import torch and other heavy packages inside
functions. [torch.md](torch.md) shows how to work with tensors; [changelog.md](changelog.md) says what may change and
how that is announced.

## What a result depends on

A finished call is journalled under the digest of its inputs: the component with its settings, the items, the seed, the
digests of the weights. It is reused, by `resume` or in a later run, only if everything it depends on is the same:

* **The source.** The module of the component's class, those of the classes it is derived from, and every module that
  these can import: at the top, inside functions, through `importlib.import_module` with a name that is written out in
  the source, or because a setting says `module:attribute`. Imports are followed through the harness, the plugin's
  distribution with all its packages, and everything that is not an installed package (a `helper.py` beside a single
  file); of installed packages only the version counts. A package's `__init__.py` counts if importing it does more than
  define names. Comments, layout, docstrings and imports under `if TYPE_CHECKING` do not count. A docstring does count
  where code may read it: beside code that names `__doc__`, and where its class or function derives from, or is
  decorated by, something from another module that is not the harness's or the standard library's (pydantic writes
  docstrings into schemas). In doubt, it counts.
* **The data files of its package**, of any size and kind, except TOML, which is tracked when it is read.
* **The files that were read.** Whatever Python code opens while a component is imported, made or called (a prompt
  beside the file, a path from a setting, a folder that is listed, a file that is looked for and missing) is recorded by
  content with the items made then and afterwards. The callers of a component inherit its dependencies. If a file
  changed, its items are not reused in a later run; `harness resume` refuses, and with `--recompute` runs what the
  change affects again. Files that settings name count no matter what opens them, and weights (`.safetensors`, `.gguf`)
  count with the JSON file beside them.

Not recorded are the standard library and installed packages, the run's own folder, files that components write
themselves, checkpoints (their digest is part of every key), and the data that a task's settings name and its `load`
reads: episodes count one by one, so read a prompt in the constructor. Files read under `with
harness.reads.untracked():` are not recorded either; use it for caches whose keys cover all their inputs, and for logs.

Some dependencies are not seen; put them into a setting yourself: environment variables, the clock, the network, files
opened by native code or by another process, a module whose name is composed at run time, and what a component keeps
from an earlier run in a file of its own. If code is edited after the process has imported it, it is refused: start a
new process.
"""


BENCH = """\
A protocol says how a policy is deployed and what is measured then. Its generator yields named measurements, and all
those of one name become one table of the result file; `score` is the headline. It is handed a bench, which returns the
values of test scores, as an evaluator is handed references. Neither can be sealed off from what it is there to see: use
a protocol or an evaluator only from an author whose figures you would believe, and name it where you publish a row. (It
is one of the row's conditions, and its source is among those that are compared when a run is resumed.)
"""


def build() -> str:
    """The whole page."""
    parts = [INTRO, "## Every component\n", _source(api.Component), "", "## Hooks\n"]
    parts += [_hook(name, spec) for name, spec in hooks().items()]
    parts += ["## The rules, as tests\n", *_contracts(), "## The session\n", _source(api.Session)]
    parts += ["## What a protocol is handed\n", BENCH]
    parts += [_source(thing) + "\n" for thing in (api.Measure, api.Measurement, api.Bench)]
    return "\n".join(parts).rstrip() + "\n"


def hooks() -> dict[str, Callable[..., Any]]:
    """Every hook spec by name, in the order in which a run calls them."""
    return {name: spec for name, spec in vars(hookspecs).items() if name.startswith("harness_")}


def _hook(name: str, spec: Callable[..., Any]) -> str:
    kind = next((kind for kind, hook in KINDS.items() if hook == name), None)
    about = BASES[kind] if kind else EVENTS[name]
    example = EXAMPLES[name]
    takes = ", ".join(f"`{p.name}`, a `{p.annotation}`" for p in inspect.signature(spec).parameters.values()) or "none"
    gives = inspect.signature(spec).return_annotation
    result = "nothing" if gives == "None" else f"`{gives}`"
    lines = [f"### `{name}`\n", _prose(spec), "", f"Arguments: {takes}. Result: {result}.\n"]
    lines += [_source(about), ""] if about is not None else []
    lines += [f"{_source(one)}\n" for one in BESIDE.get(kind or "", ())]
    first = next(hook for hook, file in EXAMPLES.items() if file == example)
    if name == first:
        for file in filter(None, (example, MORE.get(name))):
            text = (HERE / "examples" / f"{file}.py").read_text("utf-8")
            lines += [f"`docs/examples/{file}.py`:\n", f"```python\n{text}```\n"]
    else:
        lines += [f"Example: [`{first}`](#{first})'s, above.\n"]
    return "\n".join(lines)


def _contracts() -> Iterator[str]:
    yield (
        "To test a component, subclass the contract of its kind from `harness.testing` and name the component. "
        "`harness plugins check` runs the same methods without pytest. Fixtures: `lab_model`, `lab_session`, "
        "`scripted_session`.\n"
    )
    shared = {name for contract in CONTRACTS.values() for name in dir(contract.__mro__[1]) if name.startswith("test_")}
    yield "| contract | checks |\n| --- | --- |"
    yield f"| every kind | {_checks(sorted(shared))} |"
    for contract in CONTRACTS.values():
        own = [name for name in vars(contract) if name.startswith("test_")]
        yield f"| `{contract.__name__}` | {_checks(own)} |"
    yield ""


def _checks(names: list[str]) -> str:
    return "; ".join(name.removeprefix("test_").replace("_", " ") for name in names)


def _prose(thing: Any) -> str:
    """A docstring as Markdown: cross references become code."""
    text = inspect.getdoc(thing) or ""
    text = re.sub(r":\w+:`~?(?:harness\.\w+\.)*([^`]+)`", r"`\1`", text)
    return text.replace("``", "`")


def _source(thing: Any) -> str:
    return f"```python\n{textwrap.dedent(inspect.getsource(thing)).strip()}\n```"


def written() -> dict[Path, str]:
    """Every generated page -> its text."""
    sys.path.insert(0, str(HERE))
    import reference

    return {TARGET: build(), **reference.written()}


def main(arguments: list[str]) -> int:
    pages = written()
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in arguments:
        for path in stale:
            print(f"docs/{path.relative_to(HERE)} is not current: run `python docs/build_plugins.py`", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(pages[path], "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
