"""The pages of the reference, made from the sources: records, components, configuration, commands, Python.

``docs/build_plugins.py`` writes them; ``tests/plugins/test_reference.py`` holds them complete.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from harness import api, cli, errors, events
from harness.evidence import frame, result
from harness.judges.base import JUDGES
from harness.models import loss_settings
from harness.registry.build import BASES
from harness.registry.catalogue import entries, presets_of, settings_in
from harness.registry.discover import Plugins
from harness.runs import options, runner, variants

HERE = Path(__file__).parent
NOTE = "<!-- Written by docs/build_plugins.py from the sources; do not edit. -->\n"
OWN = "selfadapt-harness"
"""The distribution whose components are on the pages, whatever else is installed where they are made."""


def pages() -> dict[str, str]:
    """Path under ``docs/`` -> the page."""
    made = {
        "reference/index.md": INDEX,
        "reference/records.md": "\n".join(records()),
        "reference/components.md": "\n".join(components()),
        "reference/configuration.md": "\n".join(configuration()),
        "reference/commands.md": "\n".join(commands()),
        "reference/python.md": "\n".join(python()),
    }
    return {name: NOTE + "\n" + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n" for name, text in made.items()}


INDEX = """\
# Reference

Everything public, made from the sources and complete: a test fails when something is missing.

| page | |
| --- | --- |
| [records](records.md) | every record, alias, protocol and base class of `harness.api`, the events and the errors |
| [components](components.md) | every component that ships, with its settings: type, default and meaning |
| [configuration](configuration.md) | keys of a run, the file for `--config`, slots, presets, losses, judges |
| [commands](commands.md) | every command of `harness` with its options |
| [Python](python.md) | `harness.run`, `harness.resume`, `harness.results`, and the records of a result |

How to write a plugin, with an example for every hook, is on [plugins](../plugins.md). On a terminal, `harness list`
answers the same questions for what is installed, other people's plugins included.
"""


# --- records ---------------------------------------------------------------------------------------------------------


def records() -> Iterator[str]:
    yield "# Records of `harness.api`\n"
    yield from _prose_lines(api.__doc__ or "")
    yield from module_members(Path(inspect.getfile(api)))
    yield "\n## Events\n"
    yield f"{prose(events.__doc__ or '')}\n"
    yield from module_members(Path(inspect.getfile(events)))
    yield "\n## Errors\n"
    yield f"{prose(errors.__doc__ or '')}\n"
    yield from module_members(Path(inspect.getfile(errors)), only=classes_of(errors))


def classes_of(module: Any) -> set[str]:
    """Names of the public classes that a module defines."""
    return {
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_")
    }


def module_members(path: Path, only: Iterable[str] | None = None) -> Iterator[str]:
    """What a module defines, in its order, under the headings of its comments."""
    text = path.read_text("utf-8")
    titles = {number: line for number, line in enumerate(text.split("\n"), 1) if line.startswith("# --- ")}
    body = ast.parse(text).body
    for place, node in enumerate(body):
        for number in [one for one in titles if one < node.lineno]:
            yield f"\n## {titles.pop(number).strip('# -').capitalize()}\n"
        name = _name(node)
        if name.startswith("_") or not name or (only is not None and name not in only):
            continue
        if isinstance(node, ast.ClassDef):
            yield from class_members(node)
        elif isinstance(node, ast.AnnAssign | ast.Assign) and node.value is not None:
            yield f"### {name}\n\n`{name} = {ast.unparse(node.value)}`\n\n{_doc_after(body, place)}\n"


def class_members(node: ast.ClassDef) -> Iterator[str]:
    """One class: its docstring, then its fields and methods."""
    bases = [ast.unparse(base) for base in node.bases if ast.unparse(base) not in {"ABC", "Protocol", "Exception"}]
    yield f"### {node.name}\n"
    kind = "record" if any("dataclass" in ast.unparse(one) for one in node.decorator_list) else ""
    kind = kind or ("protocol" if "Protocol" in map(ast.unparse, node.bases) else "class")
    yield f"*{kind}{f', derived from `{bases[0]}`' if bases else ''}*\n"
    yield f"{prose(ast.get_docstring(node) or '')}\n"
    for place, part in enumerate(node.body):
        name = _name(part)
        if not name or name.startswith("_"):
            continue
        if isinstance(part, ast.AnnAssign):
            default = f", default `{_default(part.value)}`" if part.value is not None else ""
            yield _item(f"`{name}` (`{ast.unparse(part.annotation)}`{default})", _doc_after(node.body, place))
        elif isinstance(part, ast.FunctionDef):
            marks = [ast.unparse(one) for one in part.decorator_list]
            said = prose(ast.get_docstring(part) or "")
            if "property" in marks:
                yield _item(f"`{name}` (`{ast.unparse(part.returns) if part.returns else 'Any'}`, read only)", said)
            else:
                must = ", to be implemented" if "abstractmethod" in marks else ""
                yield _item(f"`{_signature(part)}`{must}", said)
    yield ""


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return node.name
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return ""


def _default(node: ast.expr) -> str:
    text = ast.unparse(node)
    made = re.fullmatch(r"field\(default_factory=(.*?)(?:, metadata=.*)?\)", text)
    if made:
        return {"dict": "{}", "list": "[]", "tuple": "()"}.get(made[1], made[1])
    given = re.match(r"field\(default=(.*?), metadata=", text)
    return given[1] if given else text


def _signature(node: ast.FunctionDef) -> str:
    parts = ast.unparse(node.args)
    parts = re.sub(r"^self(, )?|^cls(, )?", "", parts).removeprefix("/, ").replace(", /", "").removesuffix("/")
    return f"{node.name}({parts}) -> {ast.unparse(node.returns) if node.returns else 'None'}"


def _doc_after(body: list[ast.stmt], place: int) -> str:
    """The string that follows a field as its docstring, as Markdown."""
    after = body[place + 1] if place + 1 < len(body) else None
    if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
        return prose(inspect.cleandoc(after.value.value))
    return ""


# --- components ------------------------------------------------------------------------------------------------------


def components() -> Iterator[str]:
    plugins = Plugins()
    yield "# Components\n"
    yield (
        "Every component that ships, with what a configuration may set for it. A component is named in its slot "
        '(`[updater]` with `use = "lora"`), and everything else in that table is one of its settings. '
        "A component that wraps another has that one's table within its own.\n"
    )
    methods = [entry for entry in entries("method", plugins) if entry.plugin.distribution == OWN]
    yield "## Methods\n\nWhat `harness run --plugin` takes; [methods](../methods.md) says more.\n"
    for entry in methods:
        method, _ = plugins.method(entry.name)
        parts = ", ".join(f"{slot} `{table['use']}`" for slot, table in method.components.items())
        named = f" Presets: {', '.join(f'`{name}`' for name in method.presets)}." if method.presets else ""
        paper = f" ({method.paper})" if method.paper else ""
        yield _item(f"`{entry.name}`", f"{prose(method.summary)}{paper}. Slots: {parts}.{named}")
    yield ""
    for kind in BASES:
        yield f"## {kind.capitalize()}s\n"
        for entry in entries(kind, plugins):
            if entry.plugin.distribution != OWN:
                continue
            cls = plugins.component(kind, entry.name).cls
            yield f"### {kind} `{entry.name}`\n\nFrom the plugin `{entry.plugin.name}`.\n"
            yield f"{prose(inspect.getdoc(cls) or '')}\n"
            yield from settings(cls.Settings)
            for name, inner in cls.nested.items():
                yield _item(f"`{name}` (`table`)", f"The {inner} that it wraps.")
            if cls.Settings is None and not cls.nested:
                yield "It has no settings."
            yield ""


def settings(cls: Any) -> Iterator[str]:
    """A list item for each field of a settings dataclass."""
    for one in settings_in(cls):
        default = f", default `{json.dumps(one.default, ensure_ascii=False)}`"
        if one.default is None:
            default = ", required" if one.required else ", default: not set"
        yield _item(f"`{one.name}` (`{one.type}`{default})", prose(one.meaning))


# --- configuration ---------------------------------------------------------------------------------------------------

LAYERS = """\
# Configuration

A run's configuration is one table. It is made of layers, and later layers win: the method, the model's profile, the
preset, the file given with `--config`, `--set KEY=VALUE`, flags. `harness run ... --dry-run` prints what comes of it,
with the default of every setting that no layer sets.

## The file for `--config`

TOML. Keys of a run stand at the top; every table is a slot: `use` names a component (where it is left out, the method's
own), and the other keys are settings of that component. This file works as it is:

```toml
EXAMPLE```

`--set updater.learning_rate=5e-4` is the same as that key in the file. What is set for a slot holds for every method of
the run whose slot uses the same component, so that rows differ only in what is being compared. An unknown key is
refused with the nearest name.

## Keys of a run
"""
SLOTS = """\

Three more keys are given once for every evaluator of the run that has them: `judge`, `max_judge_calls` and
`max_judge_cost`.

## Slots

| slot | holds |
| --- | --- |
| `task`, `model`, `protocol` | one for the whole run; `--task`, `--model` and `--protocol` name them |
| `editor`, `reward`, `updater`, `evaluator`, `trainer` | a component of the kind that the slot is named after |
| any other, such as `policy` or `cpt` | a component whose table states its `kind`; methods say which slots they have |
| `roles.NAME` | a model: a name, a folder, a hub id, `openai:NAME`, or a table |

A component that wraps others has a table for each, such as `[evaluator.inner]`. `"@editor"` in place of such a table
stands for the main method's own.

## Further measures: `also`

Each table `[also.NAME]` is a further table of the result; the states are those of the headline.

"""
VARIANTS = """\

## Variants

Each table `[variants.NAME]` is a further row: a method under another name, with slots of its own. The other keys of the
table are slots, laid over what the run sets for them.

"""
PRESETS = """\

## Presets

A preset is a named configuration of one method: the same tables as in a file for `--config`, without `method`. Presets
are TOML files in a folder `presets` of the plugin's package; `presets=presets("my_package")` hands them to the method
(`from harness.registry.presets import presets`), and so does any mapping from names to tables. The one named after
the model is the default with that model, `--preset NAME` takes another, and `--all --preset NAME` runs every method
that has it. [A method's presets](components.md#methods) stand beside it.

"""
LOSSES = """\

## Losses

The updater `lora` takes the setting `loss`: a name, or a table with `use` and the settings of that loss, as in
`--set 'policy.loss={use="grpo", clip_high=0.28}'`. What each learns from, and its formula:

| loss | learns from | settings |
| --- | --- | --- |
| `sft` | examples (cross-entropy over their targets) and distillations | none |
| `dpo` | preferences | below |
| `grpo` | rollouts, token by token | below |
| `rloo` | rollouts, each answer as a whole | below |

From Python, `Session.fit(jobs, loss=...)` also takes any callable ([torch](../torch.md)).

"""


def configuration() -> Iterator[str]:
    example = (HERE / "examples" / "run.toml").read_text("utf-8")
    yield LAYERS.replace("EXAMPLE", example)
    yield from settings(options.Options)
    yield SLOTS
    yield from settings(options.AlsoSettings)
    yield VARIANTS
    yield from settings(variants.VariantSettings)
    yield PRESETS
    by_preset: dict[str, list[str]] = {}
    for method, preset, _ in presets_of(Plugins()):
        by_preset.setdefault(preset, []).append(method)
    yield "| preset | methods |\n| --- | --- |"
    for preset, methods in sorted(by_preset.items()):
        yield f"| `{preset}` | {', '.join(f'`{method}`' for method in methods)} |"
    yield LOSSES
    from harness.engine import losses

    yield from _prose_lines((losses.__doc__ or "").partition("\n\n")[2])
    for cls in (loss_settings.DpoSettings, loss_settings.GrpoSettings, loss_settings.RlooSettings):
        use = cls.__name__.removesuffix("Settings").lower()
        yield f"\n### Loss `{use}`\n\n{prose(inspect.getdoc(cls) or '')}\n"
        yield from settings(cls)
    yield "\n## Judges\n\nWhat `--judge`, and the setting `judge` of an evaluator, take:\n"
    for judge, about in JUDGES.items():
        yield _item(f"`{judge}`", about)


# --- commands --------------------------------------------------------------------------------------------------------


def commands() -> Iterator[str]:
    yield "# Commands\n"
    yield (
        "Every command, as `--help` shows it. `harness --install-completion` teaches bash, zsh or fish to complete "
        "commands, options and the names of methods, tasks, models, presets, judges and components; "
        "`harness --show-completion` prints the script instead.\n"
    )
    for verb in command_verbs():
        root = typer.main.get_command(cli.build_app(verb))
        found = root.commands[verb]  # type: ignore[attr-defined]
        yield f"## {verb}\n"
        yield from _command(found, f"harness {verb}")
    codes = root.epilog or ""
    yield f"## Exit codes\n\n{codes.removeprefix('Exit codes: ')}\n"


def command_verbs() -> list[str]:
    """The core's verbs, then those of the plugins that ship."""
    own = {name for name, (plugin, _) in Plugins().commands().items() if plugin.info.distribution == OWN}
    return [*cli._VERBS, *sorted(own - set(cli._VERBS))]


def _command(found: Any, path: str) -> Iterator[str]:
    yield f"{_help(found.help or '')}\n"
    inner = getattr(found, "commands", None)
    if inner:
        for name, one in inner.items():
            yield f"### {path.removeprefix('harness ')} {name}\n"
            yield from _command(one, f"{path} {name}")
        return
    usage = [path]
    for one in found.params:
        if one.param_type_name == "argument":
            usage.append(str(one.metavar or one.name.upper()))
    yield f"`{' '.join(usage)}{' [OPTIONS]' if any(p.param_type_name == 'option' for p in found.params) else ''}`\n"
    for one in found.params:
        names = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
        if one.param_type_name == "argument":
            names = f"`{one.metavar or one.name.upper()}`"
        elif "--help" in one.opts:
            continue
        given = one.default if not callable(one.default) else None
        default = f" (default `{given}`)" if given not in (None, "", False, 0, 0.0, ()) else ""
        yield _item(f"{names}{default}", prose(getattr(one, "help", "") or ""))
    yield ""


def _help(text: str) -> str:
    """A command's help as Markdown: its examples become a block of code."""
    out: list[str] = []
    for paragraph in inspect.cleandoc(text).replace("\b", "").split("\n\n"):
        example = paragraph.strip().removeprefix("Example:").removeprefix("Examples:").strip()
        if example.startswith("harness "):
            out.append("```\n" + "\n".join(line.strip() for line in example.split("\n")) + "\n```")
        elif example:
            out.append(prose(paragraph))
    return "\n\n".join(out)


# --- Python ----------------------------------------------------------------------------------------------------------

PYTHON = """\
# From Python

`import harness` gives four names, and the marker `hookimpl` for plugins. A notebook's worth, which a test runs
(`docs/examples/notebook.py`):

```python
EXAMPLE```
"""


def python() -> Iterator[str]:
    yield PYTHON.replace("EXAMPLE", (HERE / "examples" / "notebook.py").read_text("utf-8"))
    for title, function in (("run", runner.run), ("resume", runner.resume), ("results", frame.results)):
        node = ast.parse(inspect.getsource(function)).body[0]
        assert isinstance(node, ast.FunctionDef)
        yield f"## harness.{title}\n\n```python\nharness.{_signature(node)}\n```\n"
        yield f"{prose(inspect.getdoc(function) or '')}\n"
    yield "## The run\n"
    yield from module_members(Path(inspect.getfile(runner)), only={"Run"})
    yield "## The records of a result file\n"
    yield from _prose_lines(result.__doc__ or "")
    yield from module_members(Path(inspect.getfile(result)), only=classes_of(result))


# --- from docstrings to Markdown -------------------------------------------------------------------------------------


def prose(text: str) -> str:
    """A docstring as Markdown: cross references become code, and sections become lists."""
    text = inspect.cleandoc(text)
    text = re.sub(r":\w+:`~?(?:harness\.(?:\w+\.)*)?([^`]+)`", r"`\1`", text).replace("``", "`")
    out: list[str] = []
    section = listed = False
    for line in text.split("\n"):
        head = re.fullmatch(r"(Args|Raises|Returns|Yields):", line)
        if head:
            section = True
            out += ["", f"**{head[1] if head[1] != 'Args' else 'Arguments'}**", ""]
        elif section and re.match(r"    \S", line):
            out.append("- " + re.sub(r"^(\w+):", r"`\1`:", line.strip()))
        elif section and line.startswith("     "):
            out.append("  " + line.strip())
        else:
            section = section and not line.strip()
            if line.startswith("* ") and not listed and out and out[-1].strip():
                out.append("")  # Markdown wants a blank line before a list
            listed = line.startswith("* ") or (listed and (line.startswith(" ") or not line.strip()))
            out.append(line)
    return "\n".join(out)


def _prose_lines(text: str) -> Iterator[str]:
    """A module's docstring: literal blocks and simple tables become code."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("    "):
            yield f"```\n{paragraph}\n```\n"
        elif paragraph.startswith("==="):
            yield f"```\n{paragraph.replace('``', '')}\n```\n"
        else:
            yield f"{prose(paragraph).replace('::', ':')}\n"


def _item(head: str, text: str) -> str:
    """A list item; further paragraphs of the text are indented under it."""
    first, _, rest = text.partition("\n\n")
    line = f"- {head}"
    line += f": {' '.join(first.split())}" if first.strip() else ""
    below = "".join(f"\n    {part}" if part.strip() else "\n" for part in ("\n" + rest).split("\n")) if rest else ""
    return line + below


def written() -> Mapping[Path, str]:
    """Path of every page of the reference -> its text."""
    return {HERE / name: text for name, text in pages().items()}
