"""The task ``file``: questions about your own texts, described in a TOML file instead of a plugin.

``harness run --task ./my_task.toml`` with, for example::

    name = "handbook"
    data = "handbook.json"      # beside this file; any form that the task squad reads
    prompt = "Answer in a word.\\n\\nQuestion: {question}\\nAnswer:"
    answer = "first-line"
    metric = "exact"

Every key is one of :class:`FileSettings`; only ``data`` has no default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from harness.api import JSON, Episode, Prompt, Query, References, Split
from harness.books.records import digest
from harness.errors import UsageError, nearest
from harness.metrics import normalize
from harness.reading import read_toml, user_path
from harness.registry.settings import check_settings
from harness.tasks.playbook import with_playbook
from harness.tasks.squad.settings import SquadSettings
from harness.tasks.squad.splitter import Splitter
from harness.tasks.squad.task import Squad

_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")
_LETTER = re.compile(r"\b([A-Z])\b")
_PATHS = ("data", "train", "validation")


@dataclass(frozen=True)
class FileSettings:
    """The keys of a task file."""

    name: str = "file"
    """Name of the task in tables and on leaderboards."""
    data: str = ""
    """A file or folder of passages with questions; without ``train`` it is split into train, validation and test,
    60/20/20."""
    train: str = ""
    """A file or folder of passages for the outer loop; with it, all of ``data`` is the test split."""
    validation: str = ""
    """A file or folder of passages that choose a checkpoint; without it, a quarter of the training titles does."""
    prompt: str = "Give a short and direct answer to the question.\n\nTopic: {title}\nQuestion: {question}\nAnswer:\n"
    """For base models; ``{title}`` and ``{question}`` are filled in, and any other brace stays as it is."""
    system: str = "Give a short and direct answer to the question."
    """The system turn for instruct models; "" leaves it out."""
    chat: str = "Topic: {title}\nQuestion: {question}"
    """The user turn for instruct models."""
    passage: str = "Passage:\n{title}\n{passage}\n\n"
    """What precedes the question where the method answers with the passage in its memory (open-book)."""
    answer: Literal["text", "first-line", "number", "letter"] = "text"
    """Which part of the model's text is the answer. Numbers are compared as numbers; letters are choices, such as
    ``B``."""
    pattern: str = ""
    """A regular expression whose first group is the answer, such as ``Answer: (.*)``; a text without a match has no
    answer."""
    metric: str = "exact"
    """What grades an answer: ``exact f1 contains recall``, or a judge such as ``offline-2``."""
    splitter: Splitter = "fixed"
    """How an edit's text is split into sequences (:mod:`harness.tasks.squad.splitter`)."""
    cap: int = 30
    """Most sequences per edit, the passage not counted; 0 keeps all."""
    title: bool = True
    """Whether every training sequence begins with a line that holds the title."""
    max_edit_chars: int = 100_000
    """A longer edit is ``failed``."""


def read_task(path: Path) -> dict[str, Any]:
    """The table of a task file, for ``task`` in a run's configuration; its paths are relative to the file's folder.

    Raises:
        UsageError: the file is absent or not TOML, a key is unknown (the nearest is named), or a value is wrong.
    """
    path = user_path(path)
    if not path.exists():
        beside = [str(found) for found in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        raise UsageError(f"no task file at {path}.{nearest(str(path), beside)}")
    table = read_toml(path)
    if "use" in table:
        raise UsageError(f"{path}: 'use' is for configurations (--config); a task file describes one task by itself")
    for key in _PATHS:
        if isinstance(table.get(key), str) and table[key]:
            table[key] = str((path.parent / user_path(table[key])).resolve())
    table.setdefault("name", path.stem)
    check_settings(FileSettings, table, str(path), "a task file")
    return {"use": "file", **table}


class FileTask(Squad):
    """Closed-book questions about passages, as a task file describes them.

    Edits become sequences as in the task ``squad``.
    """

    Settings = FileSettings  # type: ignore[assignment]

    def __init__(self, settings: FileSettings) -> None:
        _check(settings)
        shared = {field.name for field in fields(SquadSettings)} & {field.name for field in fields(FileSettings)}
        super().__init__(SquadSettings(train_order="file-order", **{name: getattr(settings, name) for name in shared}))
        self._file = settings
        self._pattern = re.compile(settings.pattern, re.DOTALL) if settings.pattern else None
        self.name = settings.name
        self.metric = settings.metric
        described = {key: value for key, value in asdict(settings).items() if key not in _PATHS}
        self.version = f"file-{digest(described)[:12]}"

    def load(self, split: Split, /) -> Sequence[tuple[Episode, References]]:
        """The split's passages in their order, with references in the form in which :meth:`extract` gives answers.

        Raises:
            UsageError: the data are absent or invalid, or a reference is not of the kind that ``answer`` names.
        """
        return [(episode, self._canonical(episode, references)) for episode, references in super().load(split)]

    def prompt(self, query: Query, memory: JSON, /, *, chat: bool) -> Prompt:
        """The file's prompt with the question, after the passage and the playbook where the memory holds them."""
        file = self._file
        values = {"title": str(query.meta["title"]), "question": query.text}
        shown = _filled(file.passage, {**values, "passage": str(memory["passage"])}) if "passage" in memory else ""
        if not chat:
            return with_playbook(shown + _filled(file.prompt, values), memory)
        turn = ("user", shown + _filled(file.chat, values))
        return with_playbook((("system", file.system), turn) if file.system else (turn,), memory)

    def extract(self, query: Query, answer: str, /) -> str | None:
        """The answer within a model's text; None where there is none of the kind that ``answer`` names."""
        if self._pattern is not None:
            found = self._pattern.search(answer)
            if found is None:
                return None
            answer = found[1] if found.re.groups else found[0]
        return _answer(self._file.answer, answer)

    def same(self, query: Query, a: str, b: str, /) -> bool:
        """Equal numbers or letters; texts after SQuAD's normalisation."""
        if self._file.answer in {"number", "letter"}:
            left, right = _answer(self._file.answer, a), _answer(self._file.answer, b)
            return left is not None and left == right
        return normalize(a) == normalize(b)

    def _canonical(self, episode: Episode, references: References) -> References:
        out: dict[str, Sequence[str]] = {}
        for query, golds in references.items():
            found = [_answer(self._file.answer, gold) for gold in golds]
            wrong = next((gold for gold, answer in zip(golds, found, strict=True) if answer is None), None)
            if wrong is not None:
                raise UsageError(
                    f"{self._file.data}: question {query!r} of {episode.context['title']!r}: "
                    f"the answer {wrong!r} is not a {self._file.answer}"
                )
            out[query] = [answer for answer in found if answer is not None]
        return out


def _answer(kind: str, text: str) -> str | None:
    text = text.strip()
    if kind == "first-line":
        return text.split("\n")[0].strip() or None
    if kind == "number":
        found = _NUMBER.search(text.replace("minus ", "-").replace(" point ", "."))
        return _in_words(float(found[0].replace(",", ""))) if found else None
    if kind == "letter":
        choice = _LETTER.search(text)
        return choice[1] if choice else None
    return text or None


def _in_words(number: float) -> str:
    """A number with sign and point in words: string measures strip punctuation, and would take 3.5 for 35, -3 for 3."""
    return f"{number:.12g}".replace("-", "minus ").replace(".", " point ")


def _check(settings: FileSettings) -> None:
    if not settings.data:
        raise UsageError("task.data: name the file or folder with the passages and their questions")
    for key in ("prompt", "chat"):
        if "{question}" not in getattr(settings, key):
            raise UsageError(f"task.{key}: has no {{question}}; put it where the question belongs")
    if "{passage}" not in settings.passage:
        raise UsageError("task.passage: has no {passage}; put it where the passage belongs")
    try:
        re.compile(settings.pattern)
    except re.error as error:
        raise UsageError(f"task.pattern: {settings.pattern!r} is not a regular expression: {error}") from error


def _filled(template: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{(" + "|".join(values) + r")\}", lambda found: values[found[1]], template)
