"""Under which conditions a published log was made: what it records, and where it is silent what the paper states.

SEAL's paper (arXiv 2506.10943) states one base model for each experiment, and which runs depart from it. Its logs name
themselves by their data set and experiment, and that is what they are told apart by; a log that is none of those keeps
its conditions unknown. ``None`` is unknown. How the answers were decoded is stated nowhere but in the logs of full
fine-tuning, so it stays unknown for all others, save where the answers themselves are longer than 64 tokens can be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

KNOWLEDGE_BASE = "Qwen2.5-7B"
SMALL_BASE = "Qwen2.5-3B"
ADAPTER_BASE = "Mistral-7B-Instruct-v0.2"
ABSTRACTION_BASE = "Llama-3.2-1B-Instruct"

QUESTION = "question alone"
REASONING = "reasoning, then a final answer"
CHAT = "chat template"

LONG = "more than 64 tokens"
SHORT_ANSWER = 640
"""Characters that 64 tokens do not exceed: 512 is the longest of all answers that are known to have 64 at most."""

_DATA = re.compile(
    r"data/synthetic_data/(?:(?P<size>3B)/)?(?:train|eval|eval_full)/(?:.*/)?(?P<who>\w+?)(?:_[^/]*)?\.json$"
)
_WHO = re.compile(r"base|naive|gpt4_1|gpt4|openai|iter\d")


@dataclass(frozen=True)
class Conditions:
    """What a log's rows were made under; every field may be unknown (None)."""

    base_model: str | None = None
    start_model: str | None = None
    """What the updates start from: the base model, or a policy trained from it."""
    decoding: str | None = None
    prompt: str | None = None
    """How questions are put."""


def of_log(raw: Mapping[str, Any], answers: Iterable[str]) -> Conditions:
    """The conditions of a knowledge-incorporation log, from its own fields and its answers' lengths."""
    experiment = str(raw.get("exp_name") or "")
    recorded = _short(str(raw["model"])) if isinstance(raw.get("args"), Mapping) and raw.get("model") else None
    decoding = _decoding(raw.get("args") or {})
    long = max(map(len, answers), default=0) > SHORT_ANSWER
    if long and decoding is None:
        decoding = LONG
    if _is_adapter(experiment, recorded):
        return Conditions(ADAPTER_BASE, recorded or ADAPTER_BASE, decoding, CHAT)
    base, starts_there = _by_data(str(raw.get("dataset") or ""))
    prompt = QUESTION if base else None
    if "cot" in experiment.split("_"):
        prompt = REASONING
    elif long:
        prompt = None
    if recorded is not None and not recorded.startswith("iter"):
        base = recorded
    return Conditions(base, recorded or (base if starts_there else None), decoding, prompt)


def of_abstraction() -> Conditions:
    """The few-shot logs record nothing; the paper states their base model."""
    return Conditions(base_model=ABSTRACTION_BASE)


def _is_adapter(experiment: str, recorded: str | None) -> bool:
    return "ga" in experiment.split("_") or (recorded or "").startswith("Generative-Adapter")


def _by_data(path: str) -> tuple[str | None, bool]:
    """The base model of the edits' data set, and whether updates start from it as far as is known.

    Edits that a trained policy wrote (``iter1``, ``iter2``) are silent about what was then updated.
    """
    found = _DATA.search(path)
    if not found:
        return None, False
    stem = path.rsplit("/", 1)[-1]
    who = _WHO.match(stem)
    if not who:
        return None, False
    base = SMALL_BASE if found["size"] else KNOWLEDGE_BASE
    return base, not re.fullmatch(r"iter[1-9]", who.group())


def _decoding(args: Mapping[str, Any]) -> str | None:
    """In words, where the log records its settings."""
    if "eval_temperature" not in args or "eval_max_tokens" not in args:
        return None
    heat = float(args["eval_temperature"])
    how = "greedy" if heat == 0 else f"temperature {heat:g}, top-p {float(args.get('eval_top_p', 1)):g}"
    stop = ", to the end of the line" if args.get("stop") in ("\\n", "\n") else ""
    return f"{how}, {int(args['eval_max_tokens'])} tokens{stop}"


def _short(model: str) -> str:
    """A model's name without the account that publishes it, or the folder that it lies in."""
    return model.rsplit("/", 1)[-1]
