"""Judges by name."""

from __future__ import annotations

from harness.errors import UsageError, nearest
from harness.judges.base import DEFAULT, MEASURES, OFFLINE, Budget, Judge, Measure


def is_remote(name: str) -> bool:
    """Whether a judge of this name is asked over the network."""
    return name.startswith("openai:")


def load(name: str = DEFAULT, budget: Budget | None = None, template: str = "") -> Judge:
    """A judge by name: ``exact f1 contains recall offline-1 offline-2``, ``openai:MODEL``, or ``openai:MODEL@URL`` for
    an OpenAI-compatible endpoint other than OpenAI's.

    Args:
        template: a prompt file for a remote judge; "" for the built-in words.

    Raises:
        UsageError: the name is unknown, or the judge is asked nothing and so has no prompt.
    """
    if template and not is_remote(name):
        raise UsageError(f"judge {name!r} is not asked in words; a judge's prompt file is for openai:MODEL")
    if name in MEASURES:
        return Measure(name, MEASURES[name])
    if name in OFFLINE:
        from harness.judges.offline import OfflineJudge

        return OfflineJudge(name)
    if is_remote(name) and len(name) > len("openai:"):
        from harness.judges.remote import RemoteJudge

        model, at, url = name.removeprefix("openai:").partition("@http")
        return RemoteJudge(model, budget or Budget(), base_url=at[1:] + url, template=template)
    known = [*MEASURES, *OFFLINE, "openai:MODEL", "openai:MODEL@URL"]
    if name == "recorded":
        raise UsageError("--judge recorded reads a log's own verdicts; it can only be used on a published log")
    raise UsageError(f"unknown judge {name!r}.{nearest(name, known)}")
