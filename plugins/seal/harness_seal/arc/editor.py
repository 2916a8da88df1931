"""The editor ``arc-config``: the model reads a puzzle's demonstrations and writes its training configuration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any, Literal

from harness.api import Completion, EditAsk, EditFailed, Editor, Prompt, Request, SelfEdit, Session
from harness.errors import UsageError
from harness.reading import parse_toml, read_text, user_path
from harness.tasks.arc.task import GridTask, as_grids, demos_of
from harness_seal.arc.space import Budget, load_space, read_choice


class ArcConfig(Editor):
    """Samples configurations; one that does not follow the space's schema is a failed edit, and counts as wrong.

    The published code samples again until enough answers are JSON, so that others never count; ``malformed =
    "resample"`` does the same, up to ``max_draws`` per edit, and says so in the edit's reason. An answer in JSON that
    is no usable configuration (a key is missing or unknown, a value out of range, too many steps) is not drawn again:
    the published code trains nothing on it and counts it as unsolved.
    """

    @dataclass(frozen=True)
    class Settings:
        template: str = "arc-config-1"
        """The prompt: one that ships with this plugin, or a TOML file of that form."""
        space: str = "harness_seal.arc.space:ArcChoice"
        """The configuration space: ``module:Class`` of a :class:`~harness_seal.arc.space.Choice`."""
        temperature: float = 0.8
        """Sampling temperature; 0 is greedy decoding."""
        top_p: float = 1.0
        """Nucleus sampling: only the most probable tokens that together have this probability are drawn."""
        max_tokens: int = 128
        """New tokens per configuration."""
        malformed: Literal["failed", "resample"] = "failed"
        """What becomes of a configuration that does not follow the space's schema: the edit is ``failed``, or another
        is drawn."""
        max_draws: int = 20
        """Draws per edit in all, with ``malformed = "resample"``."""
        max_epochs: int = 0
        """Cap on an edit's epochs; 0 means none."""
        max_steps: int = 375
        """An edit of more optimiser steps fails; 0 means no limit."""
        batch_size: int = 2
        """The updater's batch size, for counting steps."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.space = load_space(settings.space)
        self.template = read_template(settings.template)

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        """``ask.n`` configurations for each ask's puzzle.

        Raises:
            UsageError: the run's task does not have grid puzzles.
        """
        task = as_grids(s.task, "editor arc-config")
        own = self.settings
        budget = Budget("chat" in s.lm("student").can, own.max_epochs, own.max_steps, own.batch_size)
        prompts = [self._prompt(task, ask, s) for ask in asks]
        rows = self._draw(asks, prompts, [ask.n for ask in asks], 0, s, budget)
        if own.malformed == "resample":
            for draw in range(1, own.max_draws):
                missing = [sum(map(_malformed, row)) for row in rows]
                if not any(missing):
                    break
                again = self._draw(asks, prompts, missing, draw, s, budget)
                rows = [_completed(row, new, draw) for row, new in zip(rows, again, strict=True)]
        return [[replace(edit, id=f"{edit.episode}/{at}") for at, edit in enumerate(row)] for row in rows]

    def _prompt(self, task: GridTask, ask: EditAsk, s: Session) -> Prompt:
        demos = task.text.demos(demos_of(ask.episode.context))
        if "chat" not in s.lm(ask.state).can:
            return str(self.template["base"]).replace("{demos}", demos)
        turns = self.template["instruct"]
        return (("system", turns["system"]), ("user", turns["user"].replace("{demos}", demos)))

    def _draw(
        self,
        asks: Sequence[EditAsk],
        prompts: Sequence[Prompt],
        numbers: Sequence[int],
        draw: int,
        s: Session,
        budget: Budget,
    ) -> list[list[SelfEdit]]:
        """``numbers[i]`` edits for every ask."""
        own = self.settings
        rows: list[list[SelfEdit]] = [[] for _ in asks]
        mine = [at for at, number in enumerate(numbers) if number]
        requests = [
            Request(
                asks[at].state, prompts[at], numbers[at], own.temperature, own.top_p, own.max_tokens,
                seed=s.seed("arc-config", asks[at].seed, draw) if draw else asks[at].seed,
            )
            for at in mine
        ]  # fmt: skip
        for at, completions in zip(mine, s.generate(requests), strict=True):
            rows[at] = [self._edit(asks[at].episode.id, completion, budget) for completion in completions]
        return rows

    def _edit(self, episode: str, completion: Completion, budget: Budget) -> SelfEdit:
        try:
            if completion.finish == "failed":
                raise EditFailed(completion.reason)
            data, settings = read_choice(self.space, completion.text).edit(budget)
        except EditFailed as why:
            return SelfEdit("", episode, (), actions=(completion,), status="failed", reason=str(why))
        return SelfEdit("", episode, data, settings, (completion,))


def _malformed(edit: SelfEdit) -> bool:
    """Whether an edit failed because its text is not JSON."""
    if edit.status != "failed":
        return False
    try:
        json.loads("".join(action.text for action in edit.actions))
    except (ValueError, RecursionError):
        return True
    return False


def _completed(row: Sequence[SelfEdit], new: Sequence[SelfEdit], draw: int) -> list[SelfEdit]:
    """The row with its malformed edits replaced by newly drawn ones, in order."""
    drawn = iter(new)
    out = []
    for edit in row:
        if _malformed(edit):
            edit = next(drawn)
            if edit.status == "ok":
                edit = replace(edit, reason=f"drawn again: {draw} malformed before it")
        out.append(edit)
    return out


def read_template(name: str) -> dict[str, Any]:
    """A prompt by name or by file.

    Raises:
        UsageError: the prompt is missing, or lacks ``base`` or ``instruct``.
    """
    path = user_path(name) if name.endswith(".toml") else resources.files("harness_seal") / "templates" / f"{name}.toml"
    if not path.is_file():
        raise UsageError(f"editor arc-config: no prompt {name!r}; the one that ships is 'arc-config-1'")
    found = parse_toml(read_text(path, where=f"editor arc-config: {name}"), f"editor arc-config: {name}")
    turns = found.get("instruct")
    texts = [found.get("base"), *(turns.get(role) if isinstance(turns, dict) else None for role in ("system", "user"))]
    if not all(isinstance(text, str) for text in texts):
        raise UsageError(f"editor arc-config: {name} needs base, instruct.system and instruct.user")
    return found
