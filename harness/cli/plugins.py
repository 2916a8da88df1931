"""``harness plugins``."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="List, explain, write and check plugins.")


@app.command("list")
def list_plugins(
    verbose: Annotated[bool, typer.Option("--verbose", help="Import each one and show what it provides.")] = False,
) -> None:
    """The installed plugins, from their metadata; nothing of them is imported unless --verbose asks for it.

    Example:  harness plugins list --verbose
    """
    from rich.console import Console
    from rich.table import Table

    from harness.errors import PluginError
    from harness.plugins import KINDS, Plugins

    plugins = Plugins()
    table = Table("plugin", "distribution", "version", "module", box=None)
    if verbose:
        table.add_column("provides", overflow="fold")
    for found in plugins:
        row = [found.name, found.distribution, found.version, found.module]
        if verbose:
            try:
                plugin = plugins.load(found.name)
                row.append("\n".join(f"{kind}: {', '.join(plugin.provides(kind))}" for kind in KINDS if plugin.provides(kind)))
            except PluginError as error:
                row.append(f"broken: {error}")
        table.add_row(*row)
    console = Console()
    console.print(table)
    for clash in plugins.clashes.values():
        console.print(f"refused: {clash}", highlight=False, style="red")
