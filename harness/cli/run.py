"""``harness run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli import complete


def command(
    plugin: Annotated[
        str,
        typer.Option(
            "--plugin", "-p", help="Method to run, or a plugin file such as ./mine.py.", autocompletion=complete.methods
        ),
    ] = "",
    task: Annotated[
        str,
        typer.Option(
            help="Task: lab-facts (default with the lab model), squad, arc, ...", autocompletion=complete.tasks
        ),
    ] = "",
    model: Annotated[
        str,
        typer.Option(help="lab (default), a folder, a hub id, or openai:NAME.", autocompletion=complete.models),
    ] = "",
    data: Annotated[
        str, typer.Option(help="The task's data: a file or folder. Without --task, of the preset's task or squad.")
    ] = "",
    protocol: Annotated[
        str,
        typer.Option(
            help="How a policy is measured: single, cpt, or a plugin's protocol.", autocompletion=complete.protocols
        ),
    ] = "",
    also: Annotated[
        list[str] | None,
        typer.Option(
            help="A further task, task file, or TASK:PATH, to put to the same states.", autocompletion=complete.tasks
        ),
    ] = None,
    preset: Annotated[str, typer.Option(help="One of the method's presets.", autocompletion=complete.presets)] = "",
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A TOML configuration.")] = None,
    assign: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, overrides the configuration.")] = None,
    limit: Annotated[int, typer.Option(help="Number of test contexts; nothing else is changed.")] = 0,
    seeds: Annotated[int, typer.Option(help="Number of seeds; rows are ranked from 2 that differ.")] = 0,
    edits: Annotated[str, typer.Option(help="Use the test edits of this run instead of writing new ones.")] = "",
    reuse: Annotated[
        str, typer.Option(help="auto (default with a plugin file), off, or a run to take results from.")
    ] = "",
    all_methods: Annotated[bool, typer.Option("--all", help="Every method that has the preset, in one table.")] = False,
    judge: Annotated[
        str,
        typer.Option(
            help="Judge of free text: a measure, offline-1, offline-2, or openai:MODEL[@URL].",
            autocompletion=complete.judges,
        ),
    ] = "",
    max_judge_calls: Annotated[int, typer.Option(help="Calls that a remote judge may make.")] = 0,
    max_cost: Annotated[float, typer.Option(help="US dollars that each remote model may cost.")] = 0.0,
    out: Annotated[str, typer.Option(help="Folder in which the run's folder is made.")] = "",
    max_hours: Annotated[float, typer.Option(help="Stop after this many hours; the run can be resumed.")] = 0.0,
    devices: Annotated[
        str, typer.Option(help="Workers for local models: cpu:2, cuda:0,1, or cuda:x4 (docs/scale.md).")
    ] = "",
    executor: Annotated[str, typer.Option(help="Who starts them: processes (default), ray, or module:Class.")] = "",
    address: Annotated[str, typer.Option(help="Of the executor's cluster, such as auto with ray.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show every setting, counts and time; run nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result file instead of the table.")] = False,
) -> None:
    """Run a method and its controls, and print one table.

    The configuration is layered, and later layers win: the method, the model's profile, the preset, --config, --set,
    flags.

    Examples:

      harness run --plugin seal

      harness run --plugin seal --task squad --model Qwen/Qwen2.5-7B --preset paper-qwen2.5-7b-n1

      harness run --config mine.toml --set updater.learning_rate=5e-4 --seeds 3
    """
    from harness.cli.output import answer_alone, finish
    from harness.registry.discover import Plugins
    from harness.runs import runner
    from harness.runs.tables import parse_set, read_file
    from harness.session.progress import on_terminal
    from harness.workers.chosen import Workers

    given, layers = ({}, []) if config is None else (read_file(config), [str(config)])
    assigned = parse_set(assign or ())
    _name_model(model, given, assigned)
    if assign:
        _merge(given, assigned)
        layers.append("--set")
    files: tuple[Path, ...] = ()
    if plugin.endswith(".py"):
        files = (Path(plugin),)
        given["method"] = Plugins(files).at_hand[0]
        given.setdefault("reuse", "auto")
    elif plugin:
        given["method"] = plugin
    flags: dict[str, Any] = {"preset": preset, "limit": limit, "seeds": seeds, "edits": edits,
                             "all": all_methods, "max_cost": max_cost, "out": out, "max_hours": max_hours}  # fmt: skip
    given |= {key: value for key, value in flags.items() if value}
    judging = {"judge": judge, "max_judge_calls": max_judge_calls, "max_judge_cost": max_cost if judge else 0.0}
    if judge or max_judge_calls:
        given |= {key: value for key, value in judging.items() if value}
    if protocol:
        _merge(given, {"protocol": {"use": protocol}})
    for name in also or ():
        measure: dict[str, Any] = {"task": _task_table(name)}
        of_set = given.get("also", {}).get(_table_name(name))
        _merge(measure, of_set if isinstance(of_set, dict) else {})
        given["also"] = {**given.get("also", {}), _table_name(name): measure}
    if reuse:
        given["reuse"] = "" if reuse == "off" else reuse
    if task or data:
        table = given.get("task", {})
        table = {"use": table} if isinstance(table, str) else dict(table)
        if task.endswith(".toml"):
            table = _task_table(task)
        elif task:
            table["use"] = task
        if data:
            table["data"] = data
        given["task"] = table
    layers.append("flags")
    workers = Workers(devices, executor, address)
    if dry_run:
        from harness.runs.dry_run import make_plan, show_plan

        with answer_alone(as_json):
            plan = make_plan(given, files, layers)
        show_plan(plan, as_json=as_json, workers=workers)
        return
    progress = on_terminal()
    with answer_alone(as_json):
        done = runner.run(given, plugin_files=files, layers=layers, progress=progress, workers=workers)
    finish(done, as_json)


def _name_model(model: str, given: dict[str, Any], assigned: dict[str, Any]) -> None:
    """Put ``--model`` in the place of the file's model; settings that ``--set`` gives a model then go on top.

    Raises:
        UsageError: ``--set`` names another model.
    """
    from harness.errors import UsageError

    if not model:
        return
    given_there = assigned.pop("model", None) or {}
    on_top: dict[str, Any] = given_there if isinstance(given_there, dict) else {"use": given_there}
    if named := next((on_top[key] for key in ("use", "path") if key in on_top), ""):
        raise UsageError(f"--model {model} and --set model... = {named} name two models; give one of them")
    of_file = given.get("model")
    kept = of_file if isinstance(of_file, dict) and not {"use", "path"} & of_file.keys() else {}
    settings = {**kept, **on_top}
    given["model"] = {"use": model, **settings} if settings else model


def _table_name(task: str) -> str:
    """The name of a further task's table: ``arc`` for ``arc.toml``, and ``puzzles`` for ``lm-eval:my/puzzles.yaml``."""
    return Path(task.partition(":")[2] or task).stem


def _task_table(name: str) -> dict[str, Any]:
    """A task by its name, by its file, or as ``COMPONENT:PATH``, where the component has a setting ``path``."""
    if not name.endswith(".toml"):
        use, sign, path = name.partition(":")
        return {"use": use, "path": path} if sign else {"use": name}
    from harness.tasks.file import read_task

    return dict(read_task(Path(name)))


def _merge(under: dict[str, Any], over: dict[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(under.get(key), dict):
            _merge(under[key], value)
        elif isinstance(value, dict) and isinstance(under.get(key), str):
            under[key] = {"use": under[key], **value}
        else:
            under[key] = value
