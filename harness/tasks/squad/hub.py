"""SQuAD from the Hugging Face hub, at a pinned revision, through ``datasets`` (extra ``hub``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

from harness.errors import UsageError
from harness.reads import untracked
from harness.tasks.squad.passages import Passage, gather, question

NAME = "rajpurkar/squad"
REVISION = "7b6d24c440a36b6815f21b70d25016731768db1f"


def from_hub(part: Literal["train", "validation"], revision: str = REVISION) -> list[Passage]:
    """A published part: ``train`` (87,599 questions) or ``validation`` (10,570 questions, 2,067 passages).

    Raises:
        UsageError: ``datasets`` is not installed, or the data are neither in its cache nor on the hub.
    """
    instead = "or give your own passages: --data FILE (docs/tasks.md)"
    try:
        import datasets
    except ImportError as why:
        raise UsageError(
            f"task squad: looked for {NAME} on the hub, which needs the package 'datasets': "
            f"pip install 'selfadapt-harness[hub]', {instead}"
        ) from why
    reachable = _reachable(revision)
    try:
        # Unless it is told to be offline, the hub's client retries for a minute before it looks into its cache.
        # Untracked, for the pinned revision says what is read, whichever files of the cache hold it.
        with nullcontext() if reachable else _offline(datasets), untracked():
            rows = datasets.load_dataset(NAME, split=part, revision=revision)
    except Exception as why:  # loader, hub client and network raise errors of their own; any means no data
        cache = datasets.config.HF_DATASETS_CACHE
        reason = str(why).strip().splitlines()
        raise UsageError(
            f"task squad: looked for {NAME} ({part}, revision {revision[:12]}) in {cache} and on the hub"
            f"{'' if reachable else ', which cannot be reached'}: "
            f"{type(why).__name__}: {reason[0] if reason else 'no reason given'}; "
            f"load it once while online, set HF_HOME to a cache that has it, {instead}"
        ) from why
    return gather(
        [(row["title"], row["context"], question(row["id"], row["question"], row["answers"]["text"])) for row in rows]
    )


def _reachable(revision: str) -> bool:
    """Whether the hub answers for this very revision."""
    from huggingface_hub import HfApi

    try:
        HfApi().dataset_info(NAME, revision=revision, timeout=10)
    except Exception:  # the client passes on whatever its transport raises; any of it means no
        return False
    return True


@contextmanager
def _offline(datasets: Any) -> Iterator[None]:
    """Have ``datasets`` and the hub's client look into their caches only."""
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before
