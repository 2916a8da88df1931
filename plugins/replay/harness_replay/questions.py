"""Which question a row of a published log answers.

Continued-pretraining logs hold parallel lists without ids: row i answers question i of an order stored elsewhere. That
order is looked for in a file that the user names, in a ``questions*.jsonl`` near the log, and in the passages
themselves: the log's settings say how many there are, and the release flattened their questions and, if it asked only
some, shuffled the flat list with a fixed seed. A wrong order can be recognised, because the answers that the judge
accepted then hardly ever contain the gold text; so every candidate is checked against the log.
"""

from __future__ import annotations

import glob
import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from harness import metrics
from harness.errors import UsageError
from harness.reading import conform, read_json, read_json_lines

ORDER_SEED = 42
"""SEAL's subsets are ``random.seed(42); random.shuffle(passages)[:n]``."""
SAMPLE_SEEDS = (42, 43)
"""Full fine-tuning reseeds with 42 before it shuffles the questions; the generative adapter's driver uses 43."""
FITS = 0.25
"""Share of accepted answers that contain the gold text: 0.53 to 0.78 in the right order, below 0.02 in a wrong one."""


class LogError(UsageError):
    """A published log, or its questions, cannot be read; the message names the file and the place."""


@dataclass(frozen=True)
class Asked:
    """One question, with an id that is the same in every log: the context's digest and the question's index."""

    context: str
    """First 12 hex digits of the SHA-1 of the passage without surrounding space."""
    index: int
    title: str
    question: str
    gold: str

    @property
    def id(self) -> str:
        return f"{self.context}/{self.index}"


def context_id(text: str) -> str:
    return hashlib.sha1(text.strip().encode(), usedforsecurity=False).hexdigest()[:12]


def load_json(path: Path) -> Any:
    """Strict JSON: NaN and infinities are refused, since they are not measurements."""
    return read_json(path, LogError)


def find(
    log: Path, passages: int, accepted: Sequence[tuple[int, str]], rows: int, given: Path | None
) -> tuple[tuple[Asked, ...], str]:
    """The questions of a log with ``rows`` rows over ``passages`` passages, and where they come from.

    ``accepted`` are the rows that the log marks correct, as (row, answer). Raises :class:`LogError` if nothing fits.
    """
    tried = []
    for path in [given] if given else _nearby(log):
        for asked, how in _orders(path, passages, rows):
            if len(asked) != rows:
                tried.append(f"{how}: {len(asked)} questions for {rows} rows")
            elif not fits(asked, accepted):
                tried.append(f"{how}: its gold answers do not match the answers marked correct")
            else:
                return asked, how
    said = "; ".join(tried[:4]) if tried else "no questions*.jsonl or squad_val.json near it"
    raise LogError(f"{log}: the questions of its {rows} rows were not found ({said}); name their file with --questions")


def fits(asked: Sequence[Asked], accepted: Sequence[tuple[int, str]]) -> bool:
    """Whether accepted answers contain the gold text as often as they do in the right order."""
    if not accepted:
        return True
    return sum(metrics.contains(answer, [asked[row].gold]) for row, answer in accepted) >= FITS * len(accepted)


def _nearby(log: Path) -> Iterator[Path]:
    folder = log.resolve().parent
    yield from _matching(folder, "questions*.jsonl")
    yield from _matching(folder.parent, "*/questions*.jsonl")
    yield from _squad_near(folder)


def _squad_near(folder: Path) -> Iterator[Path]:
    for base in (folder, *list(folder.parents)[:2]):
        yield from _matching(base, "squad_*.json")
        yield from _matching(base, "squad/squad_*.json")


def _matching(folder: Path, pattern: str) -> list[Path]:
    """Files in and below a folder, in order. The neighbours are not ours: what vanishes meanwhile is passed over."""
    return sorted(map(Path, glob.iglob(f"{glob.escape(str(folder))}/{pattern}")))


def passages_near(log: Path, given: Path | None) -> dict[str, tuple[Asked, ...]]:
    """The questions of every passage in the SQuAD files near a log, or in the one that the user names."""
    found: dict[str, list[Asked]] = {}
    for path in [given] if given else _squad_near(log.resolve().parent):
        for one in _listed(path) if path.suffix == ".jsonl" else flatten(check_passages(path, load_json(path))):
            found.setdefault(one.context, []).append(one)
    return {context: tuple(asked) for context, asked in found.items()}


def _orders(path: Path, passages: int, rows: int) -> Iterator[tuple[tuple[Asked, ...], str]]:
    """Every order that a questions file or a passages file can stand for."""
    if path.suffix == ".jsonl":
        yield _listed(path), path.name
        return
    found = load_json(path)
    if not isinstance(found, list):
        raise LogError(f"{path}: neither a questions*.jsonl nor a list of passages with their questions")
    check_passages(path, found)
    shuffled = list(found)
    random.Random(ORDER_SEED).shuffle(shuffled)
    for order, how in ((found, "as listed"), (shuffled, f"shuffled with seed {ORDER_SEED}")):
        flat = flatten(order[:passages])
        if len(flat) == rows:
            yield flat, f"{path.name}, {how}"
        elif len(flat) > rows:
            for seed in SAMPLE_SEEDS:
                drawn = list(flat)
                random.Random(seed).shuffle(drawn)
                yield tuple(drawn[:rows]), f"{path.name}, {how}, questions drawn with seed {seed}"


class _QuestionOfPassage(BaseModel):
    model_config = ConfigDict(strict=True)

    question: str
    answer: str


class _PassageWithQuestions(BaseModel):
    model_config = ConfigDict(strict=True)

    title: str
    context: str
    questions: list[_QuestionOfPassage]


class _ListedQuestion(BaseModel):
    model_config = ConfigDict(strict=True)

    row: int
    context_sha1: str
    question_index: int
    title: str
    question: str
    gold: str


def check_passages(path: Path, found: Any) -> Any:
    """``found``, if it is a list of passages with their questions."""
    conform(list[_PassageWithQuestions], found, f"{path}: not a list of passages with their questions", LogError)
    return found


def flatten(passages: Sequence[Any]) -> tuple[Asked, ...]:
    """The questions of ``{title, context, questions: [{question, answer}]}`` passages, in file order."""
    return tuple(
        Asked(context_id(one["context"]), index, one["title"], asked["question"], asked["answer"])
        for one in passages
        for index, asked in enumerate(one["questions"])
    )


def _listed(path: Path) -> tuple[Asked, ...]:
    """Rows ``{row, context_sha1, question_index, title, question, gold}``, one per line, in order of ``row``."""
    asked: list[Asked] = []
    for number, value in read_json_lines(path, LogError):
        row = conform(_ListedQuestion, value, f"{path}: line {number}", LogError)
        if row.row != len(asked):
            raise LogError(f"{path}: line {number}: row {row.row} is out of order")
        asked.append(Asked(row.context_sha1, row.question_index, row.title, row.question, row.gold))
    return tuple(asked)
