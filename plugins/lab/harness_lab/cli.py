"""`harness lab`: train the embedded model, export it, measure it, write its world to files."""

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import UsageError
from harness_lab import commands

app = typer.Typer(no_args_is_help=True, help="The embedded model: train it, measure it, write its world to files.")

_TOKENS = 66_000_000


@app.command()
def train(
    out: Annotated[Path, typer.Argument(help="Folder of the run; a checkpoint in it is continued.")],
    tokens: Annotated[int, typer.Option(help="Tokens to train on in all, those before a checkpoint too.")] = _TOKENS,
    seed: Annotated[int, typer.Option(help="Seed of the weights and of the documents.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    processes: Annotated[int, typer.Option(help="Processes that share each step, with one thread each: 1 or 2.")] = 1,
    checkpoint_minutes: Annotated[float, typer.Option(help="Minutes between checkpoints.")] = 2.0,
) -> None:
    """Pre-train a model from scratch; every few seconds a line says how long it will take.

    Example:  harness lab train runs/lab-1 --processes 2
    """
    from harness_lab.pretraining.train import SHARDS, TrainSettings
    from harness_lab.pretraining.train import train as run

    if processes not in range(1, SHARDS + 1) or SHARDS % processes:
        raise UsageError(f"--processes must divide {SHARDS}, not {processes}")
    if tokens < 1_000_000:
        raise UsageError(f"--tokens must be at least 1000000, not {tokens}")
    settings = TrainSettings(tokens=tokens, seed=seed)
    run(settings, out, device=device, processes=processes, checkpoint_minutes=checkpoint_minutes)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    out: Annotated[Path, typer.Argument(help="Folder for the model in Hugging Face's format.")],
) -> None:
    """Write a run's newest checkpoint, also during training, as a folder that transformers loads."""
    from harness_lab.pretraining.train import export as write

    commands.export(run, out, write)


@app.command()
def card(
    model: Annotated[str, typer.Option(help="A model folder; by default the packaged model.")] = "",
    pages: Annotated[int, typer.Option(min=1, help="Pages of the test split.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the pages.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the figures of the model card: reading, closed book, edits, grids, and what one update teaches."""
    from harness_lab.card import measure

    figures = measure(model, pages=pages, seed=seed)
    commands.show(figures, as_json, width=48)


@app.command()
def data(
    out: Annotated[Path, typer.Argument(help="Folder for the files.")],
    pages: Annotated[int, typer.Option(min=0, help="Pages of each split.")] = 100,
    grids: Annotated[int, typer.Option(min=0, help="Grid puzzles of each split.")] = 60,
    seed: Annotated[int, typer.Option(help="Seed of pages and puzzles.")] = 1,
) -> None:
    """Write the world as SQuAD v1.1 and ARC files, for other tools."""
    from harness_lab.world.grids import arc_files
    from harness_lab.world.squad import DataSplit, asked_pages, squad_json

    out.mkdir(parents=True, exist_ok=True)
    splits: tuple[DataSplit, ...] = ("train", "validation", "test")
    for split in splits:
        challenges, solutions = arc_files(grids, seed, split)
        files = {
            f"facts_{split}.json": squad_json(asked_pages(split, pages, seed)),
            f"grids_{split}_challenges.json": challenges,
            f"grids_{split}_solutions.json": solutions,
        }
        for name, value in files.items():
            (out / name).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
            print(out / name)
