"""The controls of SEAL's few-shot ARC: no training, an untrained editor, and a configuration that people chose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.api import EditAsk, Editor, Method, Recipe, SelfEdit, Session

Group = Literal["basic", "size", "chain", "repeat"]


class FixedTtt(Editor):
    """The same configuration for every puzzle. The edit does not depend on ``n``, so there is only one.

    Rate and epochs are those of the updater's slot.
    """

    @dataclass(frozen=True)
    class Settings:
        augment: tuple[Group, ...] = ("basic", "size", "chain", "repeat")
        """Families of augmentations that a puzzle's training sequences come from."""
        leave_n: tuple[int, ...] = (1, 2)
        """How many demonstrations are left out of a sequence's prompt at a time."""
        loss_on: Literal["target", "all"] = "target"
        """Whether prompts are in the loss too."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        """One edit per puzzle."""
        own = self.settings
        chat = "chat" in s.lm("student").can
        recipe = Recipe("ttt", {"augment": list(own.augment), "leave_n": list(own.leave_n), "chat": chat})
        return [[SelfEdit(f"{a.episode.id}/0", a.episode.id, (recipe,), {"loss_on": own.loss_on})] for a in asks]


_LAB = {
    "limit": 8,
    "task": {"use": "lab-grids", "rules": "colours", "max_examples": 18, "max_characters": 300},
    "updater": {
        "rank": 16, "alpha": 32.0, "targets": "all-linear",
        "learning_rate": 5e-3, "epochs": 10, "batch_size": 2, "schedule": "cosine",
    },
    "evaluator": {"permutations": 1, "max_tokens": 40},
}  # fmt: skip
"""The embedded model in minutes, with the settings of ``seal-arc``."""
_QUICK = {**_LAB, "limit": 4}

_TESTED = {"trainer": {"use": "none"}, "evaluator": {"use": "grids"}}

ICL = Method(
    name="arc-icl",
    paper="arXiv 2506.10943, section 4.2",
    summary="learns nothing and answers from the demonstrations in the prompt",
    components=_TESTED,
    needs=frozenset({"generate"}),
    presets={
        name: {key: preset[key] for key in ("limit", "task", "evaluator")}
        for name, preset in (("lab", _LAB), ("quick", _QUICK))
    },
)

TTT_NO_RL = Method(
    name="arc-ttt-no-rl",
    paper="arXiv 2506.10943, section 4.2",
    summary="the model chooses its test-time training, without having been trained to",
    components={**_TESTED, "editor": {"use": "arc-config"}, "updater": {"use": "lora"}},
    needs=frozenset({"generate", "train"}),
    beside=("arc-icl", "arc-oracle-ttt"),
    presets={
        "lab": {**_LAB, "samples": 3, "editor": {"max_epochs": 10, "max_steps": 0, "batch_size": 2}},
        "quick": {**_QUICK, "samples": 2, "editor": {"max_epochs": 6, "max_steps": 0, "batch_size": 2}},
    },
)

ORACLE_TTT = Method(
    name="arc-oracle-ttt",
    paper="arXiv 2506.10943, section 4.2; arXiv 2411.07279",
    summary="test-time training as people configured it: all augmentations, loss on the answers",
    components={
        **_TESTED,
        "editor": {"use": "fixed-ttt"},
        "updater": {"use": "lora", "learning_rate": 1e-4, "epochs": 2, "batch_size": 2, "schedule": "cosine"},
    },
    needs=frozenset({"generate", "train"}),
    beside=("arc-icl",),
    # The other groups make grids of other sizes than those that are asked about.
    presets={name: {**preset, "editor": {"augment": ["basic"]}} for name, preset in (("lab", _LAB), ("quick", _QUICK))},
)
