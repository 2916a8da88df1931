"""The task ``squad``: episodes, prompts, and what edits become when they are learnt."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from harness.api import (
    JSON,
    Data,
    EditFailed,
    Episode,
    Example,
    Prompt,
    Query,
    Recipe,
    References,
    SelfEdit,
    Split,
    Task,
)
from harness.errors import UsageError, nearest
from harness.metrics import normalize
from harness.registry.prompt_files import PromptForm, load
from harness.tasks.playbook import KEY, with_playbook
from harness.tasks.squad import splitter
from harness.tasks.squad.passages import Passage
from harness.tasks.squad.settings import SquadSettings
from harness.tasks.squad.splits import Splits
from harness.tasks.squad.subsets import SUBSETS


class Squad(Task):
    """Closed-book question answering over passages, as in SEAL (arXiv 2506.10943, section 4.1).

    An episode's context is ``{"title", "text"}``; its id is a digest of the text. A query's ``meta`` is ``{"title"}``.
    """

    Settings = SquadSettings
    name = "squad"
    version = "squad-1"
    metric = "offline-2"
    """Graded by the offline judge: base models answer in sentences, which exact match would call wrong."""

    def __init__(self, settings: SquadSettings) -> None:
        if settings.subset not in SUBSETS:
            raise UsageError(f"task.subset: no {settings.subset!r}." + nearest(settings.subset, SUBSETS))
        self._settings = settings
        self._form: PromptForm | None = None
        if settings.template:
            self._form = load(settings.template, settings.prompt, ("title", "question"))
            self.version = f"{type(self).version}, answers by {settings.prompt} {self._form.digest}"
        self._passages = Splits(settings)
        self._recipes: Mapping[str, Callable[[JSON, Episode], list[str]]] = {
            "lines": self._lines,
            "passage": self._passage,
            "repeat": self._repeat,
        }

    # --- items -----------------------------------------------------------------------------------------------------

    def load(self, split: Split, /) -> Sequence[tuple[Episode, References]]:
        """The split's passages in their fixed order.

        Raises:
            UsageError: the data are absent or invalid, or a passage is in two splits.
        """
        if split == "made":
            return []
        return [_episode(passage, split) for passage in self._passages.of(split)]

    def test_on_all(self) -> None:
        """Use all of a single file as the test split instead of splitting it."""
        self._passages.test_on_all()

    # --- answering -------------------------------------------------------------------------------------------------

    def prompt(self, query: Query, memory: JSON, /, *, chat: bool) -> Prompt:
        """The question under its topic; with ``{"passage": text}`` in memory, open-book; after a playbook's text, where
        there is one (:mod:`harness.tasks.playbook`).

        Raises:
            UsageError: the memory holds any other key, which this task does not know how to show.
        """
        unknown = set(memory) - {"passage", KEY}
        if unknown:
            raise UsageError(f"task squad shows the memory keys 'passage' and {KEY!r}, not {sorted(unknown)[0]!r}")
        if self._form is not None:
            return with_playbook(self._asked(self._form, query, memory, chat=chat), memory)
        return with_playbook(self._own(query, memory, chat=chat), memory)

    def _own(self, query: Query, memory: JSON, *, chat: bool) -> Prompt:
        """The prompt in the task's own words."""
        instruction, passage = "Give a short and direct answer to the question.", ""
        title = query.meta["title"]
        if "passage" in memory:
            instruction = "Give a short and direct answer to the question, using the passage."
            passage = f"Passage:\n{title}\n{memory['passage']}\n\n"
        question = f"{passage}Topic: {title}\nQuestion: {query.text}"
        if chat:
            return (("system", instruction), ("user", question))
        return f"{instruction}\n\n{question}\nAnswer:\n"

    def _asked(self, form: PromptForm, query: Query, memory: JSON, *, chat: bool) -> Prompt:
        """The prompt by a template file."""
        values = {"title": str(query.meta["title"]), "question": query.text}
        if "passage" in memory:
            own = self._settings
            form = load(own.template, f"{own.prompt}-open-book", ("title", "question", "passage"))
            values["passage"] = str(memory["passage"])
        return form.fill(values, chat=chat)

    def extract(self, query: Query, answer: str, /) -> str | None:
        """The text without white space around it; None where nothing is left."""
        return answer.strip() or None

    def same(self, query: Query, a: str, b: str, /) -> bool:
        """Equality after SQuAD's normalisation."""
        return normalize(a) == normalize(b)

    # --- learning --------------------------------------------------------------------------------------------------

    def expand(self, recipe: Recipe, episode: Episode, seed: int, /) -> Sequence[Example]:
        """Sequences with the loss on everything: ``title``, newline, text.

        Recipes: ``lines`` splits ``text`` (optional: ``splitter``, ``lines``, ``marker``); ``passage`` is the passage;
        ``repeat`` is the passage ``times`` times, or once per sequence that ``lines`` makes of the arguments ``match``.

        Raises:
            EditFailed: the text is empty, enormous or full of control characters.
            UsageError: this task does not have the recipe.
        """
        make = self._recipes.get(recipe.name)
        if make is None:
            raise UsageError(f"task squad has no recipe {recipe.name!r}." + nearest(recipe.name, self._recipes))
        head = f"{episode.context['title']}\n" if self._settings.title else ""
        return [Example("", head + text) for text in make(recipe.args, episode)]

    def join(self, edits: Sequence[SelfEdit], /) -> tuple[SelfEdit, ...]:
        """The edits as one update learns them together, in continued pretraining.

        Under the setting ``lines = "single"`` texts are not split into lines; under ``passage = "once-per-context"``
        only the first edit of a context has the passage.
        """
        seen: set[str] = set()
        joined = []
        for edit in edits:
            again = edit.episode in seen and self._settings.passage == "once-per-context"
            data = [item for item in edit.data if not (again and _is(item, "passage"))]
            if self._settings.lines == "single":
                data = [_whole(item) for item in data]
            if any(_is(item, "passage") for item in edit.data):
                seen.add(edit.episode)
            joined.append(replace(edit, data=tuple(data)))
        return tuple(joined)

    def _lines(self, args: JSON, episode: Episode) -> list[str]:
        text = str(args["text"])
        _refuse(text, self._settings.max_edit_chars)
        found = splitter.split(
            text,
            args.get("splitter", self._settings.splitter),
            lines=args.get("lines", self._settings.lines != "never"),
            cap=self._settings.cap,
            marker=args.get("marker", ""),
        )
        if not any(map(str.strip, found)):
            raise EditFailed("no training text in it")
        return found

    def _passage(self, args: JSON, episode: Episode) -> list[str]:
        return [] if self._settings.passage == "never" else [str(episode.context["text"]).strip()]

    def _repeat(self, args: JSON, episode: Episode) -> list[str]:
        times = args.get("times")
        if times is None:
            try:
                times = len(self._lines(args["match"], episode))
            except EditFailed:
                times = 0  # there are no sequences to match
        return [str(episode.context["text"]).strip()] * int(times)


def _episode(passage: Passage, split: Split) -> tuple[Episode, References]:
    queries = tuple(Query(asked.id, asked.text, {"title": passage.title}) for asked in passage.questions)
    context = {"title": passage.title, "text": passage.text}
    return Episode(passage.id, split, context, queries), {asked.id: asked.answers for asked in passage.questions}


def _is(item: Data, name: str) -> bool:
    return isinstance(item, Recipe) and item.name == name


def _whole(item: Data) -> Data:
    """The same data, with text not split into lines."""
    if isinstance(item, Recipe) and item.name == "lines":
        return Recipe("lines", {**item.args, "lines": False})
    if isinstance(item, Recipe) and item.name == "repeat" and "match" in item.args:
        return Recipe("repeat", {"match": {**item.args["match"], "lines": False}})
    return item


def _refuse(text: str, limit: int) -> None:
    """Raise :class:`EditFailed` for a text that nobody would train on."""
    if not text.strip():
        raise EditFailed("empty")
    if len(text) > limit:
        raise EditFailed(f"enormous: {len(text)} characters, the limit is {limit}")
    control = sum(unicodedata.category(character) == "Cc" and character not in "\n\r\t" for character in text)
    if control > len(text) / 10:
        raise EditFailed(f"full of control characters: {control} of {len(text)}")
