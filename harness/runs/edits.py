"""The edits that a run deployed, one file per method and seed: written for people, and read again by ``--edits``.

``RUN/edits/<method>-<seed>.jsonl`` has one line per context: its id, the context, the texts that the model wrote, and
the edits as records. A file may have been changed by hand, so everything that is used of it is checked first.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from harness.api import EditAsk, Finish, Group, SelfEdit
from harness.books.records import decode, encode
from harness.errors import UsageError, nearest
from harness.reading import conform, read_json_lines, user_path


def edit_lines(groups: Sequence[Group]) -> str:
    """One line per context: what the model wrote, and the edits that were made of it."""
    lines = [
        {
            "episode": group.ask.episode.id,
            "context": encode(group.ask.episode.context),
            "texts": [[action.text for action in edit.actions] for edit in group.edits],
            "edits": [encode(_without_request(edit)) for edit in group.edits],
        }
        for group in groups
    ]
    return "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)


def read_edits(run: Path, method: str, seed: int) -> dict[str, Sequence[SelfEdit]]:
    """The test edits that a method of another run deployed, by episode: those of the same seed, or else of its
    first one.

    Raises:
        UsageError: there is no such run, the method deployed no edits in it (the nearest one that did is named), or the
            file is damaged (with line and field).
    """
    return _read(_file_of(user_path(run), method, seed))


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


def _file_of(run: Path, method: str, seed: int) -> Path:
    if not run.is_dir():
        beside = [path.name for path in run.parent.iterdir() if path.is_dir()] if run.parent.is_dir() else []
        raise UsageError(f"--edits {run}: there is no such run.{nearest(run.name, beside)}")
    seeds: dict[str, dict[int, Path]] = {}
    for path in (run / "edits").glob("*.jsonl"):
        name, _, number = path.stem.rpartition("-")
        if number.isascii() and number.isdigit() and len(number) < 20:
            seeds.setdefault(name, {})[int(number)] = path
    if not seeds:
        raise UsageError(f"--edits {run}: there are no recorded edits in {run / 'edits'}")
    mine = seeds.get(method)
    if mine is None:
        raise UsageError(f"--edits {run}: method {method!r} has no edits in that run.{nearest(method, seeds)}")
    return mine.get(seed) or mine[min(mine)]


def _read(path: Path) -> dict[str, Sequence[SelfEdit]]:
    found: dict[str, Sequence[SelfEdit]] = {}
    ids: dict[str, int] = {}
    for number, value in read_json_lines(path):
        where = f"{path}: line {number}"
        line = conform(_Line, value, where)
        if line.episode in found:
            raise UsageError(f"{where}, field episode: {line.episode!r} is in an earlier line too; remove one")
        for at, edit in enumerate(line.edits):
            if edit.episode != line.episode:
                raise UsageError(f"{where}, field edits[{at}].episode: {edit.episode!r} is not the line's own episode")
            if ids.setdefault(edit.id, number) != number or [e.id for e in line.edits].count(edit.id) > 1:
                raise UsageError(f"{where}, field edits[{at}].id: {edit.id!r} occurs twice in the file")
        found[line.episode] = [decode(edit) for edit in value["edits"]]
    if not found:
        raise UsageError(f"{path}: no edits in it")
    return found


def _without_request(edit: SelfEdit) -> SelfEdit:
    """The edit without its completions: the line has their texts, and their prompts would triple the file."""
    return dataclasses.replace(edit, actions=())


# --- the schema ------------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """Refuse free JSON with a record's tag in it, which would be decoded as a record."""
    if isinstance(value, Mapping):
        if "$" in value:
            raise ValueError("holds the key '$', which marks records")
        for item in value.values():
            _plain(item)
    elif isinstance(value, list):
        for item in value:
            _plain(item)
    return value


_Json = Annotated[dict[str, Any], AfterValidator(_plain)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Turn = Annotated[list[str], Field(min_length=2, max_length=2)]
_Prompt = str | list[_Turn]
_Filled = Annotated[str, Field(min_length=1)]


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", populate_by_name=False)


class _Example(_Record):
    tag: Literal["Example"] = Field(alias="$")
    prompt: _Prompt
    target: str
    weight: _Finite


class _Preference(_Record):
    tag: Literal["Preference"] = Field(alias="$")
    prompt: _Prompt
    chosen: str
    rejected: str
    weight: _Finite


class _State(_Record):
    tag: Literal["State"] = Field(alias="$")
    base: str
    adapters: list[str]
    memory: _Json


class _Request(_Record):
    tag: Literal["Request"] = Field(alias="$")
    state: _State
    prompt: _Prompt
    n: Annotated[int, Field(ge=1)]
    temperature: _Finite
    top_p: _Finite
    max_tokens: Annotated[int, Field(ge=1)]
    stop: list[str]
    seed: int
    json_schema: _Json | None = Field(alias="schema")


class _Completion(_Record):
    tag: Literal["Completion"] = Field(alias="$")
    request: _Request
    text: str
    tokens: list[int] | None
    logprobs: list[_Finite] | None
    finish: Finish
    cost: _Json
    reason: str


class _Rollout(_Record):
    tag: Literal["Rollout"] = Field(alias="$")
    action: _Completion
    group: str
    advantage: _Finite


class _Recipe(_Record):
    tag: Literal["Recipe"] = Field(alias="$")
    name: _Filled
    args: _Json


class _MemoryOps(_Record):
    tag: Literal["MemoryOps"] = Field(alias="$")
    ops: list[_Json]


class _Delta(_Record):
    tag: Literal["Delta"] = Field(alias="$")
    artefact: _Filled
    scale: _Finite


class _Distillation(_Record):
    tag: Literal["Distillation"] = Field(alias="$")
    prompt: _Prompt
    target: str
    teacher_prompt: _Prompt | None
    teacher: Literal["start", "base"]
    top: Annotated[int, Field(ge=1)]
    weight: _Finite


class _Edit(_Record):
    tag: Literal["SelfEdit"] = Field(alias="$")
    id: str
    episode: _Filled
    data: list[
        Annotated[
            _Example | _Preference | _Rollout | _Recipe | _MemoryOps | _Delta | _Distillation,
            Field(discriminator="tag"),
        ]
    ]
    settings: _Json
    actions: Annotated[list[Any], Field(max_length=0)]
    status: Literal["ok", "failed", "error"]
    reason: str


class _Line(_Record):
    episode: _Filled
    context: _Json
    texts: list[list[str]]
    edits: list[_Edit]
