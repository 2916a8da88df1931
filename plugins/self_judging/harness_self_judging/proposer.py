"""New tasks from a few that are known: few-shot prompts, a memory of everything that was asked, and no duplicates.

Self-Rewarding (arXiv 2401.10020, section 2.2) and ALMA (arXiv 2412.04305, section 3.1) write their prompts like this;
the filters (overlap, words, length) are those of Self-Instruct (Wang et al. 2022, arXiv 2212.10560, section 2.2).
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated

from pydantic import Field

from harness.api import Completion, Episode, HarnessError, Query, Request, Session, State
from harness.errors import UsageError
from harness.registry import prompt_files
from harness_self_judging.judge import Positive, Share, Temperature, text_of

Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class ProposalSettings:
    """How new tasks are written."""

    proposed: Count = 0
    """New tasks per round, which the role ``proposer`` writes; 0 takes the split's own questions."""
    propose_prompt: str = "few-shot"
    """A key in ``prompts``; the placeholder is ``{examples}``, the entry's ``pattern`` finds the task in the text."""
    shots: tuple[Count, Count] = (6, 2)
    """Examples in a prompt: known questions, and tasks that were proposed before."""
    propose_temperature: Temperature = 0.6
    """Sampling temperature of proposals."""
    propose_top_p: Share = 0.9
    """Nucleus sampling of proposals."""
    propose_max_tokens: Positive = 256
    """New tokens per proposal."""
    propose_attempts: Positive = 3
    """How often missing tasks are asked for again, at most."""
    most_similar: Share = 0.7
    """Overlap (ROUGE-L) with anything known from which a proposal is a duplicate."""
    words: tuple[Count, Count] = (3, 150)
    """Least and most words of a task."""
    unwanted: tuple[str, ...] = ("image", "picture", "photo", "graph", "video", "audio", "attachment", "file")
    """Words of tasks that no text model can do."""


class Memory:
    """Every task that is known, and whether another one is new."""

    def __init__(self, texts: Sequence[str], most_similar: float) -> None:
        self._known: list[tuple[list[str], Counter[str]]] = []
        self._limit = most_similar
        for text in texts:
            self.add(text)

    def __len__(self) -> int:
        return len(self._known)

    def add(self, text: str) -> None:
        words = text.lower().split()
        self._known.append((words, Counter(words)))

    def knows(self, text: str) -> bool:
        """Whether a known task overlaps with it as much as the limit, or is the same."""
        words = text.lower().split()
        counts = Counter(words)
        for known, theirs in self._known:
            # No common subsequence is longer than the words that both have.
            most = sum(min(count, theirs[word]) for word, count in counts.items())
            if _f1(most, words, known) >= self._limit and (known == words or rouge_l(words, known) >= self._limit):
                return True
        return False


class Proposer:
    """Writes tasks; what it has written is in its memory for as long as the loop runs."""

    def __init__(self, settings: ProposalSettings, prompts: str) -> None:
        self._settings = settings
        self._form = prompt_files.load(prompts, settings.propose_prompt)
        pattern = self._form.extras.get("pattern", r"^(.+)$")
        try:
            self._pattern = re.compile(pattern, re.DOTALL)
        except re.error as error:
            raise UsageError(f"{self._form.where}: pattern {pattern!r} is no regular expression: {error}") from error
        if not self._pattern.groups:
            raise UsageError(f"{self._form.where}: pattern {pattern!r} has no group, such as '<task>(.*?)</task>'")
        self._example = self._form.extras.get("example", "{task}")
        self._unwanted = {word.lower() for word in settings.unwanted}
        self._seeds: list[str] = []
        self._proposed: list[str] = []
        self._memory = Memory([], settings.most_similar)

    def start(self, known: Sequence[str]) -> None:
        """Forget all, and know these questions."""
        self._seeds, self._proposed = list(known), []
        self._memory = Memory(known, self._settings.most_similar)

    def propose(self, s: Session, state: State, *name: object) -> tuple[list[Episode], dict[str, int]]:
        """``proposed`` new tasks as episodes of the split ``made``, or fewer where the attempts did not give as many;
        and how many were written, were malformed and were dropped as duplicates or as the test's.

        Raises:
            RunError: a text was lost.
        """
        own = self._settings
        out: list[Episode] = []
        counts = {"written": 0, "malformed": 0, "duplicates": 0}
        for attempt in range(own.propose_attempts):
            missing = own.proposed - len(out)
            if not missing:
                break
            for one in self._write(s, state, missing, *name, attempt):
                counts["written"] += 1
                text = self._task(one)
                if text is None:
                    counts["malformed"] += 1
                elif self._memory.knows(text) or (episode := _made(s, text)) is None:
                    counts["duplicates"] += 1
                else:
                    self._memory.add(text)
                    self._proposed.append(text)
                    out.append(episode)
        return out, counts

    def _write(self, s: Session, state: State, count: int, *name: object) -> list[Completion]:
        own = self._settings
        chat = "chat" in s.lm(state).can
        requests = []
        for place in range(count):
            seed = s.seed(*name, "proposal", place)
            values = {"examples": self._examples(random.Random(seed))}
            prompt = self._form.fill(values, chat=chat)
            requests.append(
                Request(state, prompt, 1, own.propose_temperature, own.propose_top_p, own.propose_max_tokens, seed=seed)
            )
        return [row[0] for row in s.generate(requests)]

    def _examples(self, rng: random.Random) -> str:
        known, proposed = self._settings.shots
        shown = rng.sample(self._seeds, min(known, len(self._seeds)))
        shown += rng.sample(self._proposed, min(proposed, len(self._proposed)))
        rng.shuffle(shown)
        return "\n".join(self._example.replace("{task}", text) for text in shown)

    def _task(self, one: Completion) -> str | None:
        """The task in a text; None where there is none, or one that cannot be used."""
        found = self._pattern.search(text_of(one).strip())
        text = " ".join(found[1].split()) if found and found[1] else ""
        words = text.lower().split()
        least, most = self._settings.words
        if not least <= len(words) <= most or self._unwanted & {word.strip(".,;:?!()\"'") for word in words}:
            return None
        return text


def rouge_l(a: Sequence[str], b: Sequence[str]) -> float:
    """ROUGE-L of two token sequences: the F1 of their longest common subsequence; in [0, 1]."""
    row = [0] * (len(b) + 1)
    for word in a:
        before = 0
        for place, other in enumerate(b, 1):
            here = row[place]
            row[place] = before + 1 if word == other else max(here, row[place - 1])
            before = here
    return _f1(row[-1], a, b)


def _f1(common: int, a: Sequence[str], b: Sequence[str]) -> float:
    return 2 * common / (len(a) + len(b)) if a or b else 1.0


def _made(s: Session, text: str) -> Episode | None:
    """The task as an episode, named after its text; None where it is one of the test's, which nobody may learn from."""
    name = f"proposed-{sha256(text.encode()).hexdigest()[:16]}"
    try:
        [episode] = s.make([Episode(name, "made", {"text": text}, (Query(f"{name}/answer", text),))], {})
    except HarnessError:
        return None
    return episode
