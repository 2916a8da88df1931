"""AL, autonomous learning (ACL 2025 Findings 1084): learn in private what one can read.

The model writes questions on unlabelled documents. In the open-book stage it learns to write them and to answer them
(supervised); in the closed-book stage it answers each question with the document and without it, and where the two
differ it learns to prefer the open-book answer (DPO). No label is needed, as reading is easier than remembering.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.api import Round, SelfEdit, Session, StartAs, Trainer
from harness.errors import UsageError
from harness_self_study import pairs
from harness_self_study.learning import keep, learn
from harness_self_study.questions import Positive, Question, QuestionSettings, Writer, Written, answered, settled, share


@dataclass(frozen=True)
class AlSettings(QuestionSettings):
    """The stages."""

    rounds: Positive = 1
    """Closed-book stages, each with new questions."""
    learn_writing: bool = True
    """Whether the open-book stage learns to write the questions, document in the prompt."""
    learn_answers: bool = True
    """Whether it learns the open-book answers, document not in the prompt. With neither there is no such stage."""
    start_as: StartAs = "continue"
    """What a stage makes of the policy that it trains on; see :attr:`harness.api.UpdateJob.start_as`."""


class Al(Trainer):
    """The open-book stage (slot ``sft``), then the closed-book stages (slot ``dpo``); one checkpoint per stage."""

    Settings = AlSettings

    def __init__(self, settings: AlSettings) -> None:
        self._settings = settings
        self._opening = settings.learn_writing or settings.learn_answers
        self.rounds = settings.rounds + self._opening

    def run(self, s: Session, /) -> Iterator[Round]:
        """One checkpoint per stage.

        Raises:
            UsageError: the split is empty.
            RunError: a text or an update was lost.
        """
        own = self._settings
        documents = s.episodes(own.split)
        if not documents:
            raise UsageError(f"trainer 'al' needs documents: the task's split {own.split!r} is empty")
        writer = Writer(own)
        keep(s, 0, s.roles["teacher"])
        place = 0
        for stage in range(own.rounds):
            name = ("al", stage)
            written = writer.write(s, s.roles["teacher"], documents, *name)
            asked = [question for one in written for question in one.questions]
            # What is right is read by the policy of now: the same model, with the book open.
            questions = settled(s, s.roles["teacher"], asked, own, *name)
            metrics: dict[str, Any] = {"documents": len(documents), "questions": len(questions)}
            if own.labels != "oracle":
                s.diagnose(f"open-book answers, round {place + 1}", {one.query.id: one.right for one in questions})
            if stage == 0 and self._opening:
                yield self._open(s, place, written, questions, metrics)
                place += 1
            yield self._close(s, place, questions, dict(metrics), *name)
            place += 1

    def _open(
        self, s: Session, place: int, written: Sequence[Written], questions: Sequence[Question], metrics: dict[str, Any]
    ) -> Round:
        own, name = self._settings, ("al", "open-book")
        start = s.roles["teacher"]
        edits: list[SelfEdit] = pairs.writings(written, *name, "writing") if own.learn_writing else []
        if own.learn_answers:
            edits += pairs.lessons(s, start, questions, *name, "answers")
        s.roles["teacher"], said = learn(s, "sft", start, edits, own.start_as, *name)
        keep(s, place + 1, s.roles["teacher"])
        return Round(place, dict(s.roles), {**metrics, "examples": pairs.count(edits), **said})

    def _close(
        self, s: Session, place: int, questions: Sequence[Question], metrics: dict[str, Any], *name: object
    ) -> Round:
        own, start = self._settings, s.roles["teacher"]
        closed = answered(s, start, questions, own.answer_tokens, open_book=False)
        known = {one.query.id: said for one, said in zip(questions, closed, strict=True) if said}
        s.diagnose(f"closed-book answers before round {place + 1}", known)
        edits = pairs.corrections(s, start, questions, closed, *name)
        metrics["differ"] = share([
            not (said and s.task.same(one.query, said, one.right)) for one, said in zip(questions, closed, strict=True)
        ])  # fmt: skip
        s.roles["teacher"], said = learn(s, "dpo", start, edits, own.start_as, *name)
        keep(s, place + 1, s.roles["teacher"])
        return Round(place, dict(s.roles), {**metrics, "pairs": pairs.count(edits), **said})
