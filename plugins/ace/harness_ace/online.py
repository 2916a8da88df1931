"""The protocol ``ace-online``: every window of the test is asked with the playbook so far, and then learnt from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from harness.api import HEADLINE, Ask, Bench, Episode, EvaluationProtocol, Measurement, Score
from harness_ace.dialects import Case
from harness_ace.learning import Learner, LearningSettings, Positive, described
from harness_ace.offline import case_of
from harness_ace.playbook import Tally, playbook_of


@dataclass(frozen=True)
class OnlineSettings(LearningSettings):
    """How many questions are asked before they are learnt from."""

    window: Positive = 15
    """Questions that are asked with one playbook and then learnt from (the released command line's default)."""


class Online(EvaluationProtocol):
    """Test first, then adapt: the score of a question is of an answer that nothing had been learnt from it for.

    What is reflected on is the tested answer itself, and whether it was right: one bit of a label of every question of
    the test, which the row's notes say. Without it (``feedback = "hidden"``) no label is used.
    """

    Settings: ClassVar[type[OnlineSettings]] = OnlineSettings

    def __init__(self, settings: OnlineSettings) -> None:
        self._settings = settings
        self._learner = Learner(settings)

    def work(self, contexts: int, queries: int, samples: int) -> tuple[int, int]:
        """One change of the playbook per window, and every question once."""
        return -(-contexts // self._settings.window), queries

    def measure(self, bench: Bench, /) -> Iterator[Measurement]:
        """``score`` of all windows together, and ``windows`` by their place; further measures of the last playbook."""
        s, own = bench.session, self._settings
        state, tally, bits = s.roles["student"], Tally(), 0
        episodes = list(bench.episodes())
        scores: list[Score] = []
        for place, at in enumerate(range(0, len(episodes), own.window)):
            window = episodes[at : at + own.window]
            asks = [Ask(state, e, 1, s.seed(bench.label, "ask", e.id)) for e in window]
            rows = bench.ask(asks)
            scores += [score for row in rows for score in row]
            yield Measurement("windows", [score for row in rows for score in row], place, HEADLINE)
            if at + own.window < len(episodes):
                cases = self._cases(window, rows, [ask.seed for ask in asks])
                bits += sum(case.right is not None for case in cases)
                state = self._learner.learn(state, cases, f"ace/{bench.label}/{place}", tally, s)
        yield Measurement(HEADLINE, scores)
        for name in bench.measures:
            if name != HEADLINE:
                asks = [Ask(state, e, 1, s.seed(bench.label, "ask", e.id)) for e in bench.episodes(name)]
                yield Measurement(name, [score for row in bench.ask(asks, name) for score in row])
        found = described(playbook_of(state.memory), tally)
        said = ", ".join(f"{key} {value}" for key, value in found.items())
        bench.remark(f"learnt from {bits} bits of the test's own labels, window by window; playbook: {said}")

    def _cases(self, episodes: Sequence[Episode], rows: Sequence[Sequence[Score]], seeds: Sequence[int]) -> list[Case]:
        cases = [
            case_of(query.id, query.text, score, seed)
            for episode, row, seed in zip(episodes, rows, seeds, strict=True)
            for query, score in zip(episode.queries, row, strict=True)
        ]
        return cases if self._settings.feedback == "bit" else [replace(case, right=None) for case in cases]
