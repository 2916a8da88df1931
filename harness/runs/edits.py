"""The edits that a method deployed, in the run's folder: readable, and enough for another run to deploy them again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.api import EditAsk, Group, SelfEdit
from harness.books.records import decode, encode
from harness.errors import UsageError


def edit_lines(groups: Sequence[Group]) -> str:
    """One line per ask: what the model wrote, and the edits that were made of it."""
    lines = []
    for group in groups:
        line = {
            "episode": group.ask.episode.id,
            "context": encode(group.ask.episode.context),
            "texts": [[action.text for action in edit.actions] for edit in group.edits],
            "edits": [encode(_without_request(edit)) for edit in group.edits],
        }
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    return "".join(lines)


def read_edits(run: Path, method: str, seed: int) -> dict[str, Sequence[SelfEdit]]:
    """The test edits that a method of another run deployed: those of the same seed, else of its first one.

    Raises:
        UsageError: no such run, or the method deployed no edits there.
    """
    folder = run / "edits"
    files = {path.stem: path for path in sorted(folder.glob("*.jsonl"))}
    for name in (f"{method}-{seed}", *(stem for stem in files if stem.rpartition("-")[0] == method), *files):
        if name in files:
            lines = (json.loads(line) for line in files[name].read_text("utf-8").splitlines())
            return {line["episode"]: [decode(edit) for edit in line["edits"]] for line in lines}
    raise UsageError(f"--edits {run}: there are no recorded edits in {folder}")


def recorded_groups(asks: Sequence[EditAsk], recorded: Mapping[str, Sequence[SelfEdit]]) -> list[Group]:
    """The recorded edits of each ask.

    Raises:
        UsageError: an episode has none.
    """
    missing = [ask.episode.id for ask in asks if ask.episode.id not in recorded]
    if missing:
        raise UsageError(
            f"--edits: the run has no edits for {len(missing)} of {len(asks)} contexts, such as {missing[0]}"
        )
    return [Group(ask, tuple(recorded[ask.episode.id][: ask.n])) for ask in asks]


def _without_request(edit: SelfEdit) -> SelfEdit:
    """The prompts would triple the file; the texts are in it."""
    return dataclasses.replace(edit, actions=())
