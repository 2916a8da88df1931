"""Loads a checkpoint's tokenizer and weights, with errors that a user can act on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch

from harness.engine import Engine, MemoryPlan
from harness.engine.split import device_map
from harness.errors import UsageError
from harness.models.checkpoint import Checkpoint
from harness.models.prompts import PromptEncoder

if TYPE_CHECKING:
    from harness.models.hf_settings import HfSettings

_log = logging.getLogger("harness")
_SMALL = 100_000_000
"""Models with fewer parameters are slower with a second CPU thread (measured: small operators dominate)."""


def load_prompts(checkpoint: Checkpoint, settings: HfSettings) -> PromptEncoder:
    """The prompt encoder of a checkpoint: its tokenizer, chat template and end-of-text ids.

    Raises:
        UsageError: the tokenizer cannot be loaded, or neither it nor the configuration has an end-of-text id.
    """
    # Not at the top: models take transformers two seconds more to import, which a driver of workers need not wait for.
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(checkpoint.folder), trust_remote_code=settings.trust_remote_code, local_files_only=True
        )
    except Exception as error:  # tokenizers raise anything from KeyError to their own Rust exceptions
        raise UsageError(f"model {checkpoint.name!r}: its tokenizer cannot be loaded: {_line(error)}") from error
    ends: set[int] = set()
    for value in (checkpoint.generation.get("eos_token_id"), checkpoint.config.get("eos_token_id")):
        ends |= set(value) if isinstance(value, list) else {value} if isinstance(value, int) else set()
    if tokenizer.eos_token_id is not None:
        ends.add(int(tokenizer.eos_token_id))
    if not ends:
        raise UsageError(f"model {checkpoint.name!r}: neither config.json nor the tokenizer names an eos_token_id")
    return PromptEncoder(tokenizer, ends, checkpoint.name, today=settings.today, thinking=settings.thinking)


def devices_of(settings: HfSettings) -> list[str]:
    """The GPUs that the setting ``device_map`` names; none where it names none.

    Raises:
        UsageError: it is not a list of GPUs, they are not there, or ``device`` is set as well.
    """
    asked, count = settings.device_map, torch.cuda.device_count()
    if not asked:
        return []
    kind, _, numbers = asked.partition(":")
    listed = numbers.split(",")
    if asked != "auto" and not (kind == "cuda" and all(map(str.isdecimal, listed)) and len({*listed}) > 1):
        raise UsageError(f"model hf: device_map {asked!r}: write auto (all GPUs) or cuda:0,1 (these; two at least)")
    if settings.device != "auto":
        raise UsageError(
            f"model hf: device_map ({asked}) says where the model lies, so device ({settings.device}) cannot; workers "
            "(--devices) have a device each, and no divided model"
        )
    devices = [f"cuda:{i}" for i in (range(count) if asked == "auto" else map(int, listed))]
    if asked == "auto" and count < 2:
        raise UsageError(f"model hf: device_map auto divides a model among GPUs, and torch sees {count} of them")
    if absent := [device for device in devices if int(device.partition(":")[2]) >= count]:
        raise UsageError(f"model hf: device_map {asked!r}: there is no {absent[0]}; torch sees {count} GPUs")
    return devices


def load_engine(
    checkpoint: Checkpoint, settings: HfSettings, device: str, dtype: str, prompts: PromptEncoder
) -> Engine:
    """An engine with the checkpoint's weights on ``device``, or on those of the setting ``device_map``.

    Raises:
        UsageError: the model cannot be loaded, the engine cannot run it, or it does not fit on the device.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
    from transformers.utils import logging as their_logging

    their_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # the run shows its own progress
    options: dict[str, Any] = {}
    try:
        if devices := devices_of(settings):
            config = AutoConfig.from_pretrained(
                str(checkpoint.folder), trust_remote_code=settings.trust_remote_code, local_files_only=True
            )
            with torch.device("meta"):
                kind: Any = AutoModelForCausalLM
                empty = kind.from_config(config, trust_remote_code=settings.trust_remote_code)
            options["device_map"] = device_map(empty, devices)
        model = AutoModelForCausalLM.from_pretrained(
            str(checkpoint.folder),
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=settings.trust_remote_code,
            local_files_only=True,
            **options,
        )
    except UsageError:
        raise
    except Exception as error:  # transformers raises anything, from ValueError to safetensors' own exceptions
        raise UsageError(f"model {checkpoint.name!r} cannot be loaded: {_line(error)}") from error
    assert isinstance(model, PreTrainedModel)
    if device == "cpu":
        _set_threads(settings.threads, model.num_parameters())
    pad = prompts.tokenizer.pad_token_id
    try:
        if not options:
            model.to(device)  # type: ignore[arg-type]
        if getattr(model.config, "attn_logit_softcapping", None) is not None:
            _log.info(
                "model %r caps the logits of its attention, which no fused kernel computes: slower", checkpoint.name
            )
        plan = MemoryPlan.from_json({**settings.memory}) if settings.memory else None
        return Engine(
            model,
            eos_token_ids=prompts.eos_token_ids,
            pad_token_id=pad if pad is not None else min(prompts.eos_token_ids),
            plan=plan,
        )
    except torch.OutOfMemoryError as error:
        raise UsageError(
            f"model {checkpoint.name!r} does not fit on {settings.device_map or device} as {dtype}; use a smaller "
            "model, another dtype, or more GPUs (device_map)"
        ) from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"model {checkpoint.name!r}: {_line(error)}") from error


def _set_threads(threads: int, parameters: int) -> None:
    if threads > 0:
        torch.set_num_threads(threads)
    elif parameters < _SMALL:
        torch.set_num_threads(1)


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
