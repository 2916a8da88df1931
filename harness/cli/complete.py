"""What shells may complete a word to. Nothing here imports more of a plugin than the module with its hooks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import typer

Offer = tuple[str, str]
"""A completion, and a line about it, which zsh and fish show."""


def typed() -> list[str]:
    """The finished words of the command line that a shell wants completed, without the program's name."""
    if "COMP_CWORD" in os.environ:
        return os.environ.get("COMP_WORDS", "").split()[1 : int(os.environ["COMP_CWORD"])]
    line = os.environ.get("_TYPER_COMPLETE_ARGS", "")
    return line.split()[1:] if line[-1:].isspace() else line.split()[1:-1]


def methods(incomplete: str) -> list[Offer]:
    """What ``--plugin`` takes: methods, and plugins, which run their only method or with their component in place."""
    return _starting(incomplete, dict([*_plugins(), *_named("method")]).items())


def plugins(incomplete: str) -> list[Offer]:
    return _starting(incomplete, _plugins())


def tasks(incomplete: str) -> list[Offer]:
    return _starting(incomplete, _named("task"))


def models(incomplete: str) -> list[Offer]:
    return _starting(incomplete, _named("model"))


def protocols(incomplete: str) -> list[Offer]:
    return _starting(incomplete, _named("protocol"))


def judges(incomplete: str) -> list[Offer]:
    from harness.judges.base import JUDGES

    return _starting(incomplete, JUDGES.items())


def presets(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """The presets of the method that ``--plugin`` names earlier on the line, or else of all methods."""
    from harness.api import HarnessError
    from harness.registry.catalogue import presets_of
    from harness.registry.discover import Plugins

    found = Plugins()
    named = str(ctx.params.get("plugin") or "")
    try:
        only = found.method(named)[0].name if named else ""
    except HarnessError:
        return []
    offers: dict[str, str] = {}
    for method, preset, _ in presets_of(found):
        if only in ("", method):
            offers[preset] = f"{offers[preset]}, {method}" if preset in offers else method
    return _starting(incomplete, sorted(offers.items()))


def listable(incomplete: str) -> list[Offer]:
    from harness.cli.listing import WHAT

    return _starting(incomplete, WHAT.items())


def listed(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Names of what ``harness list`` is asked for."""
    from harness.registry.build import BASES

    what = str(ctx.params.get("what") or "")
    kind = what.removesuffix("s")
    if what == "settings":
        named = [("run", "the keys of a run"), *(offer for kind in BASES for offer in _named(kind))]
        return _starting(incomplete, dict(named).items())
    if what == "judges":
        return judges(incomplete)
    if what == "plugins":
        return plugins(incomplete)
    return _starting(incomplete, _named("method" if what == "presets" else kind))


def _plugins() -> Iterator[Offer]:
    from harness.registry.catalogue import plugin_entries
    from harness.registry.discover import Plugins

    return ((entry.name, entry.summary) for entry in plugin_entries(Plugins()))


def _named(kind: str) -> Iterator[Offer]:
    from harness.registry.catalogue import entries
    from harness.registry.discover import Plugins
    from harness.registry.plugin import KINDS

    return ((entry.name, entry.summary) for entry in entries(kind, Plugins())) if kind in KINDS else iter(())


def _starting(incomplete: str, offers: Iterable[Offer]) -> list[Offer]:
    return [offer for offer in offers if offer[0].startswith(incomplete)]
