"""The updater ``with-replay``: other text is mixed into an update, so that the model forgets less."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files
from typing import Annotated, ClassVar

from pydantic import Field

from harness.api import EditFailed, Example, SelfEdit, Session, Updated, UpdateJob, Updater
from harness.errors import UsageError
from harness.reading import read_json_lines, read_text, user_path


@dataclass(frozen=True)
class ReplaySettings:
    """Which corpus is replayed, and how much of it."""

    corpus: str = ""
    """A file: ``.jsonl`` with a field ``text``, or text with an empty line between documents; or ``package:path``."""
    share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Share of replayed sequences in an update. They are added: every sequence of the edits stays."""
    block_characters: Annotated[int, Field(ge=1)] = 4000
    """Longer documents are cut into blocks of at most this many characters, at white space."""


class WithReplay(Updater):
    """Passes every job to ``inner`` with blocks of the corpus added, drawn from the job's seed alone.

    ``log["replayed"]`` is the number of sequences that were added.
    """

    Settings: ClassVar[type[ReplaySettings]] = ReplaySettings
    nested: ClassVar[Mapping[str, str]] = {"inner": "updater"}

    def __init__(self, settings: ReplaySettings, inner: Updater) -> None:
        if not settings.corpus:
            raise UsageError("updater 'with-replay': name the corpus, such as updater.corpus = \"replay.jsonl\"")
        self._settings = settings
        self._inner = inner
        self.accepts = frozenset({*inner.accepts, Example})
        self.wave = inner.wave

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        """One :class:`Updated` per job, from ``inner``."""
        mixed = [self._mixed(job, s) for job in jobs]
        added = {job.id: len(job.edits[-1].data) if more else 0 for job, more in mixed}
        for updated in self._inner.apply([job for job, _ in mixed], s):
            yield replace(updated, log={**updated.log, "replayed": added[updated.job]})

    def _mixed(self, job: UpdateJob, s: Session) -> tuple[UpdateJob, bool]:
        try:
            sequences = len(s.expand(job))
        except EditFailed:
            return job, False  # the inner updater says what is wrong
        count = round(sequences * self._settings.share / (1.0 - self._settings.share))
        if not count:
            return job, False
        blocks = draw(self._blocks, count, job.seed)
        replayed = SelfEdit(f"{job.id}/replay", job.edits[0].episode, tuple(Example("", block) for block in blocks))
        return replace(job, edits=(*job.edits, replayed)), True

    @cached_property
    def _blocks(self) -> list[str]:
        blocks = [
            block for text in _documents(self._settings.corpus) for block in cut(text, self._settings.block_characters)
        ]
        if not blocks:
            raise UsageError(f"updater.corpus: {self._settings.corpus} holds no text")
        return blocks


def draw(blocks: Sequence[str], count: int, seed: int) -> list[str]:
    """``count`` blocks in random order; none is repeated before all others have occurred."""
    generator = random.Random(seed)
    drawn: list[str] = []
    while len(drawn) < count:
        drawn += generator.sample(blocks, min(len(blocks), count - len(drawn)))
    return drawn


def cut(text: str, most: int) -> list[str]:
    """A document in blocks of at most ``most`` characters, cut at white space if there is any."""
    blocks, rest = [], text.strip()
    while len(rest) > most:
        at = rest.rfind(" ", 0, most + 1)
        at = at if at > 0 else most
        blocks.append(rest[:at].strip())
        rest = rest[at:].strip()
    return [block for block in (*blocks, rest) if block]


def _documents(source: str) -> list[str]:
    package, sign, inside = source.partition(":")
    packaged = bool(sign) and package.isidentifier() and len(package) > 1
    try:
        path = files(package).joinpath(inside) if packaged else user_path(source)
    except ModuleNotFoundError as why:
        raise UsageError(f"updater.corpus: {source} cannot be read: {why}") from why
    where = f"updater.corpus: {source}"
    if not source.endswith(".jsonl"):
        return [part for part in read_text(path, where=where).split("\n\n") if part.strip()]
    found = []
    for number, row in read_json_lines(path, where=where):
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise UsageError(f"{where}: line {number}: every line must be a JSON object with a string `text`")
        found.append(row["text"])
    return found
