"""The page that says what SEAL's published logs do and do not show; its figures are computed when it is written.

Each sentence is followed by the command that yields its figures, to be run in the folder of the logs. A comparison
whose logs are missing is listed as open, with the command that would answer it; no figure is typed in by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.evidence import judge_error
from harness.evidence.compare import Comparison, compare
from harness.evidence.judge_agreement import Calibration, RecordedAndJudged, calibrate, swaps
from harness.evidence.leaderboard.summary import tables
from harness.evidence.logs import read_verdicts
from harness.evidence.prediction_powered import of_rows
from harness.evidence.result import ResultFile
from harness.evidence.sources import open_source
from harness.judges.base import DEFAULT, OFFLINE
from harness.judges.load import load
from harness.judges.offline import shipped_text
from harness_replay import retention
from harness_replay.seal import pooled, read, replay

COMMAND = "harness replay report --data DATA"
JUDGES = ("exact", "contains", "recall", "offline-1", "offline-2")
CORRECTED = "scored/val_base.json"
LABELLED = 50
"""Passages whose recorded verdicts correct the offline judge's score of that log."""


@dataclass(frozen=True)
class Claim:
    """A difference between two logs that a reader would draw from the printed tables."""

    b: str
    a: str
    words_b: str
    words_a: str
    force: bool = False
    """Whether the two rows' conditions differ; the report then names the difference."""

    @property
    def command(self) -> str:
        return f"harness compare {self.a} {self.b} --accept-one-seed" + (" --force" if self.force else "")


NOISE = (
    Claim("scored/val_base.json", "scored/val_naive.json", "the base model's own implications", "the passage alone"),
    Claim("scored/val_naive.json", "scored/val_naive.json#baseline", "training on the passage alone", "no update"),
    Claim("scored/val_iter1.json", "scored/val_base.json", "one round of SEAL", "the base model's implications",
          force=True),
    Claim("scored/val_iter2.json", "scored/val_base.json", "two rounds of SEAL", "the base model's implications",
          force=True),
    Claim("scored/val_iter2.json", "scored/val_gpt4_1.json", "two rounds of SEAL", "GPT-4.1's implications",
          force=True),
    Claim("continued_pretraining/cpt_base.json", "continued_pretraining/cpt_naive.json",
          "continued pretraining on implications (LoRA)", "on the passages alone"),
    Claim("v2/cpt200_fullft_base-implications.json", "v2/cpt200_fullft_passage.json",
          "full fine-tuning on implications, 200 passages", "on the passages alone"),
    Claim("v2/cpt200_fullft_entigraph-pairs.json", "v2/cpt200_fullft_passage.json",
          "full fine-tuning on EntiGraph pairs, 200 passages", "on the passages alone"),
    Claim("v2/cpt200_fullft_base-implications.json", "v2/cpt200_fullft_entigraph-pairs.json",
          "full fine-tuning on implications, 200 passages", "on EntiGraph pairs"),
    Claim("v2/cpt200_fullft_iter2.json", "v2/cpt200_fullft_gpt4_1.json",
          "SEAL in the second version's continued pretraining", "GPT-4.1's implications", force=True),
    Claim("v2/cpt200_ga_mistral.json", "v2/cpt200_ga_mistral.json#baseline",
          "the generative adapter over 200 passages in one context", "its own base model"),
)  # fmt: skip

START = (
    Claim("scored/val_iter1.json#baseline", "scored/val_base.json#baseline",
          "the answers before any update in SEAL's round-1 log", "in the base model's log", force=True),
)  # fmt: skip

CONTROL = (
    Claim("v2/n1_lora_prompt-none_base.json", "v2/n1_lora_prompt-none_base.json#baseline",
          "training on a free continuation of the passage (no prompt)", "no update"),
)  # fmt: skip


def page(data: Path) -> str:
    """The whole page as Markdown. Raises ``UsageError`` if a log that it needs is damaged."""
    parts: list[str] = [
        f"<!-- made by `{COMMAND}`; do not edit -->",
        "# What the published SEAL logs show, and what they do not",
        "",
        "SEAL (arXiv 2506.10943) publishes per-question answers and GPT-4.1 verdicts for part of its runs. Everything "
        "here is recomputed from those rows. Each statement is followed by the command that yields its figures, run in "
        "the folder of the logs (in the repository where it names `leaderboards/`). Scores and differences are points; "
        "intervals are 95%, clustered by passage. Every published arm is one sample and one training run, so intervals "
        "and verdicts cover the choice of passages only: run-to-run noise comes on top, and without "
        "`--accept-one-seed` no comparison here has a verdict.",
        "",
    ]
    for title, section in _SECTIONS:
        parts += [f"## {title}", "", *section(data), ""]
    return "\n".join(parts).rstrip() + "\n"


def _statement(text: str, command: str) -> list[str]:
    return [f"- {text}", "", f"      {command}", ""]


# --- the figures -----------------------------------------------------------------------------------------------------


def _figures(data: Path) -> list[str]:
    lines = [
        "| log | macro | micro | interval of the headline | no update (macro) | contexts | scored/expected | stated |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for path in _logs(data):
        one = replay(path)[0]
        stated = [value for name, value in one["stated"].items() if name.startswith("adapter") and value is not None]
        low, high = one["ci95"] or (None, None)
        spread = f"{_points(low)} to {_points(high)} ({one['average']})" if one["ci95"] else "–"
        said = f"{_points(stated[0])} ({one['average']})" if stated and one["scored"] else "–"
        lines.append(
            f"| {path.relative_to(data)} | {_points(one['macro'])} | {_points(one['micro'])} | "
            f"{spread} | {_points(one['baseline_macro'])} | "
            f"{one['n_contexts']} | {one['scored']}/{one['expected']} | {said} |"
        )
    proxy = data / "v2" / "train_proxy_round1.json"
    out = [*lines, "", *_command("harness replay seal scored/*.json continued_pretraining/*.json v2/*.json")]
    if proxy.exists():
        found = replay(proxy)[0]
        out += _statement(
            "The proxy-reward log states accuracies of 0.0 that were never measured; what was measured is a mean "
            f"proxy score of {found['proxy_mean']:.2f} of 20.",
            "harness replay seal v2/train_proxy_round1.json",
        )
    return out


def _command(text: str) -> list[str]:
    return [f"      {text}", ""]


def _logs(data: Path) -> list[Path]:
    return [
        path for folder in ("scored", "continued_pretraining", "v2") for path in sorted((data / folder).glob("*.json"))
    ]


# --- differences -----------------------------------------------------------------------------------------------------


def _claims(claims: Iterable[Claim]) -> Callable[[Path], list[str]]:
    def section(data: Path) -> list[str]:
        out, missing = [], []
        for claim in claims:
            if all((data / side.partition("#")[0]).exists() for side in (claim.a, claim.b)):
                out += _statement(_said(claim, _compared(data, claim)), claim.command)
            else:
                missing.append(claim)
        if missing:
            out += ["These comparisons are open, because the logs of one side are not in this folder:", ""]
        for claim in missing:
            out += _statement(f"{_first(claim.words_b)} against {claim.words_a}.", claim.command)
        return out

    return section


def _compared(data: Path, claim: Claim) -> Comparison:
    a, b = (open_source(str(data / side)) for side in (claim.a, claim.b))
    return compare(a, b, force=claim.force, accept_one_seed=True)


def _said(claim: Claim, found: Comparison) -> str:
    low, high = found.ci95 or (0.0, 0.0)
    verdict = {
        "better": "better beyond the choice of passages",
        "worse": "worse beyond the choice of passages",
    }.get(found.verdict, "within the choice of passages")
    text = (
        f"{_first(claim.words_b)} against {claim.words_a}: {_signed(found.difference)} "
        f"[{_signed(low)}, {_signed(high)}], **{verdict}** "
        f"({_points(found.score_b)} against {_points(found.score_a)}, {found.average}, "
        f"{found.n_queries} questions of {found.n_contexts} passages)."
    )
    if found.forced:
        text += f" Compared by force: {'; '.join(found.notes[: len(found.differing)])}."
    if found.needed is not None and found.needed.contexts:
        text += f" About {found.needed.contexts} passages would show a true difference of that size at 80% power."
    return text


# --- start models ----------------------------------------------------------------------------------------------------


def _start_models(data: Path) -> list[str]:
    rows = [(path, replay(path)[0]["start_model"]) for path in _logs(data)]
    known = [f"{path.name} ({model})" for path, model in rows if model]
    unknown = [path.name for path, model in rows if not model]
    out = _statement(
        f"The start model is recorded in {len(known)} of {len(rows)} logs here: {', '.join(known)}. It is not recorded "
        f"in {', '.join(unknown)}, so a difference between those may also be due to different start models.",
        "harness replay seal scored/*.json continued_pretraining/*.json v2/*.json --json",
    )
    out += _claims(START)(data)
    first, second = (open_source(str(data / side)) for side in (START[0].a, START[0].b))
    moved = sum(x != y for x, y in zip(first.row.scores[0], second.row.scores[0], strict=True))
    out += _statement(
        f"Before any update the two logs already disagree in {moved} of {len(first.row.scores[0])} verdicts; the "
        "published tables list the RL checkpoint as SEAL's start model, and Qwen2.5-7B as everyone else's.",
        f"{START[0].command} --flips",
    )
    return out + _statement(
        "In the second version's continued pretraining the SEAL arm starts from its RL checkpoint, whose own score was "
        "not measured on those questions; its rows are in a separate group.",
        "harness leaderboard show leaderboards/published/seal-cpt200-v2.json",
    )


# --- graders ---------------------------------------------------------------------------------------------------------


def _graders(data: Path) -> list[str]:
    paths = sorted((data / "scored").glob("*.json"))
    verdicts = read_verdicts(paths)
    arms = sorted((data / "scored").glob("val_*.json"))
    recorded = [read(path) for path in arms]
    columns: dict[str, list[ResultFile]] = {name: [read(path, load(name)) for path in arms] for name in JUDGES}
    lines = [
        "| arm (macro) | recorded GPT-4.1 | " + " | ".join(JUDGES) + " |",
        "|---|---|" + "---|" * len(JUDGES),
    ]
    for at, found in enumerate(recorded):
        for place, row in enumerate(found.rows):
            cells = [_mean(found, place), *(_mean(columns[name][at], place) for name in JUDGES)]
            lines.append(f"| {row.method} | " + " | ".join(_points(cell) for cell in cells) + " |")
    out = [*lines, "", *_command("harness replay seal scored/val_*.json --judge contains")]
    for name in JUDGES:
        one = calibrate(load(name), verdicts)
        turned = swaps(
            [
                RecordedAndJudged(row.method, _mean(ours, place), _mean(theirs, place))
                for ours, theirs in zip(recorded, columns[name], strict=True)
                for place, row in enumerate(ours.rows)
            ]
        )
        pairs = len(recorded) * 2 * (len(recorded) * 2 - 1) // 2
        out += _statement(
            f"`{name}` agrees with GPT-4.1 at kappa {one.all.kappa:.2f} [{one.all.interval.low:.2f}, "
            f"{one.all.interval.high:.2f}] over {one.all.n} distinct answers, and reverses the order of {len(turned)} "
            f"of {pairs} pairs of arms{_turned(turned)}.{_flattered(one)}",
            f"harness judge calibrate scored/*.json --judge {name}",
        )
    return out


def _flattered(found: Calibration) -> str:
    if not found.seen:
        return ""
    return f" Its fit saw the titles of {found.seen} of them; the next section leaves them out."


def _error(data: Path) -> list[str]:
    """The offline judges' bias by arm, and a weak judge's score corrected by some strong verdicts."""
    one, other = (json.loads(shipped_text(name)) for name in OFFLINE)
    arms, rest = one["error"]["by_arm"], other["error"]["by_arm"]
    lines = [f"| arm | {one['judge']} | {other['judge']} |", "|---|---|---|"]
    lines += [f"| {arm} | {100 * bias:+.1f} | {100 * rest[arm]:+.1f} |" for arm, bias in arms.items()]
    out = [
        "How many more (+) or fewer (-) answers than GPT-4.1 each judge accepts, micro, in points. Each arm is judged "
        "by fits that saw neither its answers nor the titles of the questions.",
        "",
        *lines,
        "",
    ]
    for made in (one, other):
        error, kept = made["error"], made["titles_left_out"]
        low, high = kept["kappa_ci95"]
        biases = list(error["by_arm"].values())
        held = sum(judge_error.covers(biases[:at] + biases[at + 1 :], bias) for at, bias in enumerate(biases))
        out += _statement(
            f"`{made['judge']}` agrees with GPT-4.1 at kappa {kept['kappa']:.3f} [{low:.3f}, {high:.3f}] over "
            f"{kept['n']} distinct answers whose titles its fits left out. Its bias is {100 * error['bias']:+.1f} "
            f"on average over {error['arms']} arms, with a standard deviation of {100 * error['spread']:.1f} between "
            f"them; the 95% range computed from the other arms covers the bias of {held} of {len(biases)} arms.",
            f"harness judge train scored/*.json continued_pretraining/*.json v2/*.json --judge {made['judge']}",
        )
    weak, strong = (open_source(str(data / CORRECTED), judge) for judge in (load(DEFAULT), None))
    full, few = (of_rows([(weak, strong)], labelled=count) for count in (0, LABELLED))
    return out + _statement(
        f"With GPT-4.1's verdicts on {few.labelled} of {few.contexts} passages of {CORRECTED}, `{DEFAULT}`'s "
        f"{_points(few.weak)} becomes {_points(few.value)} [{_points(few.interval.low)}, "
        f"{_points(few.interval.high)}]; those {few.labelled} alone give {_points(few.labels)} "
        f"[{_points(few.labels_interval.low)}, {_points(few.labels_interval.high)}], and all "
        f"{full.contexts} together {_points(full.labels)}.",
        f"harness judge correct {CORRECTED} {CORRECTED} --contexts {LABELLED}",
    )


def _turned(pairs: list[tuple[str, str]]) -> str:
    if not pairs:
        return ""
    ahead, instead = pairs[0]
    return f" (for one, it puts {instead} before {ahead})"


def _mean(found: ResultFile, place: int) -> float:
    return tables(found.task, found.rows[place]).mean


# --- the rest --------------------------------------------------------------------------------------------------------


def _contaminated(data: Path) -> list[str]:
    return _claims(CONTROL)(data) + _statement(
        "The printed no-prompt rows of rounds 1 and 2 are contaminated: the policy of round 1 was trained on edits of "
        "the 200 validation passages themselves. They are kept and marked, and say nothing about the effect of RL.",
        "harness leaderboard show leaderboards/published/seal-n1.json",
    )


def _reward(data: Path) -> list[str]:
    found = replay(data / "scored" / "train_iter0.json")[0]["reliability"]
    return _statement(
        f"Of the variance between the five candidates' rewards (means of three trials), "
        f"{100 * found['value']:.0f}% is not noise, interval [{100 * found['low']:.0f}, {100 * found['high']:.0f}]: "
        "which candidate was kept is mostly chance.",
        "harness replay seal scored/train_iter0.json",
    )


def _retention(data: Path) -> list[str]:
    folder = data / "continual"
    runs = sorted(folder.glob("run*.json"))
    found = pooled(runs)
    low, high = found["ci95"]
    loss, gain = found["backward_transfer_ci95"]
    out = _statement(
        f"After eight edits in a row the mean accuracy over the eight passages is {_points(found['final'])} "
        f"[{_points(low)}, {_points(high)}], {'below' if high < found['base'] else 'not beyond noise from'} the "
        f"{_points(found['base'])} of the model before any edit; accuracy on a passage just after its own edit is "
        f"{_points(found['learned'])}. Backward transfer {_signed(found['backward_transfer'])} "
        f"[{_signed(loss)}, {_signed(gain)}], over {found['seeds']} sequences.",
        "harness replay seal --pool continual/run*.json",
    )
    overall = retention.read_retention(folder / "overall.json")
    gap = retention.published_std_gap(overall, [retention.read_retention(path) for path in runs])
    return out + _statement(
        "The standard deviations in the overall file are means over runs, not pooled: they differ from the pooled "
        f"ones by up to {gap:.3f}.",
        "harness replay seal --pool continual/run*.json --json",
    )


_SECTIONS: tuple[tuple[str, Callable[[Path], list[str]]], ...] = (
    ("The printed figures can be recomputed", _figures),
    ("Which differences are beyond the choice of passages", _claims(NOISE)),
    ("Which arms start from different models", _start_models),
    ("How the ranking depends on the grader", _graders),
    ("How far the offline judges are off", _error),
    ("Which rows are contaminated or below no update", _contaminated),
    ("How much of the reward is signal", _reward),
    ("How much is retained after several edits", _retention),
)


def _points(value: Any) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:+.1f}"


def _first(text: str) -> str:
    return text[0].upper() + text[1:]
