"""The model's own questions on documents, and its answers to them with and without the document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Annotated, Literal

from harness_proxy_reward.own_questions import read_pairs
from pydantic import Field

from harness.api import Ask, Completion, Episode, Prompt, Query, Request, Session, State
from harness.errors import RunError, UsageError
from harness.registry import prompt_files

Labels = Literal["own", "random", "oracle"]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class QuestionSettings:
    """How questions are written and answered."""

    split: Literal["train", "test"] = "test"
    """Whose documents are studied. The method is shown the documents of the split, and never its questions."""
    template: str = "harness_seal:templates/squad-1.toml"
    """A prompt file for writing questions: the plugin seal's, or your own."""
    prompt: str = "self-qa"
    """A key in that file, with the placeholder ``{text}``; what it asks for reads ``Question 1: ...``, ``Answer: ...``.
    """
    writings: Positive = 2
    """Times that a document's questions are written; repeated questions count once."""
    questions: Annotated[int, Field(ge=0)] = 0
    """Most questions per document and round; 0 keeps all."""
    temperature: float = 1.0
    """Sampling temperature of the questions; answers are greedy."""
    top_p: float = 1.0
    """Nucleus sampling: only the most probable tokens that together have this probability are drawn."""
    write_tokens: Positive = 512
    """New tokens per writing."""
    answer_tokens: Positive = 64
    """New tokens per answer."""
    labels: Labels = "own"
    """What counts as right: the model's ``own`` open-book answer. Controls: ``random``, the open-book answer to another
    question; ``oracle``, labelled questions of the split in place of the model's own, of which the open-book answers
    that the slot ``oracle`` marks as right are kept (with ``split = "train"``)."""


@dataclass(frozen=True)
class Question:
    """One question on a document."""

    document: Episode
    query: Query
    right: str = ""
    """What the method takes for the right answer; "" where there is none yet."""
    said: str = field(default="", compare=False)
    """The answer that came with the question when it was written."""


@dataclass(frozen=True)
class Written:
    """What was written on one document."""

    document: Episode
    texts: tuple[Completion, ...]
    questions: tuple[Question, ...]


class Writer:
    """Asks a state to write questions on documents; none that it has met before is returned again."""

    def __init__(self, settings: QuestionSettings) -> None:
        self._settings = settings
        self._form = prompt_files.load(settings.template, settings.prompt, ("text",))
        self._known: dict[str, set[str]] = {}

    def write(self, s: Session, state: State, documents: Sequence[Episode], *name: object) -> list[Written]:
        """New questions on each document, in its order; registered with the session once they are answered.

        Args:
            name: of the seeds.

        Raises:
            RunError: a text was lost.
        """
        own = self._settings
        if own.labels == "oracle":
            return [self._labelled(document) for document in documents]
        chat = "chat" in s.lm(state).can
        rows = s.generate(
            [
                Request(
                    state, self._form.fill(_passage(document), chat=chat), own.writings, own.temperature, own.top_p,
                    own.write_tokens, seed=s.seed(*name, document.id),
                )
                for document in documents
            ]
        )  # fmt: skip
        return [self._read(one, row, *name) for one, row in zip(documents, rows, strict=True)]

    def _read(self, document: Episode, row: Sequence[Completion], *name: object) -> Written:
        lost = next((one for one in row if one.finish == "error"), None)
        if lost is not None:
            raise RunError(f"questions on {document.id!r} were lost: {lost.reason or 'no reason given'}")
        texts = tuple(one for one in row if one.finish != "failed")
        known = self._known.setdefault(document.id, set())
        title = {"title": str(document.context.get("title", ""))}
        found: list[Question] = []
        for one in texts:
            for asked, said in read_pairs(self._form.extras.get("cue", "") + one.text):
                if asked in known or (self._settings.questions and len(found) == self._settings.questions):
                    continue
                known.add(asked)
                query = Query("/".join(map(str, (document.id, *name, len(found)))), asked, title)
                found.append(Question(document, query, said=said))
        return Written(document, texts, tuple(found))

    def _labelled(self, document: Episode) -> Written:
        if not document.queries:
            raise UsageError(
                "labels = 'oracle' needs the labelled questions of the documents: set trainer.split = 'train' and take "
                "a task whose train split asks about the documents of the test, such as lab-documents"
            )
        return Written(document, (), tuple(Question(document, query) for query in document.queries))


def answered(s: Session, state: State, asked: Sequence[Question], tokens: int, *, open_book: bool) -> list[str | None]:
    """Greedy answers, with the question's document in the prompt or without it; None where a text holds no answer.

    Raises:
        RunError: an answer was lost.
    """
    chat = "chat" in s.lm(state).can
    found = s.generate(
        [Request(state, _asked(s, one, chat=chat, open_book=open_book), max_tokens=tokens) for one in asked]
    )
    out = []
    for one, (text,) in zip(asked, found, strict=True):
        if text.finish == "error":
            raise RunError(f"an answer to {one.query.id!r} was lost: {text.reason or 'no reason given'}")
        answer = None if text.finish == "failed" else s.task.extract(one.query, text.text)
        out.append(answer if answer and answer.strip() else None)
    return out


def closed_prompt(s: Session, state: State, question: Question) -> Prompt:
    """The prompt of a question without its document."""
    return _asked(s, question, chat="chat" in s.lm(state).can, open_book=False)


def settled(
    s: Session, reader: State, questions: Sequence[Question], own: QuestionSettings, *name: object
) -> list[Question]:
    """The questions with what counts as right; those without an answer are left out. Registers what the model wrote.

    Raises:
        RunError: an answer was lost.
        UsageError: oracle labels of the test split, whose scores are not handed out.
    """
    if own.labels == "oracle":
        return _right(s, reader, questions)
    opened = answered(s, reader, questions, own.answer_tokens, open_book=True)
    found = [replace(one, right=answer) for one, answer in zip(questions, opened, strict=True) if answer]
    _register(s, found, *name)
    if own.labels == "random" and len(found) > 1:
        places = list(range(len(found)))
        Random(s.seed("random answers", *name)).shuffle(places)
        turned = dict(zip(places, [*places[1:], places[0]], strict=True))  # nobody keeps an answer of his own
        found = [replace(one, right=found[turned[at]].right) for at, one in enumerate(found)]
    return found


def _register(s: Session, questions: Sequence[Question], *name: object) -> None:
    """Make them known to the session, which can then compare answers with the truth where the task can solve them.

    The episodes hold no passage: a copy of a test context would be refused.
    """
    of: dict[str, list[Question]] = {}
    for one in questions:
        of.setdefault(one.document.id, []).append(one)
    made, references = [], {}
    for document, mine in of.items():
        episode = "/".join(map(str, (document, *name)))
        context = {"title": mine[0].query.meta.get("title", "")}
        made.append(Episode(episode, "made", context, tuple(one.query for one in mine), parent=document))
        references[episode] = {one.query.id: (one.right,) for one in mine}
    if made:
        s.make(made, references)


def _right(s: Session, reader: State, questions: Sequence[Question]) -> list[Question]:
    documents = {one.document.id: one.document for one in questions}
    rows = s.evaluate([Ask(reader, document) for document in documents.values()], "oracle")
    scores = {score.query: score for row in rows for score in row}
    out = []
    for one in questions:
        score = scores[one.query.id]
        if score.value is None:
            raise UsageError(
                "labels = 'oracle' needs references, and those of the test split are not handed out: set "
                "trainer.split = 'train'"
            )
        if score.value == 1.0 and score.answers and score.answers[0]:
            out.append(replace(one, right=score.answers[0]))
    return out


def _asked(s: Session, one: Question, *, chat: bool, open_book: bool) -> Prompt:
    memory = {"passage": _passage(one.document)["text"]} if open_book else {}
    return s.task.prompt(one.query, memory, chat=chat)


def _passage(document: Episode) -> Mapping[str, str]:
    return {name: str(document.context.get(name, "")).strip() for name in ("title", "text")}


def share(values: Sequence[bool]) -> float:
    """The share that is true; 0 of none."""
    return sum(values) / max(1, len(values))
