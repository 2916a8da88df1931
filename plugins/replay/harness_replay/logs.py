"""Published SEAL result files, read into one record (arXiv 2506.10943; both versions of its repository).

Four layouts are recognised by their keys:

* scored runs: ``articles[].completions[].questions[]``, one row per repetition and question, self-describing;
* continued pretraining with LoRA: ``server_reply`` with parallel lists in passage order;
* continued pretraining with full fine-tuning, and the generative adapter: ``per_question`` with parallel lists;
* few-shot abstraction: ``{edit: {"task_id": {place: id}, "correct": {place: bool}}}``, verdicts without answers.

Absent data stay missing. ``per_article`` of the second layout is keyed by title, so passages with the same title
overwrite each other; it is never read. Zeros in a file that never measured (``reward_mode: proxy``, a baseline that was
not asked) count as missing too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.reading import conform
from harness_replay import schemas
from harness_replay.conditions import Conditions, of_abstraction, of_log
from harness_replay.questions import Asked, LogError, context_id, find, load_json, passages_near


@dataclass(frozen=True)
class Mark:
    """An answer and the verdict recorded for it."""

    text: str
    correct: bool


Marks = tuple[tuple[tuple[Mark, ...], ...], ...]
"""``[repetition][question][candidate]``; a question without a row has an empty tuple."""


@dataclass(frozen=True)
class Log:
    """One published run: the questions, and the answers with and without the update."""

    path: Path
    layout: Literal["scored", "server_reply", "per_question", "abstraction"]
    protocol: Literal["single", "cpt"]
    split: Literal["train", "validation"]
    asked: tuple[Asked, ...]
    """In context order, so that a context's questions are adjacent."""
    adapter: Marks | None
    baseline: Marks | None
    """None if it was not measured."""
    model: str | None
    """The model that the updates start from; None if the log does not say."""
    settings: Mapping[str, Any]
    stated: Mapping[str, Any]
    """The file's own summary, for comparison only."""
    conditions: Conditions
    """Model, decoding and prompt, as far as they are known."""
    extra: Mapping[str, float] = field(default_factory=dict)
    """Recomputed figures other than accuracies, such as ``proxy_mean``."""
    notes: tuple[str, ...] = ()
    complete: bool = True
    """Whether the file has every question row that it should have."""

    @property
    def name(self) -> str:
        return self.path.stem


def read_log(path: Path, questions: Path | None = None) -> Log:
    """Read a published log. Raises :class:`LogError`, which names file and place."""
    raw = load_json(path)
    if not isinstance(raw, dict):
        raise LogError(f"{path}: not a published result file: {type(raw).__name__} where an object was expected")
    if "articles" in raw:
        conform(schemas.Scored, raw, f"{path}: malformed", LogError)
        return _scored(path, raw, questions)
    if "server_reply" in raw or "per_question" in raw:
        conform(schemas.Parallel, raw, f"{path}: malformed", LogError)
        return _parallel(path, raw, questions)
    if "per_article" in raw:
        conform(schemas.Collapsed, raw, f"{path}: malformed", LogError)
        return _collapsed(path, raw)
    if raw and all(place.isdecimal() and isinstance(one, dict) and "task_id" in one for place, one in raw.items()):
        try:
            return _abstraction(path, raw)
        except (KeyError, TypeError, AttributeError) as error:
            raise LogError(f"{path}: malformed: {type(error).__name__}: {error}") from None
    raise LogError(
        f"{path}: not a published result file: none of articles, server_reply, per_question, task_id, "
        "mean_over_sequences in it"
    )


# --- scored runs -----------------------------------------------------------------------------------------------------


def _scored(path: Path, raw: Mapping[str, Any], questions: Path | None) -> Log:
    articles = raw["articles"]
    notes: list[str] = []
    asked: list[Asked] = []
    adapter: list[list[tuple[Mark, ...]]] = []
    baseline: list[list[tuple[Mark, ...]]] = []
    seen: dict[str, int] = {}
    repetitions = int(raw.get("eval_times") or 1)
    rowless: list[str] = []
    gaps = 0
    for place, article in enumerate(articles):
        context = context_id(article["context"])
        if context in seen:
            raise LogError(f"{path}: articles.{place} repeats the passage of articles.{seen[context]}; drop one")
        seen[context] = place
        tables = [
            _rows(completion["questions"], repetitions, f"{path}: articles.{place}.completions.{at}")
            for at, completion in enumerate(article["completions"])
        ]
        longest = max((rep for table in tables for rep in table), key=len, default=[])
        if not longest:
            rowless.append(context)
            continue
        gaps += sum(len(longest) - len(rep) for table in tables for rep in table)
        for index, row in enumerate(longest):
            asked.append(Asked(context, index, article["title"], row["question"], row["answer"]))
            cells = [[table[rep][index] for table in tables if index < len(table[rep])] for rep in range(repetitions)]
            _same_question(cells, row, f"{path}: articles.{place}, question {index}")
            adapter.append([_marks(cell, "adapter", path, place) for cell in cells])
            baseline.append([_marks(cell, "baseline", path, place) for cell in cells])
    if rowless:
        near = passages_near(path, questions)
        known = [one for context in rowless for one in near.get(context, ())]
        asked += known
        for side in (adapter, baseline):
            side += [[()] * repetitions for _ in known]
        notes.append(
            f"no question rows for {len(rowless)} of {len(articles)} contexts"
            + (f"; their {len(known)} questions are counted as missing" if known else "; they are left out")
        )
    if gaps:
        notes.append(f"{gaps} question rows are missing")
    unmeasured = raw.get("reward_mode") == "proxy"
    if unmeasured:
        notes.append("reward_mode is proxy: its accuracies of 0.0 mean not measured")
    return Log(
        path,
        "scored",
        "single",
        _split(raw),
        tuple(asked),
        None if unmeasured or not asked else _transpose(adapter),
        None if unmeasured or not asked else _measured(_transpose(baseline)),
        None,
        {**(raw.get("lora_params") or {}), "split_newlines": raw.get("split_newlines")},
        raw.get("overall") or {},
        of_log(raw, _texts(adapter, baseline)),
        _proxy(articles),
        tuple(notes),
        not rowless and not gaps,
    )


def _texts(*sides: Sequence[Sequence[Sequence[Mark]]]) -> list[str]:
    return [mark.text for side in sides for row in side for cell in row for mark in cell]


def _split(raw: Mapping[str, Any]) -> Literal["train", "validation"]:
    return "train" if "/train/" in str(raw.get("dataset", "")) else "validation"


def _rows(rows: Sequence[Mapping[str, Any]], repetitions: int, where: str) -> list[list[Mapping[str, Any]]]:
    table: list[list[Mapping[str, Any]]] = [[] for _ in range(repetitions)]
    for row in rows:
        if not 0 <= row["rep"] < repetitions:
            raise LogError(f"{where}: rep {row['rep']} of {repetitions}")
        table[row["rep"]].append(row)
    return table


def _same_question(cells: Sequence[Sequence[Mapping[str, Any]]], row: Mapping[str, Any], where: str) -> None:
    if any(one["question"] != row["question"] for cell in cells for one in cell):
        raise LogError(f"{where}: repetitions or completions ask different questions here")


def _marks(rows: Sequence[Mapping[str, Any]], side: str, path: Path, place: int) -> tuple[Mark, ...]:
    return tuple(
        Mark(
            str(row[f"{side}_answer"] or ""),
            _verdict(row[f"{side}_correct"], f"{path}: articles.{place}: {side}_correct"),
        )
        for row in rows
    )


def _verdict(value: Any, where: str) -> bool:
    if value is True or value is False:
        return value
    raise LogError(f"{where}: {value!r:.60} is not a verdict; true or false was expected")


def _transpose(by_question: Sequence[Sequence[tuple[Mark, ...]]]) -> Marks:
    return tuple(tuple(row) for row in zip(*by_question, strict=True))


def _measured(marks: Marks) -> Marks | None:
    """None if no answer has any text: a side that was not asked is encoded as empty and wrong."""
    if any(mark.text or mark.correct for rep in marks for cell in rep for mark in cell):
        return marks
    return None


def _proxy(articles: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    per_article = []
    for article in articles:
        finals = [
            sum(score["final"] for score in one["proxy_scores"]) / len(one["proxy_scores"])
            for one in article["completions"]
            if one.get("proxy_scores")
        ]
        if finals:
            per_article.append(sum(finals) / len(finals))
    return {"proxy_mean": sum(per_article) / len(per_article)} if per_article else {}


# --- continued pretraining -------------------------------------------------------------------------------------------


def _parallel(path: Path, raw: Mapping[str, Any], questions: Path | None) -> Log:
    layout: Literal["server_reply", "per_question"] = "server_reply" if "server_reply" in raw else "per_question"
    lists = raw[layout] or {}
    adapter = _column(lists, "adapter", path)
    if adapter is None:
        raise LogError(f"{path}: {layout} holds no answers of the adapter: nothing was measured")
    baseline = _column(lists, "baseline", path)
    if baseline is not None and len(baseline) != len(adapter):
        raise LogError(f"{path}: {len(baseline)} rows of the baseline beside {len(adapter)} of the adapter")
    expected = raw.get("eval_questions")
    if expected not in (None, len(adapter)):
        raise LogError(f"{path}: cut off: {len(adapter)} rows of the {expected} questions that it says were asked")
    accepted = [(row, mark.text) for row, mark in enumerate(adapter) if mark.correct]
    asked, source = find(path, int(raw["n_articles"]), accepted, len(adapter), questions)
    order = _context_order(asked)
    notes = [f"questions from {source}"]
    lost = _lost_rows(raw, len(adapter))
    if lost:
        notes.append(lost)
    return Log(
        path,
        layout,
        "cpt",
        _split(raw),
        tuple(asked[row] for row in order),
        (tuple((adapter[row],) for row in order),),
        None if baseline is None else _measured((tuple((baseline[row],) for row in order),)),
        raw.get("model"),
        raw.get("lora_params") or raw.get("args") or {},
        raw.get("overall") or raw.get("metrics") or {},
        of_log(raw, [mark.text for mark in (*adapter, *(baseline or ()))]),
        notes=tuple(notes),
    )


def _column(lists: Mapping[str, Any], side: str, path: Path) -> list[Mark] | None:
    texts, verdicts = lists.get(f"{side}_texts"), lists.get(f"{side}_correct")
    if not texts or not verdicts:
        return None
    if len(texts) != len(verdicts):
        raise LogError(f"{path}: {len(texts)} {side}_texts beside {len(verdicts)} {side}_correct")
    return [
        Mark(str(text or ""), _verdict(verdict, f"{path}: {side}_correct.{row}"))
        for row, (text, verdict) in enumerate(zip(texts, verdicts, strict=True))
    ]


def _context_order(asked: Sequence[Asked]) -> list[int]:
    """Row numbers grouped by context: contexts in the order of their first row, questions by their index."""
    first: dict[str, int] = {}
    for row, one in enumerate(asked):
        first.setdefault(one.context, row)
    return sorted(range(len(asked)), key=lambda row: (first[asked[row].context], asked[row].index))


def _lost_rows(raw: Mapping[str, Any], rows: int) -> str:
    kept = sum(len(one["adapter_correct"]) for one in raw.get("per_article", {}).values())
    if not kept or kept == rows:
        return ""
    return f"per_article keeps {kept} of {rows} rows (keyed by title); the full lists are used instead"


def _collapsed(path: Path, raw: Mapping[str, Any]) -> Log:
    kept = sum(len(one["adapter_correct"]) for one in raw["per_article"].values())
    note = f"per_article is keyed by title and keeps {kept} of {raw.get('eval_questions', 'its')} rows; not used"
    return Log(
        path, "server_reply", "cpt", _split(raw), (), None, None, raw.get("model"), raw.get("lora_params") or {},
        raw.get("overall") or {}, of_log(raw, ()),
        notes=(note, "no other question rows: nothing can be recomputed"), complete=False,
    )  # fmt: skip


# --- few-shot abstraction --------------------------------------------------------------------------------------------


def _abstraction(path: Path, raw: Mapping[str, Any]) -> Log:
    """Whether each self-edit solved each task; a task that is not listed under an edit has no row for it."""
    solved: dict[str, list[Mark]] = {}
    for edit in sorted(raw, key=int):
        tasks, verdicts = raw[edit]["task_id"], raw[edit]["correct"]
        if tasks.keys() != verdicts.keys():
            raise LogError(f"{path}: edit {edit}: {len(tasks)} task ids beside {len(verdicts)} verdicts")
        if len(set(tasks.values())) != len(tasks):
            raise LogError(f"{path}: edit {edit}: a task is listed twice")
        for place, task in tasks.items():
            solved.setdefault(str(task), []).append(
                Mark("", _verdict(verdicts[place], f"{path}: {edit}.correct.{place}"))
            )
    missing = len(raw) * len(solved) - sum(map(len, solved.values()))
    return Log(
        path,
        "abstraction",
        "single",
        "validation",
        tuple(Asked(task, 0, task, "", "") for task in solved),
        (tuple(tuple(marks) for marks in solved.values()),),
        None,
        None,
        {},
        {},
        of_abstraction(),
        notes=(
            f"{len(raw)} edits a task",
            *([f"{missing} of {len(raw) * len(solved)} verdicts are missing"] if missing else []),
        ),
        complete=not missing,
    )
