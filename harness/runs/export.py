"""A run's policy as an ordinary model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.api import Model, State
from harness.books.journal import Journal
from harness.books.store import WeightStore
from harness.errors import UsageError, nearest
from harness.registry.build import build
from harness.registry.discover import Plugins
from harness.runs import record as records
from harness.runs.trust import check_trust


def export_policy(run: Path, to: Path, method: str = "", seed: int | None = None, *, trust: bool = False) -> str:
    """Write the policy that a row of the run tested, with adapters merged, and its tokenizer.

    Returns:
        ``METHOD, seed N``, for messages.

    Args:
        trust: run the plugin files that the record of a run made elsewhere names.

    Raises:
        UsageError: there is no such run or finished row, the row trained no policy, or ``to`` exists.
    """
    if to.exists():
        raise UsageError(f"{to} exists; name a folder that does not")
    model, state, where = open_policy(run, method, seed, trust=trust)
    if not state.adapters:
        raise UsageError(f"{where}, tested the model as it came: there is nothing to export")
    with model.borrow(state) as (module, tokenizer):
        module.save_pretrained(to)
        tokenizer.save_pretrained(to)
    return where


def open_policy(
    run: Path, method: str = "", seed: int | None = None, *, trust: bool = False
) -> tuple[Model, State, str]:
    """The policy that a row of the run tested: its model, its state, and ``METHOD, seed N``.

    Raises:
        UsageError: there is no such run or finished row.
    """
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
    table = _teacher_table(resolved, method)
    plugins = Plugins(tuple(Path(f) for f in record["plugin_files"]))
    model = build(plugins, Model, table, "model", weights=WeightStore(run / "weights")).instance
    return model, state, f"{method}, seed {seed}"


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
