"""A model in memory and bulk operations on pages (answer, write edits, update), for measuring without a journal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from harness.api import Data, Example, Request, State, TrainItem
from harness.errors import UsageError
from harness.metrics import normalize
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings
from harness.registry.prompt_files import load
from harness.tasks.squad import splitter
from harness_lab.lab_model import UPDATE, folder
from harness_lab.pretraining.mix import fill, prompts
from harness_lab.world.squad import AskedPage

SEAL_PROMPTS = "harness_seal:templates/squad-1.toml"
ANSWER_TOKENS = 16
EDIT_TOKENS = 256


class Adapters(dict[str, Any]):
    """Adapters by digest: the weight store of a measurement."""

    def adapter(self, digest: str, /) -> Any:
        return self[digest]

    def folder(self, digest: str, /) -> Path:
        raise UsageError("lab bench: a measurement keeps its adapters in memory, so that there is no folder of them")


class Bench:
    """A model with the adapters that a measurement has trained."""

    def __init__(self, path: str = "") -> None:
        self.adapters = Adapters()
        self.model = HfModel(HfSettings(path=path or str(folder()), device="cpu"), self.adapters)
        self.base = State(self.model.base)

    def answers(self, asked: Sequence[tuple[State, str]]) -> list[str]:
        """Greedy answers to prompts."""
        found = self.model.generate([Request(state, text, max_tokens=ANSWER_TOKENS) for state, text in asked])
        return [one.text for (one,) in found]

    def accuracy(self, pages: Sequence[AskedPage], states: Sequence[State], *, open_book: bool = False) -> list[float]:
        """Share of each page's questions answered right, page by page, each asked of its own state."""
        form = prompts()["open" if open_book else "closed"]
        asked = [
            (state, fill(form, title=one.page.title, text=one.page.text, question=a.question))
            for one, state in zip(pages, states, strict=True)
            for a in one.asked
        ]
        golds = [a.answer for one in pages for a in one.asked]
        right = iter([normalize(a) == normalize(b) for a, b in zip(self.answers(asked), golds, strict=True)])
        return [fmean([next(right) for _ in one.asked]) for one in pages]

    def edits(
        self, pages: Sequence[AskedPage], style: str, *, state: State | None = None, n: int = 1, seed: int = 0
    ) -> list[list[str]]:
        """`n` edits per page at temperature 1, in the form to be learnt: with their cue, without the reasoning."""
        asks = [
            Request(state or self.base, prompt, n=n, temperature=1.0, max_tokens=EDIT_TOKENS, seed=seed * 10_000 + i)
            for i, prompt in enumerate(self.prompts(pages, style))
        ]
        extras = load(SEAL_PROMPTS, style).extras
        cue, marker = extras.get("cue", ""), extras.get("marker", "")
        out = []
        for found in self.model.generate(asks):
            texts = [one.text.split(marker)[-1] if marker else one.text for one in found]
            out.append([cue + text.strip() if text.strip() else "" for text in texts])
        return out

    def prompts(self, pages: Sequence[AskedPage], style: str) -> list[str]:
        form = load(SEAL_PROMPTS, style, needs=("text",))
        return [str(form.fill({"title": p.page.title, "text": p.page.text}, chat=False)) for p in pages]

    def train(
        self,
        jobs: Sequence[Sequence[Data]],
        settings: Mapping[str, Any] = UPDATE,
        *,
        starts: Sequence[State] = (),
        seed: int = 0,
    ) -> list[State]:
        """The states after one new adapter per job on top of its start; raises RuntimeError if a job fails."""
        starts = starts or [self.base] * len(jobs)
        options = {key: value for key, value in settings.items() if key != "use"}
        items = [
            TrainItem(str(i), start, job, seed * 10_000 + i, options)
            for i, (job, start) in enumerate(zip(jobs, starts, strict=True))
        ]
        names: dict[str, str] = {}
        for done in self.model.train(items):
            if done.adapter is None:
                raise RuntimeError(f"job {done.id}: {done.reason}")
            names[done.id] = f"adapter-{len(self.adapters)}"
            self.adapters[names[done.id]] = done.adapter
        return [State(start.base, (*start.adapters, names[item.id])) for item, start in zip(items, starts, strict=True)]

    def learnt(
        self,
        pages: Sequence[AskedPage],
        texts: Sequence[Sequence[str]],
        settings: Mapping[str, Any] = UPDATE,
        *,
        seed: int = 0,
    ) -> list[float]:
        """Closed-book accuracy after one update per page on its texts, each under the page's title.

        The adapters are deleted afterwards.
        """
        states = self.train([titled(one, mine) for one, mine in zip(pages, texts, strict=True)], settings, seed=seed)
        accuracy = self.accuracy(pages, states)
        for state in states:
            del self.adapters[state.adapters[-1]]
        return accuracy


def titled(page: AskedPage, texts: Sequence[str]) -> list[Data]:
    """Training sequences as the task makes them: title, newline, text."""
    return [Example("", f"{page.page.title}\n{text}") for text in texts]


def lines(page: AskedPage, edit: str) -> list[str]:
    """The texts that SEAL's recipe learns from an edit: its lines, and the page itself."""
    found = splitter.split(edit, "fixed", lines=True, cap=30) if edit.strip() else []
    return [*found, page.page.text]
