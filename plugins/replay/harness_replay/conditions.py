"""The conditions under which a published log was made: those it records, and otherwise those that the paper states.

SEAL's paper (arXiv 2506.10943) states one base model for each experiment, and which runs depart from it. Its logs are
recognised by the data set and the experiment that they name; the conditions of any other log are unknown (``None``).
Only the logs of full fine-tuning state how answers were decoded, so decoding is unknown for all others, unless the
answers are longer than 64 tokens can be.
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
"""Characters that 64 tokens do not exceed: of all answers known to have at most 64 tokens, the longest has 512."""

_DATA = re.compile(
    r"data/synthetic_data/(?:(?P<size>3B)/)?(?:train|eval|eval_full)/(?:.*/)?(?P<who>\w+?)(?:_[^/]*)?\.json$"
)
_WHO = re.compile(r"base|naive|gpt4_1|gpt4|openai|iter\d")


@dataclass(frozen=True)
class Conditions:
    """The conditions of a log's rows; every field may be unknown (None)."""

    base_model: str | None = None
    start_model: str | None = None
    """What the updates start from: the base model, or a policy trained from it."""
    decoding: str | None = None
    prompt: str | None = None
    """How questions are asked."""


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
    """The base model of the edits' data set, and whether updates are known to start from it.

    Edits that a trained policy wrote (``iter1``, ``iter2``) do not say which model was then updated.
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
    """The decoding in words, if the log records its settings."""
    if "eval_temperature" not in args or "eval_max_tokens" not in args:
        return None
    temperature = float(args["eval_temperature"])
    how = "greedy" if temperature == 0 else f"temperature {temperature:g}, top-p {float(args.get('eval_top_p', 1)):g}"
    stop = ", to the end of the line" if args.get("stop") in ("\\n", "\n") else ""
    return f"{how}, {int(args['eval_max_tokens'])} tokens{stop}"


def _short(model: str) -> str:
    """A model's name without its account or folder."""
    return model.rsplit("/", 1)[-1]
