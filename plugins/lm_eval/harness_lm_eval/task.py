"""The items of lm-eval tasks: one episode per task, one query per document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from harness.api import (
    JSON,
    EditFailed,
    Episode,
    Example,
    Prompt,
    Query,
    Recipe,
    References,
    Score,
    Split,
    Task,
)
from harness.books.records import digest
from harness.errors import UsageError
from harness_lm_eval.library import INSTALL, load


@dataclass(frozen=True)
class LmEvalSettings:
    """Which of lm-eval's tasks are asked, and how many of their documents."""

    path: str = ""
    """A name in lm-eval's index (a group's stands for all of its tasks), or a file: ``.yaml`` in lm-eval's format, or
    ``.py`` with classes derived from its ``Task`` or with dictionaries that have a key ``task``."""
    documents: int = 0
    """The first documents of every task; 0 for all."""
    num_fewshot: int = -1
    """Worked examples in front of every question, unless the task sets 0; -1 for the task's own number."""
    fewshot_seed: int = 1234
    """Seed by which they are drawn; lm-eval's own default."""
    metric: str = ""
    """The measure that becomes the score, such as ``acc_norm`` or ``exact_match,strict-match``; "" for the first that a
    task has. All others are in the scores' ``measures``."""
    chat: bool = field(default=False, metadata={"added_later": True})
    """Whether questions and worked examples are turns of a conversation, which the model's chat template renders."""


class LmEvalTask(Task):
    """Tasks of lm-evaluation-harness as items to be asked beside a run's own, graded by the evaluator ``lm-eval``."""

    Settings = LmEvalSettings
    evaluator: ClassVar[str] = "lm-eval"
    public: ClassVar[tuple[str, ...]] = ("spec",)
    name = "lm-eval"

    def __init__(self, settings: LmEvalSettings) -> None:
        if not settings.path:
            raise UsageError("lm-eval: name a task: --also lm-eval:NAME, or lm-eval:FILE.yaml")
        # Tasks are loaded on first use, which is after the outer loop; what is plainly missing is said before it.
        if settings.path.endswith((".yaml", ".yml", ".py")) and not Path(settings.path).is_file():
            raise UsageError(f"no lm-eval task file at {settings.path}")
        if find_spec("lm_eval") is None:
            raise UsageError(INSTALL)
        self.spec: JSON = {
            "path": settings.path,
            "documents": settings.documents,
            "num_fewshot": settings.num_fewshot,
            "fewshot_seed": settings.fewshot_seed,
            "metric": settings.metric,
            "chat": settings.chat,
        }
        """What the evaluator needs to load the same tasks."""
        self.metric = settings.metric or "first metric"

    @cached_property
    def version(self) -> str:  # type: ignore[override]  # the tasks are loaded on first use
        """Digest of the tasks' versions and configurations."""
        found = load(self.spec)
        # Items without turns are what they were before there was a choice.
        asked = {k: v for k, v in self.spec.items() if k != "path" and (k, v) != ("chat", False)}
        return digest([asked, {n: t.version for n, t in found.items()}])[:12]

    def load(self, split: Split, /) -> Sequence[tuple[Episode, References]]:
        """One episode per task, in the split ``test``; there are no others."""
        if split != "test":
            return []
        out: list[tuple[Episode, References]] = []
        for name, loaded in load(self.spec).items():
            queries = [Query(one.id, _text(loaded.task.doc_to_text(one.doc))) for one in loaded.documents]
            targets: References = {one.id: [_text(loaded.task.doc_to_target(one.doc))] for one in loaded.documents}
            out.append((Episode(name, "test", {}, tuple(queries)), targets))
        return out

    def prompt(self, query: Query, memory: JSON, /, *, chat: bool) -> Prompt:
        """The question alone; the evaluator uses lm-eval's own requests."""
        return query.text

    def expand(self, recipe: Recipe, episode: Episode, seed: int, /) -> Sequence[Example]:
        raise EditFailed("lm-eval tasks are asked, not learnt from")

    def extract(self, query: Query, answer: str, /) -> str | None:
        return answer.strip() or None

    def same(self, query: Query, a: str, b: str, /) -> bool:
        return a.strip() == b.strip()

    def remarks(self, scores: Sequence[Sequence[Sequence[Score]]], /) -> Sequence[str]:
        """For every task: its mean before any update (of the base model), after, and the difference, in points."""
        out = []
        for samples in scores:
            known = [
                (one.value, float(one.measures["before"]))
                for sample in samples
                for one in sample
                if one.value is not None and "before" in one.measures
            ]
            if known:
                after, before = (100 * sum(column) / len(known) for column in zip(*known, strict=True))
                name = samples[0][0].episode
                out.append(f"{name} {before:.1f} before, {after:.1f} after, difference {after - before:+.1f}")
        return out


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)
