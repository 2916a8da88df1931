"""``harness export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    to: Annotated[Path, typer.Argument(help="Folder to write; must not exist yet.")],
    method: Annotated[str, typer.Option(help="Which row's policy; by default the run's own method.")] = "",
    seed: Annotated[int | None, typer.Option(help="Which seed's; by default the first.")] = None,
    adapter: Annotated[
        bool, typer.Option("--adapter", help="Only the trained adapter, in peft's format, where it is a single one.")
    ] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the plugin files that a run from elsewhere names.")
    ] = False,
) -> None:
    """Write the policy that a run tested, with its adapters merged, as a model folder that transformers loads.

    With --adapter, write the adapter alone, as a folder that peft loads onto the model.

    Example:  harness export runs/20261120-101500-seal-lab-facts ./policy
    """
    from harness.runs.export import export_policy

    where = export_policy(run, to, method, seed, adapter=adapter, trust=trust)
    print(f"policy of {where} written to {to}")
