"""ALAS, after the abstract of arXiv 2508.15805: a curriculum of the model's own, with memory.

In each round the model proposes topics from what it finds in a library that it has not been shown, looks them up,
writes questions on what it found, learns them with the answers that it reads (SFT), examines itself with the book
closed, learns to prefer the right answers to those that it failed with (DPO), and revises the curriculum: a topic that
is mastered is not studied again, one that is not is studied once more with other questions.

Only the abstract was at hand; all that it leaves open is decided here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.api import Episode, Request, Round, Session, StartAs, State, Trainer
from harness.errors import RunError, UsageError
from harness.registry import prompt_files
from harness_self_study import pairs
from harness_self_study.curriculum import Memory, Topic, about, listed
from harness_self_study.learning import keep, learn
from harness_self_study.library import Library
from harness_self_study.questions import (
    Positive,
    Question,
    QuestionSettings,
    Share,
    Writer,
    answered,
    settled,
    share,
)


@dataclass(frozen=True)
class AlasSettings(QuestionSettings):
    """The curriculum, and what is learnt from it."""

    rounds: Positive = 3
    """Checkpoints: each proposes, looks up, learns and examines."""
    domains: tuple[str, ...] = ()
    """What the curriculum is about, as search queries; the rounds take turns. Empty: the library in its order."""
    survey: Positive = 8
    """Documents per round from which topics are proposed; those surveyed before are passed over."""
    topics: Positive = 16
    """Topics studied per round, at most."""
    topic_template: str = "harness_self_study:templates/topics-1.toml"
    """A prompt file for proposing topics, one per line."""
    topic_prompt: str = "topics"
    """A key in that file, with the placeholder ``{text}``; ``{title}``, ``{domain}`` and ``{known}`` are filled too."""
    topic_tokens: Positive = 128
    """New tokens per proposal, which is greedy."""
    remembered: Annotated[int, Field(ge=0)] = 50
    """Topics of the memory that ``{known}`` shows, the latest ones."""
    overlap: Annotated[float, Field(gt=0, le=1)] = 1.0
    """A proposal is an earlier topic if they share this part of the shorter one's words."""
    found: Positive = 1
    """Documents that are looked up for a topic."""
    exam: Annotated[float, Field(gt=0, lt=1)] = 0.34
    """Share of a topic's questions that it is examined with; the others are learnt."""
    mastery: Share = 1.0
    """Share of an exam that must be right for a topic to be mastered."""
    attempts: Positive = 2
    """Rounds after which a topic that is not mastered is set aside."""
    begin: Literal["start", "last"] = "start"
    """Whether a round trains the loop's ``start`` anew on the questions of all rounds, or the ``last`` policy further
    on the round's own."""
    start_as: StartAs = "continue"
    """What DPO makes of the adapter that SFT trained, and ``begin = "last"`` of the last round's."""


class Alas(Trainer):
    """Proposes, looks up, learns (slot ``sft``), examines, corrects (slot ``dpo``), round by round."""

    Settings = AlasSettings

    def __init__(self, settings: AlasSettings) -> None:
        self._settings = settings
        self._form = prompt_files.load(settings.topic_template, settings.topic_prompt, ("text",))
        self.rounds = settings.rounds

    def run(self, s: Session, /) -> Iterator[Round]:
        """One checkpoint per round.

        Raises:
            UsageError: the split is empty.
            RunError: a text or an update was lost.
        """
        own = self._settings
        documents = s.episodes(own.split)
        if not documents:
            raise UsageError(f"trainer 'alas' needs documents: the task's split {own.split!r} is empty")
        library, writer = Library(documents), Writer(own)
        memory = Memory(own.overlap, own.mastery, own.attempts)
        surveyed: set[str] = set()
        learnt: list[Question] = []
        start = s.roles["teacher"]
        keep(s, 0, start)
        for index in range(own.rounds):
            new = self._propose(s, start, library, memory, surveyed, index)
            due = memory.due(own.topics)
            lessons, exams = self._study(s, start, library, writer, due, index)
            learnt = [*learnt, *lessons] if own.begin == "start" else lessons
            metrics: dict[str, Any] = {"proposed": len(new), "studied": len(due), "lessons": len(lessons)}
            begun = start if own.begin == "start" else s.roles["teacher"]
            edits = pairs.lessons(s, start, learnt, "alas", index, "lessons")
            policy, said = learn(s, "sft", begun, edits, own.start_as, "alas", index)
            metrics |= said
            exam = list({one.query.id: one for topic in due for one in exams[topic.name]}.values())
            answers = answered(s, policy, exam, own.answer_tokens, open_book=False)
            metrics |= self._mark(s, exam, answers, due, exams, memory, index)
            failures = pairs.corrections(s, policy, exam, answers, "alas", index, "failures")
            learnt = [*learnt, *exam]  # the next exam has other questions
            s.roles["teacher"], said = learn(s, "dpo", policy, failures, own.start_as, "alas", index)
            metrics |= {"failures": pairs.count(failures), **said}
            metrics |= {"mastered": len(memory.mastered()), "set_aside": len(memory.aside())}
            metrics["repeated"] = memory.repeated
            keep(s, index + 1, s.roles["teacher"])
            s.keep(f"curriculum after round {index + 1}", memory.record())
            yield Round(index, dict(s.roles), metrics)

    def _propose(
        self, s: Session, reader: State, library: Library, memory: Memory, surveyed: set[str], index: int
    ) -> list[Topic]:
        """New topics, from documents that were not surveyed before; the model is shown what it knows already."""
        own = self._settings
        domain = own.domains[index % len(own.domains)] if own.domains else ""
        documents = library.unseen(domain, own.survey, surveyed)
        surveyed |= {document.id for document in documents}
        known = ", ".join(topic.name for topic in memory.topics[-own.remembered :] if own.remembered) or "nothing yet"
        chat = "chat" in s.lm(reader).can
        texts = s.generate(
            [
                Request(
                    reader,
                    self._form.fill({**_strings(document), "domain": domain, "known": known}, chat=chat),
                    max_tokens=own.topic_tokens,
                )
                for document in documents
            ]
        )
        names: list[str] = []
        for (text,) in texts:
            if text.finish == "error":
                raise RunError(f"proposals of topics were lost: {text.reason or 'no reason given'}")
            names += listed(text.text) if text.finish != "failed" else []
        return memory.propose(names)

    def _study(
        self, s: Session, reader: State, library: Library, writer: Writer, due: Sequence[Topic], index: int
    ) -> tuple[list[Question], dict[str, list[Question]]]:
        """The questions to learn, and the exam of every topic: new questions on the documents that were looked up."""
        own = self._settings
        places = {topic.name: library.find(topic.name, own.found) for topic in due}
        documents = {document.id: document for found in places.values() for document in found}
        written = writer.write(s, reader, list(documents.values()), "alas", index)
        asked = [question for one in written for question in one.questions]
        answers = settled(s, reader, asked, own, "alas", index)
        if own.labels != "oracle":
            s.diagnose(f"answers read, round {index + 1}", {one.query.id: one.right for one in answers})
        lessons: dict[str, Question] = {}
        exams: dict[str, list[Question]] = {}
        examined: set[str] = set()
        for topic in due:
            ids = {document.id for document in places[topic.name]}
            mine = [
                one
                for one in answers
                if one.document.id in ids and about(topic, f"{one.query.text} {one.said or one.right}")
            ]
            if own.labels == "oracle":  # one labelled question per fact: learnt and examined
                exams[topic.name] = mine
                lessons |= {one.query.id: one for one in mine}
                continue
            # A question that is about two topics is a lesson for both, or in the exams of both.
            fresh = [one for one in mine if one.query.id not in lessons and one.query.id not in examined]
            exam, rest = _parted(fresh, own.exam)
            examined |= {one.query.id for one in exam}
            lessons |= {one.query.id: one for one in rest}
            exams[topic.name] = [one for one in mine if one.query.id in examined]
        return list(lessons.values()), exams

    def _mark(
        self,
        s: Session,
        exam: Sequence[Question],
        answers: Sequence[str | None],
        due: Sequence[Topic],
        exams: Mapping[str, Sequence[Question]],
        memory: Memory,
        index: int,
    ) -> dict[str, Any]:
        """Enter the marks of every topic's exam in the memory."""
        s.diagnose(f"exam, round {index + 1}", {q.query.id: a for q, a in zip(exam, answers, strict=True) if a})
        marks = {
            one.query.id: answer is not None and s.task.same(one.query, answer, one.right)
            for one, answer in zip(exam, answers, strict=True)
        }
        for topic in due:
            memory.note(topic, [marks[one.query.id] for one in exams[topic.name]], index)
        return {"examined": len(marks), "passed": share(list(marks.values()))}


def _parted(questions: Sequence[Question], share_: float) -> tuple[list[Question], list[Question]]:
    """Exam and lessons, spread evenly; neither is empty where there are two questions or more."""
    if len(questions) < 2:
        return [], list(questions)
    count = min(len(questions) - 1, max(1, round(share_ * len(questions))))
    places = {(2 * place + 1) * len(questions) // (2 * count) for place in range(count)}
    exam = [one for place, one in enumerate(questions) if place in places]
    return exam, [one for place, one in enumerate(questions) if place not in places]


def _strings(document: Episode) -> dict[str, str]:
    return {name: str(document.context.get(name, "")).strip() for name in ("title", "text")}
