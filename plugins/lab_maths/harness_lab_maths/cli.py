"""`harness lab-maths`: train the embedded model of reasoning, export it, measure it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from harness_lab import commands

from harness.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="The embedded model of reasoning: train it, measure it.")


@app.command()
def train(
    out: Annotated[Path, typer.Argument(help="Folder of the run; one that holds a checkpoint is gone on with.")],
    steps: Annotated[int, typer.Option(help="Optimiser steps, from the start.")] = 5400,
    seed: Annotated[int, typer.Option(help="Seed of the weights and of the documents.")] = 1,
    checkpoint_minutes: Annotated[float, typer.Option(help="Minutes between checkpoints.")] = 1.0,
) -> None:
    """Pre-train from scratch on one thread; says every few seconds how long it will take.

    Example:  harness lab-maths train runs/lab-maths-2
    """
    from harness_lab_maths.pretraining.train import Run, TrainSettings

    if steps < 1:
        raise UsageError(f"--steps must be at least 1, not {steps}")
    try:
        run = Run(TrainSettings(steps=steps, seed=seed), out)
    except ValueError as error:
        raise UsageError(str(error)) from error
    run.run(checkpoint_minutes=checkpoint_minutes)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    out: Annotated[Path, typer.Argument(help="Folder for the model in Hugging Face's format.")],
) -> None:
    """Write a run's newest checkpoint, at any time, as a folder that transformers loads."""
    from harness_lab_maths.pretraining.train import export as write

    commands.export(run, out, write)


@app.command()
def card(
    model: Annotated[str, typer.Option(help="A model folder; the packaged model unless told.")] = "",
    problems: Annotated[int, typer.Option(min=1, help="Problems of the test split.")] = 200,
    samples: Annotated[int, typer.Option(min=1, help="Chains per problem.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of the problems and of the chains.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the figures of the model card: solving, styles, judging, writing, making harder, FOBAR, claims.

    Example:  harness lab-maths card --problems 400 --seed 2
    """
    from harness_lab_maths.card import measure

    figures = measure(model, problems=problems, samples=samples, seed=seed)
    commands.show(figures, as_json, width=34)
