"""The settings of the task ``squad``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.tasks.squad.hub import REVISION
from harness.tasks.squad.splitter import Splitter

HUB = "hub"


@dataclass(frozen=True)
class SquadSettings:
    """Which passages are used, and how an edit becomes training sequences."""

    data: str = HUB
    """``hub`` (SQuAD v1.1), or a file or folder. Without ``train``, a file or folder is split by title into train,
    validation and test, 60/20/20."""
    train: str = ""
    """A file or folder of passages for the outer loop; with it, all of ``data`` is the test split."""
    validation: str = ""
    """A file or folder of passages that choose a checkpoint; without it, a quarter of the training titles does."""
    revision: str = REVISION
    """Commit of ``rajpurkar/squad`` on the hub."""
    subset: str = "shuffled"
    """Which test passages, in which order: a name of :data:`harness.tasks.squad.subsets.SUBSETS`."""
    train_order: Literal["shuffled", "file-order"] = "shuffled"
    """Order of the training and validation passages."""
    splitter: Splitter = "fixed"
    """How an edit's text is split into sequences (:mod:`harness.tasks.squad.splitter`)."""
    lines: Literal["single", "always", "never"] = "single"
    """Whether each line of an edit becomes a sequence: ``single`` does so save in continued pretraining, where one
    update learns the edits of all passages."""
    cap: int = 30
    """Most sequences per edit, the passage not counted; 0 keeps all."""
    title: bool = True
    """Whether every sequence begins with a line that holds the title."""
    passage: Literal["once-per-completion", "once-per-context", "never"] = "once-per-completion"
    """Whether the passage itself is learnt: with each of its edits, once for all its edits in an update, or never."""
    template: str = ""
    """A prompt file for answering, the harness's own (``harness:tasks/squad/prompts.toml``) or one of yours; "" for the
    built-in words. See :mod:`harness.registry.prompt_files`."""
    prompt: str = "answer"
    """A key in that file, with the placeholders ``{title}`` and ``{question}``; rows with the passage in the prompt
    use the key with ``-open-book`` behind it, with ``{passage}`` as well."""
    max_edit_chars: int = 100_000
    """A longer edit is ``failed``."""
