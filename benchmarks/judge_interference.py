"""What one round of DPO on solutions does to the same model's judge, by settings of the loss and by data.

    python benchmarks/judge_interference.py                                  # all cells, about 5 minutes of CPU time
    python benchmarks/judge_interference.py --only 1e-3,4,1,10,4,agreement   # rate, epochs, beta, nll, judgements, more

The embedded model answers 64 problems (seed 77), eight chains each, and judges every chain eight times. A cell trains
one adapter on the pairs of failures and passes by the mean of its first `judgements`, or of labels (`oracle`), and, as
`more` says, on pairs of judgements too: none (`-`), by Elo (`elo`) or by agreement (`agreement`). Printed, in per cent,
are pass@1 of 60 other problems, and how its judge does on the start model's answers to them, two judgements each: pairs
in order by one of them, verdicts that are right, hard verbs that its working reads rightly, sums that are right given
its reading, and workings that are not whole.
"""

import argparse
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from harness_lab_maths import world
from harness_lab_maths.maths_model import ADAPTER, folder
from harness_lab_maths.maths_task import LabMaths, LabMathsSettings
from harness_label_free.answering import Answered, Sampling, answered
from harness_self_judging.loop import Rated
from harness_self_judging.pairs import won
from harness_self_judging.rewarding import MetaRewarding

from harness.api import Preference, SelfEdit, Session, State, TrainItem
from harness.books.store import WeightStore
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings
from harness.testing.scripted import open_session

CELLS = (
    "3e-3,2,0.1,3,1,-", "3e-3,2,0.1,3,4,-", "3e-3,2,0.1,3,oracle,-", "3e-3,2,0.1,3,4,elo", "3e-3,2,0.1,3,4,agreement",
    "1e-3,4,0.1,3,4,-", "1e-3,4,0.1,3,4,elo", "1e-3,4,0.1,3,4,agreement", "3e-3,2,1,3,4,-", "3e-3,2,1,3,4,agreement",
    "1e-3,4,1,3,4,agreement", "1e-3,4,1,10,4,-", "1e-3,4,1,10,4,elo", "1e-3,4,1,10,4,agreement",
)  # fmt: skip
HOW = Sampling(8, 1.0, 1.0, 96)
JUDGED: dict[str, Any] = {
    "judge_prompt": "lab-maths-judge", "judge_score": "expected", "judge_temperature": 1.0, "judge_top_p": 1.0,
    "judge_max_tokens": 96, "pairs": "failures", "meta_prompt": "lab-maths-meta", "meta_players": 4,
    "meta_temperature": 1.0, "meta_max_tokens": 96, "rho": (), "judge_rounds": 1,
}  # fmt: skip
_SUM = re.compile(r"(\d+)([+-])(\d+)=(-?\d+)\.")


def loop(judgements: int, more: str = "elo") -> MetaRewarding:
    settings: Any = {**JUDGED, "judgements": judgements, "judge_pairs": more}
    return MetaRewarding(MetaRewarding.Settings(**settings))


def cut(rows: Sequence[Rated], judgements: str) -> list[Rated]:
    """The same answers scored by their first judgements alone, or by their references."""
    out = []
    for one in rows:
        if judgements == "oracle":
            scores: Any = tuple(5.0 * right for right in rights(one.group))
            ratings = one.ratings
        else:
            ratings = tuple(type(rating)(rating.judgements[: int(judgements)]) for rating in one.ratings)
            scores = tuple(rating.mean for rating in ratings)
        out.append(Rated(one.group, scores, ratings))
    return out


def averaged(rows: Sequence[Rated]) -> list[str]:
    """What more judgements are worth: pairs in order by the mean of the first ones, and verdicts by agreement."""
    lines = []
    for count in (1, 2, 4, 8):
        found = [won(one.scores, rights(one.group)) for one in cut(rows, str(count))]
        share = sum(wins for wins, _ in found) / max(1, sum(pairs for _, pairs in found))
        lines.append(f"mean of {count}: {100 * share:.1f} of pairs in order")
    by_size: dict[int, list[bool]] = defaultdict(list)
    for one in rows:
        for fine, rating in zip(rights(one.group), one.ratings, strict=True):
            good = sum(score > 2.5 for score in rating.scores)
            by_size[max(good, len(rating.scores) - good)].append((2 * good > len(rating.scores)) == fine)
    lines += [f"{size} agree: {100 * fmean(by_size[size]):.1f} of {len(by_size[size])}" for size in sorted(by_size)]
    return lines


def labelled(edits: Sequence[SelfEdit], rows: Sequence[Rated]) -> str:
    """How many of the preferred and of the rejected judgements give the right verdict."""
    score, fine = {}, {}
    for one in rows:
        for right, rating in zip(rights(one.group), one.ratings, strict=True):
            for judgement in rating.judgements:
                score[judgement.prompt, judgement.text] = judgement.score
                fine[judgement.prompt] = right
    found: dict[str, list[bool]] = {"preferred": [], "rejected": []}
    for item in (item for edit in edits for item in edit.data if isinstance(item, Preference)):
        for name, text in (("preferred", item.chosen), ("rejected", item.rejected)):
            found[name].append((score[item.prompt, text] > 2.5) == fine[item.prompt])
    shares = ", ".join(f"{name} right {100 * fmean(values):.1f}" for name, values in found.items() if values)
    return f"{len(edits)} pairs of judgements: {shares}"


def rights(group: Answered) -> list[bool]:
    problem = world.parse(group.query.text)
    return [problem is not None and answer == str(problem.answer) for answer in group.answers]


class Study:
    """The start model's answers, and its judgements of them."""

    def __init__(self, out: Path, problems: int, others: int) -> None:
        weights = WeightStore(out / "weights")
        self.model = HfModel(HfSettings(path=str(folder()), device="cpu"), weights)
        self.weights = weights
        task = LabMaths(LabMathsSettings(train=problems, validation=others, seed=77))
        roles = {"judge": "@teacher", "meta-judge": "@teacher"}
        service = open_session(
            out, task, {"teacher": self.model}, {}, roles=roles, sees="context+queries", weights=weights
        )
        self.s: Session = service.sealed
        self.start = self.s.roles["teacher"]
        groups = answered(self.s, self.start, self.s.episodes("train"), HOW, "train")
        self.rows = loop(8).judged(self.s, self.start, groups, "rate")
        self.fixed = answered(self.s, self.start, self.s.episodes("validation"), HOW, "fixed")

    def learnt(self, cell: str) -> State:
        """The start after one update as a cell says."""
        rate, epochs, beta, nll, judgements, more = cell.split(",")
        edits = loop(4).learnt(cut(self.rows, judgements), 0)
        if more != "-":
            # Agreement is that of all eight judgements; Elo compares the first four.
            rows = self.rows if more == "agreement" else cut(self.rows, "4")
            judged = loop(8, more).more(self.s, rows, 0)[0]
            print(f"{more}, {labelled(judged, self.rows)}", file=sys.stderr)
            edits += judged
        data = [item for edit in edits for item in edit.data]
        given = {key: value for key, value in ADAPTER.items() if key != "use"}
        settings = {**given, "learning_rate": float(rate), "epochs": int(epochs), "batch_size": 16}
        item = TrainItem(cell, self.start, data, 1, settings)
        [done] = self.model.train([item], {"use": "dpo", "beta": float(beta), "nll": float(nll)})
        if done.adapter is None:
            raise SystemExit(f"{cell}: {done.reason}")
        return State(self.start.base, (self.weights.put(done.adapter),))

    def measured(self, state: State) -> str:
        """The cells of a table."""
        groups = answered(self.s, state, self.s.episodes("validation"), HOW, "eval")
        single = fmean(fmean(rights(group)) for group in groups)
        found = loop(2).judged(self.s, state, self.fixed, "probe")
        wins, pairs, said = 0.0, 0, defaultdict[str, list[bool]](list)
        for one in found:
            problem, right = world.parse(one.group.query.text), rights(one.group)
            assert problem is not None
            more, of = won([rating.scores[0] if rating.scores else None for rating in one.ratings], right)
            wins, pairs = wins + more, pairs + of
            for fine, rating in zip(right, one.ratings, strict=True):
                for judgement in rating.judgements:
                    if judgement.score is not None:
                        said["verdict"].append((judgement.score > 2.5) == fine)
                    worked(problem, judgement.text, said)
        shares = [fmean(said[name] or [float("nan")]) for name in ("verdict", "common", "rare", "sums", "broken")]
        return " | ".join(f"{100 * cell:.1f}" for cell in (single, wins / max(1, pairs), *shares))


def worked(problem: world.Problem, text: str, said: dict[str, list[bool]]) -> None:
    """Whether a judgement's working is whole, and how it reads and adds."""
    sums = _SUM.findall(text)
    whole = len(sums) > len(problem.events) and world.verdict_of(text) is not None
    said["broken"].append(not whole)
    if not whole:
        return
    events = sums[: len(problem.events)]
    for (verb, _), sign, (_, used, _, _) in zip(problem.events, problem.signs, events, strict=True):
        said["common" if verb in world.COMMON_HARD else "rare" if verb in world.RARE_HARD else "plain"].append(
            used == sign
        )
    said["sums"].append(all(int(total) == world.add(int(a), sign, int(b)) for a, sign, b, total in events))


def main(cells: Sequence[str], problems: int, others: int) -> None:
    with tempfile.TemporaryDirectory() as out:
        study = Study(Path(out), problems, others)
        print("\n".join([*averaged(study.rows), ""]))
        print(
            "| rate, epochs, beta, nll, judgements, more | pass@1 | pairs | verdicts | common | rare | sums | broken |"
        )
        print("|---" * 8 + "|")
        print(f"| start | {study.measured(study.start)} |", flush=True)
        for cell in cells:
            print(f"| {cell} | {study.measured(study.learnt(cell))} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=CELLS, help="cells to run; all by default")
    parser.add_argument("--problems", type=int, default=64, help="problems that are learnt from")
    parser.add_argument("--others", type=int, default=60, help="problems that are measured")
    given = parser.parse_args()
    main(given.only, given.problems, given.others)
