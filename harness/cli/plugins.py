"""``harness plugins``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import complete
from harness.escape import terminal

app = typer.Typer(no_args_is_help=True, help="Explain, write and check plugins; `harness list plugins` lists them.")


@app.command("why")
def why_plugin(
    name: Annotated[str, typer.Argument(help="A plugin, or a component.", autocompletion=complete.plugins)],
) -> None:
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
    target: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PATH", help="An installed plugin, or a plugin file.", autocompletion=complete.plugins
        ),
    ],
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
