"""``harness adapter``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Train the generator of the method generative-adapter.")


@app.callback()
def _group() -> None:
    """Train the generator of the method generative-adapter."""


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder for the generator; an interrupted training there is continued.")],
    model: Annotated[str, typer.Option(help="The frozen model: lab, a folder, or a hub id.")] = "lab",
    task: Annotated[str, typer.Option(help="The task whose train split is used.")] = "lab-facts",
    task_seeds: Annotated[str, typer.Option(help="Seeds FIRST-LAST for a task that generates its items.")] = "",
    assign: Annotated[list[str] | None, typer.Option("--set", help="task.K=V, generator.K=V or training.K=V.")] = None,
) -> None:
    """Train a generator on a task's train split: text first, then questions.

    Example:

      harness adapter train --out lab-generator --task-seeds 100-119 --set generator.keys=64
    """
    from harness.errors import UsageError, nearest
    from harness.files import made_folder
    from harness.runs.tables import parse_set
    from harness_generative_adapter.prepare import opened, prepared

    given: dict[str, Any] = parse_set(assign or [])
    tables = {name: dict(given.pop(name, {})) for name in ("task", "generator", "training")}
    if given:
        raise UsageError(
            f"--set {next(iter(given))}: there are task, generator and training.{nearest(next(iter(given)), tables)}"
        )
    language_model = opened(model)
    made_folder(out, "--out")
    generator, settings, documents = prepared(language_model, task, task_seeds, tables)
    from harness.api import State
    from harness_generative_adapter import training

    with language_model.borrow(State(language_model.base)) as (module, _):
        made = generator(module)
        record = training.train(made, module, documents, settings, out, say=print)
    size = sum(parameter.numel() for parameter in made.parameters())
    print(f"{out}: {size / 1e6:.2f}M parameters after {record['steps']} steps, {record['tokens'] / 1e6:.1f}M tokens, "
          f"{record['seconds']:.0f} s; loss {record['loss']}")  # fmt: skip
    print(f"to use it: harness run --plugin generative-adapter --model {model} --set updater.generator='\"{out}\"'")
