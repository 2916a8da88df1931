"""A run's policy as an ordinary model folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from harness.api import Model, State
from harness.books.journal import Journal
from harness.books.store import WeightStore, check_weights
from harness.errors import UsageError, nearest
from harness.files import write_text
from harness.reading import read_json
from harness.registry.build import build
from harness.registry.discover import Plugins
from harness.runs import record as records
from harness.runs.trust import check_trust


def export_policy(
    run: Path, to: Path, method: str = "", seed: int | None = None, *, adapter: bool = False, trust: bool = False
) -> str:
    """Write the policy that a row of the run tested, with adapters merged, and its tokenizer.

    Returns:
        ``METHOD, seed N``, for messages.

    Args:
        adapter: write the policy's one adapter as peft reads it, instead of a whole model.
        trust: run the plugin files that the record of a run made elsewhere names.

    Raises:
        UsageError: there is no such run or finished row, the row trained no policy, or ``to`` exists;
            with ``adapter``, the policy is not one LoRA adapter on its model.
        Damaged: the adapter is not what was stored.
    """
    if to.exists():
        raise UsageError(f"{to} exists; name a folder that does not")
    row = _tested(run, method, seed, trust=trust)
    if not row.state.adapters:
        raise UsageError(f"{row.name}, tested the model as it came: there is nothing to export")
    if adapter:
        _write_adapter(run, row.state, str(row.table.get("path") or ""), to)
        return row.name
    from harness.engine import plain_weights

    with _open(run, row).borrow(row.state) as (module, tokenizer):
        module.save_pretrained(to, state_dict=plain_weights(module))
        tokenizer.save_pretrained(to)
    return row.name


def open_policy(
    run: Path, method: str = "", seed: int | None = None, *, trust: bool = False
) -> tuple[Model, State, str]:
    """The policy that a row of the run tested: its model, its state, and ``METHOD, seed N``.

    Raises:
        UsageError: there is no such run or finished row.
    """
    row = _tested(run, method, seed, trust=trust)
    return _open(run, row), row.state, row.name


class _Tested(NamedTuple):
    """What a row's policy is made of."""

    name: str
    state: State
    table: dict[str, Any]
    """The model's table."""
    plugin_files: tuple[Path, ...]


def _tested(run: Path, method: str, seed: int | None, *, trust: bool) -> _Tested:
    record = records.read(run)
    check_trust(run, record, trust)
    resolved = record["resolved"]
    method = method or resolved["method"]
    if method not in resolved["arms"]:
        raise UsageError(f"the run has no method {method!r}.{nearest(method, resolved['arms'])}")
    seed = resolved["seed"] if seed is None else seed
    journal = Journal(run)
    try:
        deployed = journal.kept(f"{method}/{seed}", "deployed")
    finally:
        journal.close()
    if deployed is None:
        raise UsageError(f"{run} has no finished row of {method}, seed {seed}; `harness resume {run}` finishes it")
    state = State(deployed["teacher"]["base"], tuple(deployed["teacher"]["adapters"]))
    files = tuple(Path(file) for file in record["plugin_files"])
    return _Tested(f"{method}, seed {seed}", state, _teacher_table(resolved, method), files)


def _open(run: Path, row: _Tested) -> Model:
    weights = WeightStore(run / "weights")
    return build(Plugins(row.plugin_files), Model, row.table, "model", weights=weights).instance


def _write_adapter(run: Path, state: State, base: str, to: Path) -> None:
    """Copy the state's one adapter, naming the model that it belongs to where that has a path."""
    own = run / "weights" / state.adapters[-1]
    if len(state.adapters) > 1 or not (own / "adapter_config.json").is_file():
        raise UsageError(
            f"the policy is {len(state.adapters)} updates on its model, and no single adapter; leave --adapter away to "
            "write it as a whole model"
        )
    check_weights(own)
    config = read_json(own / "adapter_config.json")
    to.mkdir(parents=True)
    shutil.copy(own / "adapter_model.safetensors", to)
    if base:
        config["base_model_name_or_path"] = base
    write_text(to / "adapter_config.json", json.dumps(config, indent=2) + "\n")


def _teacher_table(resolved: dict[str, Any], method: str) -> dict[str, Any]:
    roles = resolved["arms"][method]["roles"]
    who, seen = roles.get("teacher"), set()
    while isinstance(who, str) and who not in seen:
        seen.add(who)
        who = roles.get(who.removeprefix("@"))
    if not isinstance(who, dict):
        raise UsageError(
            f"{method}: the run's record names no model for the role teacher; its {records.NAME} is damaged"
        )
    return dict(who)
