"""What the page's browser of queries shows, as one JSON value: small, because it is kept once for everything.

``--no-references`` leaves out the accepted answers here, and nowhere else are they.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.evidence.view.read import RunFiles


@dataclass(frozen=True)
class Limits:
    """How much of long texts is kept, so that the page stays small."""

    sequences: int = 32
    """Of an update's training sequences."""
    text: int = 4000
    """Characters of an edit, a sequence or an answer."""
    curve: int = 48
    candidates: int = 100_000

    def cut(self, text: str) -> str:
        return text if len(text) <= self.text else f"{text[: self.text]} …"


LEVELS = (
    Limits(),
    Limits(sequences=8, text=1200, candidates=5000),
    Limits(sequences=3, text=500, curve=16, candidates=1000),
    Limits(sequences=0, text=250, curve=8, candidates=200),
    Limits(sequences=0, text=100, curve=0, candidates=0),
)
"""From everything to the little that fits where there are very many queries."""


@dataclass(frozen=True)
class Shown:
    """A row of the page: a method of one of its runs."""

    label: str
    run: RunFiles
    method: str
    colour: int


def page_data(rows: Sequence[Shown], limits: Limits, *, references: bool) -> dict[str, Any]:
    """Episodes, queries, tables, and what each row made of them. Places in lists stand for names."""
    episodes: dict[str, dict[str, Any]] = {}
    queries: dict[str, dict[str, Any]] = {}
    runs = list({id(row.run): row.run for row in rows}.values())
    for run in runs:
        for lines in run.items.values():
            for line in lines:
                episode = _episode(episodes, line["episode"])
                episode["context"] = _context(line.get("context"))
                for query in line["queries"]:
                    asked = _query(queries, query["id"], episode["at"])
                    asked["text"] = query["text"]
                    if references:
                        asked["refs"] = line.get("references", {}).get(query["id"], [])
    tables: dict[str, dict[str, Any]] = {}
    for at, row in enumerate(rows):
        for name, lines in row.run.scores.items():
            table = tables.setdefault(name, {"name": name, "answers": [{} for _ in rows], **_about(row.run, name)})
            for line in lines:
                if line["method"] == row.method:
                    place = _query(queries, line["query"], _episode(episodes, line["episode"])["at"])["at"]
                    table["answers"][at].setdefault(place, []).append(_answer(line, limits))
    return {
        "references": references,
        "rows": [{"label": row.label, "colour": row.colour, "updater": _updater(row)} for row in rows],
        "episodes": [{"id": name, "context": one.get("context", [])} for name, one in episodes.items()],
        "queries": [
            {"id": name, "e": one["e"], "text": one.get("text", ""), "refs": one.get("refs")}
            for name, one in queries.items()
        ],
        "tables": list(tables.values()),
        "learnt": [_learnt(row, episodes, limits) for row in rows],
        "loops": [_loop(row, limits) for row in rows],
    }


def _updater(row: Shown) -> list[Any] | None:
    """[name, settings] of what made the row's updates, defaults included; None where that was not kept."""
    known = row.run.found.provenance
    place = known.rows.get(row.method, {}).get("updater") if known else None
    if known is None or place is None:
        return None
    used = known.components[place]
    return [used.name, dict(used.settings)]


def _episode(known: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    return known.setdefault(name, {"at": len(known)})


def _query(known: dict[str, dict[str, Any]], name: str, episode: int) -> dict[str, Any]:
    return known.setdefault(name, {"at": len(known), "e": episode})


def _about(run: RunFiles, name: str) -> dict[str, Any]:
    table = next(one for one in run.found.tables if one.name == name)
    return {"unit": table.task.unit, "metric": table.task.metric, "evaluator": table.evaluator,
            "lower": table.task.lower_is_better}  # fmt: skip


def _context(value: Any) -> list[list[str]]:
    """A context as titled texts."""
    if isinstance(value, Mapping):
        return [[str(name), _text(one)] for name, one in value.items()]
    return [["context", _text(value)]] if value else []


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {_text(one)}" for name, one in value.items())
    if isinstance(value, list):
        flat = all(not isinstance(one, list | Mapping) for one in value)
        return (" " if flat else "\n").join(map(_text, value))
    return str(value)


def _answer(line: Mapping[str, Any], limits: Limits) -> list[Any]:
    """[seed, sample, step, value, status, answer, reason, share of an accepted answer that is contained]."""
    made = [
        line["seed"], line["sample"], line.get("step"), line["value"], line["status"],
        limits.cut(line.get("answer") or ""), limits.cut(line.get("reason") or ""), line.get("contains"),
    ]  # fmt: skip
    while made[-1] in (None, ""):
        made.pop()
    return made


def _learnt(row: Shown, episodes: Mapping[str, Mapping[str, Any]], limits: Limits) -> dict[int, dict[str, Any]]:
    """Episode -> its edits and updates. They stand side by side, since a sequence often repeats its edit: what is
    near costs nothing when the page is packed."""
    edits, updates = _edits(row, episodes, limits), _updates(row, episodes, limits)
    return {at: {"edits": edits.get(at, []), "updates": updates.get(at, [])} for at in {**edits, **updates}}


def _edits(row: Shown, episodes: Mapping[str, Mapping[str, Any]], limits: Limits) -> dict[int, list[Any]]:
    out: dict[int, list[Any]] = defaultdict(list)
    for seed, lines in row.run.rows[row.method].edits.items():
        for line in lines:
            if line["episode"] not in episodes:
                continue
            for place, edit in enumerate(line["edits"]):
                texts = line["texts"][place] if place < len(line["texts"]) else []
                written = "\n".join(texts) or "\n".join(_data(one) for one in edit.get("data", []))
                made = {"seed": seed, "id": edit["id"], "text": limits.cut(written)}
                if not texts:
                    made["made"] = True
                made |= {name: edit[name] for name in ("settings", "reason") if edit.get(name)}
                if edit.get("status", "ok") != "ok":
                    made["status"] = edit["status"]
                out[episodes[line["episode"]]["at"]].append(made)
    return out


def _data(one: Mapping[str, Any]) -> str:
    """What an edit holds that no model wrote, in words."""
    kind = one.get("$", "data")
    rest = {name: value for name, value in one.items() if name != "$" and value not in ({}, [], None)}
    return f"{kind} {_text(rest)}"


def _updates(row: Shown, episodes: Mapping[str, Mapping[str, Any]], limits: Limits) -> dict[int, list[Any]]:
    out: dict[int, list[Any]] = defaultdict(list)
    for seed, lines in row.run.rows[row.method].updates.items():
        for line in lines:
            log = line["log"]
            shared = {
                "seed": seed, "job": line["job"], "of": len(line["edits"]),
                **{name: log[name] for name in ("steps", "tokens", "loss") if log.get(name) is not None},
                **{name: line[name] for name in ("status", "reason") if line.get(name) not in (None, "ok")},
                **({"start_as": line["start_as"]} if line.get("adapters") else {}),
            }  # fmt: skip
            if losses := log.get("losses"):
                shared["losses"] = losses[:: max(1, len(losses) // limits.curve)] if limits.curve else []
            for edit in line["edits"]:
                if edit["episode"] in episodes:
                    settings = {**line["settings"], **edit.get("settings", {})}
                    sequences = [
                        [limits.cut(prompt), limits.cut(target), weight]
                        for prompt, target, weight in edit.get("sequences", [])[: limits.sequences]
                    ]
                    made = {**shared, "edit": edit["edit"], "sequences": sequences, "count": edit.get("count", 0)}
                    if settings:
                        made["settings"] = settings
                    out[episodes[edit["episode"]]["at"]].append(made)
    return out


def _loop(row: Shown, limits: Limits) -> dict[int, list[Any]]:
    """Seed -> rounds, each with its candidates: [edit, episode, reward, kept, status, text, reason]."""
    out: dict[int, list[Any]] = {}
    left = limits.candidates
    for seed, rounds in row.run.rows[row.method].rounds.items():
        made = []
        for one in rounds:
            kept = {edit for update in one["updates"] for edit in update["edits"]}
            candidates = one["candidates"][: max(0, left)]
            left -= len(candidates)
            made.append({
                "round": one["round"], "left_out": len(one["candidates"]) - len(candidates),
                "candidates": [
                    [c["edit"], c["episode"], _reward(c), c["edit"] in kept, c.get("status", "ok"),
                     limits.cut(c.get("text", "")), c.get("reason", "")]
                    for c in candidates
                ],
            })  # fmt: skip
        if any(one["candidates"] or one["left_out"] for one in made):
            out[seed] = made
    return out


def _reward(candidate: Mapping[str, Any]) -> float | None:
    """Its first reward, by which a trainer selects."""
    return next((one["value"] for one in candidate.get("rewards", {}).values()), None)
