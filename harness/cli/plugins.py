"""``harness plugins``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.escape import line, terminal

if TYPE_CHECKING:
    from harness.api import Method
    from harness.registry.discover import PluginInfo, Plugins

app = typer.Typer(no_args_is_help=True, help="List, explain, write and check plugins.")


@app.command("list")
def list_plugins(
    verbose: Annotated[bool, typer.Option("--verbose", help="Import each; show hooks, components, cards.")] = False,
) -> None:
    """List the installed plugins from their metadata; only --verbose imports them.

    Example:  harness plugins list --verbose
    """
    from harness.registry.discover import Plugins

    plugins = Plugins()
    if verbose:
        for found in plugins:
            print(terminal("\n".join(_in_full(found, plugins))))
    else:
        rows = [("plugin", "distribution", "version", "module")]
        rows += [(found.name, found.distribution, found.version, found.module) for found in plugins]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print(line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()))
    for clash in plugins.clashes.values():
        print(line(f"refused: {clash}"))


@app.command("why")
def why_plugin(name: Annotated[str, typer.Argument(help="A plugin, or a component.")]) -> None:
    """Say why a plugin is not found or cannot be used, or where a component comes from.

    Example:  harness plugins why my-editor
    """
    from harness.registry.discover import Plugins
    from harness.registry.why import why

    print(terminal("\n".join(why(name, Plugins()))))


@app.command("new")
def new_plugin(
    name: Annotated[str, typer.Argument(help="The plugin's name: lower-case letters and '-', such as my-editor.")],
    kind: Annotated[
        str, typer.Option(help="editor, reward, updater, evaluator, trainer, protocol, task, model or method.")
    ] = "editor",
    into: Annotated[Path, typer.Option(help="Folder in which the package's folder is made.")] = Path("."),
) -> None:
    """Write an installable package around one small component that works at once on the embedded model.

    Example:  harness plugins new my-editor --kind editor
    """
    from harness.testing.scaffold import write

    for path in write(name, kind, into):
        print(path)
    print(f"next: pip install -e {into / f'harness-{name}'} && harness plugins check {name}")


@app.command("check")
def check_plugin(
    target: Annotated[str, typer.Argument(metavar="NAME|PATH", help="An installed plugin, or a plugin file.")],
    task: Annotated[str, typer.Option(help="Task to test components on; by default that of the plugin's method.")] = "",
    run: Annotated[bool, typer.Option(help="Run two items from end to end as well.")] = True,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the checks that pass, too.")] = False,
) -> None:
    """Test a plugin's components against every rule of the contract, then run two items from end to end.

    Example:  harness plugins check ./my_editor.py
    """
    from harness.testing.check import check

    count = {"passed": 0, "failed": 0, "skipped": 0}
    for outcome in check(target, task=task, run=run):
        count[outcome.status] += 1
        if outcome.status != "passed" or verbose:
            print(f"{outcome.status:<8} {outcome.subject}: {outcome.check}")
        if outcome.said:
            print("         " + outcome.said.replace("\n", "\n         "))
        if outcome.where:
            print(f"         at {outcome.where}")
    print(", ".join(f"{number} {status}" for status, number in count.items()))
    if count["failed"]:
        raise typer.Exit(3)


def _in_full(found: PluginInfo, plugins: Plugins) -> list[str]:
    """One plugin: where it comes from, its hooks, what it provides, and the cards of its methods."""
    from harness.errors import PluginError
    from harness.registry.discover import KINDS

    head = f"{found.name}  {found.distribution} {found.version}  {found.module}"
    try:
        plugin = plugins.load(found.name)
        lines = [
            f"{head}  API {plugin.api}  {_license(found.distribution)}",
            f"  hooks       {', '.join(plugin.hooks())}",
        ]
        for kind in KINDS:
            if plugin.provides(kind):
                lines.append(f"  {kind + 's':<11} {', '.join(plugin.provides(kind))}")
        for name in plugin.provides("method"):
            lines += [f"  {name}: {_card(plugins.component_of(plugin, 'method', name).cls)}"]
    except PluginError as error:
        return [head, f"  broken: {error}"]
    return lines


def _card(method: Method) -> str:
    """What a method is, and what it may do, as its author states it."""
    statements = [
        method.paper or "a control",
        f"sees {method.sees.replace('+', ' and ')}",
        "open book" if method.open_book else "closed book",
        "transductive" if method.transductive else "",
        "an outside teacher" if method.outside_teacher else "no outside teacher",
        f"needs a model that can {' and '.join(sorted(method.needs))}" if method.needs else "",
    ]
    return f"{method.summary}\n      {' · '.join(filter(None, statements))}"


def _license(distribution: str) -> str:
    """The licence that the distribution's metadata states."""
    from importlib import metadata

    try:
        fields = metadata.metadata(distribution)
    except metadata.PackageNotFoundError:
        return "no licence stated"
    stated = [*(fields.get_all("License-Expression") or ()), *(fields.get_all("License") or ())]
    stated += [line.rpartition(" :: ")[2] for line in fields.get_all("Classifier") or () if "License ::" in line]
    return stated[0].split("\n")[0] if stated else "no licence stated"
