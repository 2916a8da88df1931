"""The figures of the model card, measured again: what `lab-1` can do, and what one update teaches it from which text.

These are properties of the model. What methods make of it is measured by `harness run`.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean, stdev
from typing import Any

from harness.api import Example, Request, Split, State
from harness.metrics import normalize
from harness.models.base import TrainItem
from harness.models.hf import HfModel, HfSettings
from harness.prompt_files import load
from harness_lab.facts_task import LabFacts, LabFactsSettings
from harness_lab.grids_task import LabGrids
from harness_lab.lab_model import UPDATE, folder
from harness_lab.pretraining.batches import RESIDENT_SEED
from harness_lab.pretraining.edits import STYLES
from harness_lab.pretraining.mix import fill as fill_prompt
from harness_lab.pretraining.mix import prompts, residents
from harness_lab.quality import quality
from harness_lab.world.facts import World
from harness_lab.world.squad import asked_pages

_ANSWER_TOKENS = 16
_EDIT_TOKENS = 256
_SEAL_PROMPTS = "harness_seal:templates/squad-1.toml"


class _Adapters(dict[str, Any]):
    """The adapters of one measurement, by number."""

    def adapter(self, digest: str) -> Any:
        return self[digest]


class Measurement:
    """A model and the pages on which it is measured."""

    def __init__(self, path: str, pages: int, seed: int) -> None:
        self.adapters = _Adapters()
        self.model = HfModel(HfSettings(path=path or str(folder())), self.adapters)
        self.base = State(self.model.base)
        self.pages = asked_pages("test", pages, seed)
        self.task = LabFacts(LabFactsSettings(test=pages, seed=seed))
        self.seed = seed

    def answers(self, asked: Sequence[tuple[State, str]]) -> list[str]:
        """Greedy answers to prompts."""
        found = self.model.generate([Request(state, text, max_tokens=_ANSWER_TOKENS) for state, text in asked])
        return [one.text for (one,) in found]

    def accuracy(self, states: Sequence[State], *, open_book: bool = False) -> list[float]:
        """Share of each page's questions answered right, page by page, each asked of its own state."""
        asked, golds = [], []
        for (episode, key), state in zip(self.task.load("test"), states, strict=True):
            memory = {"passage": episode.context["text"]} if open_book else {}
            for query in episode.queries:
                asked.append((state, str(self.task.prompt(query, memory, chat=False))))
                golds.append(key[query.id][0])
        right = [normalize(a) == normalize(b) for a, b in zip(self.answers(asked), golds, strict=True)]
        rows = iter(right)
        return [fmean([next(rows) for _ in page.asked]) for page in self.pages]

    def residents(self) -> dict[str, float]:
        """Closed-book accuracy on what pre-training taught, by how it was taught."""
        world = World(random.Random(self.seed))
        groups = {
            "asked": lambda r: r.asked and not r.paragraphs,
            "never asked": lambda r: not r.asked and not r.paragraphs,
            "in paragraphs, asked": lambda r: r.asked and r.paragraphs,
        }
        out = {}
        for name, belongs in groups.items():
            facts = [f for r in residents(RESIDENT_SEED) if belongs(r) for f in r.facts]
            facts = world.rng.sample(facts, min(200, len(facts)))
            asked = [fill_prompt(prompts()["closed"], title=world.title(), question=world.question(f)) for f in facts]
            found = self.answers([(self.base, text) for text in asked])
            out[name] = fmean(a == f.value for a, f in zip(found, facts, strict=True))
        return out

    def edits(self, style: str) -> dict[str, float]:
        """Mean quality of one edit a page, sampled at temperature 1."""
        form = load(_SEAL_PROMPTS, style, needs=("text",))
        asks = [
            Request(
                self.base,
                form.fill({"title": one.page.title, "text": one.page.text}, chat=False),
                temperature=1.0,
                max_tokens=_EDIT_TOKENS,
                seed=self.seed * 1000 + i,
            )
            for i, one in enumerate(self.pages)
        ]
        rows = []
        for one, (done,) in zip(self.pages, self.model.generate(asks), strict=True):
            text = done.text.split("Implications:\n")[-1]
            rows.append(asdict(quality(form.extras.get("cue", "") + text.strip(), one.page)))
        return {name: fmean(row[name] for row in rows) for name in rows[0]}

    def learnt(self, texts: Sequence[Sequence[str]]) -> list[float]:
        """Closed-book accuracy after one update a page on its texts, each under the page's title."""
        items = [
            TrainItem(
                str(i),
                self.base,
                [Example("", f"{one.page.title}\n{text}") for text in mine],
                self.seed * 1000 + i,
                {key: value for key, value in UPDATE.items() if key != "use"},
            )
            for i, (one, mine) in enumerate(zip(self.pages, texts, strict=True))
        ]
        for done in self.model.train(items):
            if done.adapter is None:
                raise RuntimeError(f"page {done.id}: {done.reason}")
            self.adapters[done.id] = done.adapter
        accuracy = self.accuracy([State(self.base.base, (item.id,)) for item in items])
        self.adapters.clear()
        return accuracy

    def updates(self) -> dict[str, list[float]]:
        """What one update teaches from the page, from its facts in plain statements, and from another page's."""
        world = World(random.Random(self.seed))
        stated = [[world.statement(f) for f in one.page.facts] for one in self.pages]
        return {
            "the page": self.learnt([[one.page.text] for one in self.pages]),
            "its facts, one statement a line": self.learnt(stated),
            "its facts, one paragraph": self.learnt([[" ".join(lines)] for lines in stated]),
            "another page's facts, one a line": self.learnt([*stated[1:], stated[0]]),
        }

    def grids(self) -> dict[str, float]:
        """Greedy direct answers, by split: families from pre-training, and held-out ones."""
        task = LabGrids(LabGrids.Settings(train=90, test=90, seed=self.seed))
        splits: dict[str, Split] = {"families of pre-training": "train", "held-out families": "test"}
        out = {}
        for name, split in splits.items():
            asked = [(q, key[q.id][0]) for episode, key in task.load(split) for q in episode.queries]
            requests = [
                Request(self.base, task.prompt(query, {}, chat=False), max_tokens=64, stop=task.text.stop)
                for query, _ in asked
            ]
            found = self.model.generate(requests)
            right = [task.extract(q, one.text) == gold for (q, gold), (one,) in zip(asked, found, strict=True)]
            out[name] = fmean(right)
        return out


def measure(path: str, *, pages: int, seed: int) -> dict[str, str]:
    """Every figure by its name, in per cent with the standard error over pages where pages are the unit."""
    m = Measurement(path, pages, seed)
    none = [m.base] * pages
    out = {"digest": m.model.base, "test pages": f"{pages}, seed {seed}"}
    out["closed book, before any update"] = _percent(m.accuracy(none))
    out["page in the prompt (reading)"] = _percent(m.accuracy(none, open_book=True))
    out |= {f"residents, {name}": f"{100 * value:.1f}" for name, value in m.residents().items()}
    out |= {f"grids, direct, {name}": f"{100 * value:.1f}" for name, value in m.grids().items()}
    for style in STYLES:
        row = m.edits(style)
        shares = ", ".join(f"{name} {100 * row[name]:.0f}" for name in ("recall", "stated", "wrong", "vague", "copied"))
        out[f"edit {style}"] = f"{row['lines']:.1f} lines; {shares}"
    out |= {f"after an update on {name}": _percent(values) for name, values in m.updates().items()}
    return out


def _percent(values: Sequence[float]) -> str:
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{100 * fmean(values):.1f} ± {100 * error:.1f}"
