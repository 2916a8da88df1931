"""lm-eval's requests in this harness's terms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.api import Prompt, Request, State
from harness.errors import UsageError

_MAX_TOKENS = 256
"""lm-eval's default length of an answer."""


_TURNS = "\x00turns"
"""Begins a context that is a conversation; its turns follow as JSON."""


def conversation(messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
    """What lm-eval is given for a chat template: it keeps the turns, which the model's own template renders later.

    Raises:
        UsageError: the task begins the answer itself.
    """
    if not add_generation_prompt or messages[-1]["role"] == "assistant":
        raise UsageError("lm-eval: the task begins the answer itself (gen_prefix), which chat = true cannot do")
    return _TURNS + json.dumps([[one["role"], one["content"]] for one in messages])


def _prompt(context: str) -> Prompt:
    if not context.startswith(_TURNS):
        return context
    return tuple((role, text) for role, text in json.loads(context[len(_TURNS) :]))


def pair(arguments: Sequence[Any]) -> tuple[Prompt, str]:
    """Prompt and continuation of a request; spaces at a raw prompt's end belong to the continuation, as in lm-eval.

    A request for a whole text (``loglikelihood_rolling``) has an empty prompt.
    """
    if len(arguments) == 1:
        return "", str(arguments[0])
    context, continuation = str(arguments[0]), str(arguments[1])
    if not isinstance(prompt := _prompt(context), str):
        return prompt, continuation
    kept = context.rstrip()
    return (kept, context[len(kept) :] + continuation) if kept else ("", context + continuation)


def generation(arguments: Sequence[Any], state: State, seed: int, samples: int = 1) -> Request:
    """A request ``generate_until``.

    Raises:
        UsageError: it has a setting that models here do not have.
    """
    prompt, settings = _prompt(str(arguments[0])), dict(arguments[1])
    until = settings.pop("until", None) or ()
    stop = (until,) if isinstance(until, str) else tuple(until)
    sampled = bool(settings.pop("do_sample", False))
    temperature = float(settings.pop("temperature", 1.0 if sampled else 0.0) or 0.0) if sampled else 0.0
    top_p = float(settings.pop("top_p", 1.0)) if sampled else 1.0
    tokens = int(settings.pop("max_gen_toks", settings.pop("max_new_tokens", _MAX_TOKENS)))
    for name in ("temperature", "top_p", "max_new_tokens", "num_beams"):
        if name != "num_beams" or settings.get(name) == 1:
            settings.pop(name, None)
    if settings:
        raise UsageError(f"lm-eval: generation setting {next(iter(settings))!r} is not one that models here have")
    return Request(
        state,
        prompt,
        n=samples if sampled else 1,
        temperature=temperature,
        top_p=top_p,
        max_tokens=tokens,
        stop=tuple(text for text in stop if text),
        seed=seed,
    )
