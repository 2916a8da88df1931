"""What a published table would cost to run: GPU hours, money, disk and memory, estimated before anything is downloaded.

Work is counted from the resolved configuration and the table's ``size``; a model's shape and the hardware's peaks come
from ``hardware.toml``. A token costs 2 floating-point operations per weight to read, and 6 to train on. The estimate is
an upper bound where rows share work (equal updates, equal answers and their verdicts are made once), and it knows
nothing of loading and waiting.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from harness.errors import UsageError, nearest
from harness.models.prices import price_of
from harness.reading import parse_toml
from harness.registry.discover import Plugins
from harness.runs.config import Config, resolve
from harness.runs.layers import Arm
from harness.runs.plan import Sizes, Work, measuring, outer_loop
from harness.runs.spending import is_local
from harness_replay.reproduce.tables import Lengths, PublishedTable, Size

_JUDGED_IN, _JUDGED_OUT = 150, 2
"""Tokens of a judge's call, about."""
_MARKS = 30
"""Tokens of a judge's marks on an edit, about."""
_ASKED = 60
"""Tokens of a question with its instructions, and of an editor's instructions, about."""
_ACTIVATIONS = 34
"""Bytes of activations per token, layer and unit of width in bf16 training (Korthikanti et al., arXiv 2205.05198)."""
_LOGITS = 10
"""Bytes per entry of the logits: half precision, single precision, gradient."""
_GB = 1e9


@dataclass(frozen=True)
class ArmCost:
    """Floating-point operations of an arm for one seed, and its remote calls."""

    work: Work
    training: float = 0.0
    reading: float = 0.0
    decoding: float = 0.0
    judged: int = 0
    usd: float = 0.0
    """Of its remote editor and its reward's remote judge; below 0 where a price is not known."""


@dataclass(frozen=True)
class Estimate:
    """What a run would take. Money is None where a price is not known."""

    gpu: str
    gpu_hours: float
    gpu_usd: float
    judge_calls: int
    judge_usd: float | None
    editor_usd: float | None
    disk_gb: float
    memory_gb: float
    fits: bool
    """Whether one such GPU has the memory."""
    arms: Mapping[str, tuple[float, float]]
    """Arm -> its GPU hours, and the US dollars of its remote models, all seeds."""

    @property
    def usd(self) -> float | None:
        parts = (self.judge_usd, self.editor_usd)
        return None if None in parts else self.gpu_usd + sum(part for part in parts if part is not None)


@cache
def hardware() -> Mapping[str, Any]:
    where = "hardware.toml"
    return parse_toml(resources.files(__package__).joinpath(where).read_text("utf-8"), where)


def estimate(
    table: PublishedTable, given: Mapping[str, Any], plugins: Plugins, gpu: str = "h200", usd_per_hour: float = 0.0
) -> Estimate:
    """The cost of a run with this configuration.

    Raises:
        UsageError: a GPU or model of unknown size.
    """
    gpus = hardware()["gpu"]
    if gpu not in gpus:
        raise UsageError(f"no GPU {gpu!r}.{nearest(gpu, gpus)}")
    device = gpus[gpu]
    config = resolve(given, plugins)
    size = table.size
    contexts = min(config.options.limit or size.contexts, size.contexts)
    queries = round(size.queries * contexts / size.contexts)
    sizes = Sizes(contexts, queries, 10**6, size.train_queries, config.options.validation,
                  round(config.options.validation * size.train_queries))  # fmt: skip
    shared: set[str] = set()
    hours: dict[str, tuple[float, float]] = {}
    calls, editors = 0, 0.0
    unknown = False
    for arm in sorted(config.arms, key=lambda one: -_rounds(one)):
        one = _cost(arm, config, plugins, sizes, size, shared)
        reached = hardware()["reached"]
        seconds = (one.training + one.reading) / (device["tflops"] * 1e12 * reached["training"])
        seconds += one.decoding / (device["tflops"] * 1e12 * reached["decoding"])
        seeds = config.options.seeds
        hours[arm.method.name] = (seconds / 3600 * seeds, max(0.0, one.usd) * seeds)
        calls += one.judged * config.options.seeds
        unknown |= one.usd < 0
        editors += max(0.0, one.usd) * config.options.seeds
    total = sum(value for value, _ in hours.values())
    judge = next((t.get("judge", "") for t in (arm.slots.get("evaluator", {}) for arm in config.arms)), "")
    memory = max(_memory(arm, config) for arm in config.arms)
    return Estimate(
        gpu,
        total,
        total * (usd_per_hour or device["usd_per_hour"]),
        calls if judge.startswith("openai:") else 0,
        _judge_usd(judge, calls),
        None if unknown else editors,
        _disk(config),
        memory,
        memory <= device["memory_gb"],
        {arm.method.name: hours[arm.method.name] for arm in config.arms},
    )


def _cost(arm: Arm, config: Config, plugins: Plugins, sizes: Sizes, size: Size, shared: set[str]) -> ArmCost:
    texts = size.of(arm.method.name)
    measured, outer = measuring(arm, plugins, sizes), outer_loop(arm, config, plugins, sizes)
    loop = _loop_of(arm)
    if loop in shared:  # fewer rounds of a loop that another row runs: the same work
        outer = Work()
    elif outer.edits:
        shared.add(loop)
    work = measured + outer
    student = _shape(_model(arm, config, "student"))["billions"] * 1e9
    teacher_table = _model(arm, config, "teacher")
    local = is_local(plugins, teacher_table)
    writes = "trainer" in arm.slots and _writes(arm)
    training = (outer.updates if "cpt" in arm.protocol["use"] else work.updates) * _update_tokens(arm, texts, size)
    if arm.protocol["use"] == "cpt" and measured.updates:
        slot = arm.slots.get("cpt", arm.slots.get("updater", {}))
        sequences = sizes.contexts * ((texts.joint_sequences - 1) * arm.samples + 1)
        training += _epochs(slot) * sequences * _sequence_tokens(slot, texts, size)
    decoded, usd = work.answers * size.answer_tokens * 2 * student, 0.0
    if writes and local:
        decoded += work.edits * texts.edit_tokens * 2 * _shape(teacher_table)["billions"] * 1e9
    elif writes:
        price = price_of(str(teacher_table.get("path", "")))
        prompt = round(work.edits * (_ASKED + size.context_tokens))
        usd = price.usd(prompt, round(work.edits * texts.edit_tokens)) if price else -1.0
    marker = arm.roles.get("judge")
    if isinstance(marker, Mapping) and not is_local(plugins, marker) and outer.edits:
        price = price_of(str(marker.get("path", "")))
        read_by_it = round(outer.edits * (2 * _ASKED + size.context_tokens + texts.edit_tokens))
        usd = usd + price.usd(read_by_it, outer.edits * _MARKS) if price and usd >= 0 else -1.0
    read = work.answers * _ASKED * 2 * student + (work.edits * size.context_tokens * 2 * student if writes else 0)
    return ArmCost(work, training * 6 * student, read, decoded, work.answers, usd)


def _writes(arm: Arm) -> bool:
    """Whether an arm's edits are written by a model; those of the controls are the passage itself."""
    return arm.slots.get("editor", {}).get("use") not in (None, "passage", "at-hand", "passage-repeat")


def _rounds(arm: Arm) -> int:
    return int(arm.slots.get("trainer", {}).get("rounds", 0))


def _loop_of(arm: Arm) -> str:
    parts = {name: arm.slots.get(name) for name in ("editor", "reward", "policy", "updater")}
    return json.dumps([parts, dict(arm.roles)], sort_keys=True, default=str)


def _epochs(slot: Mapping[str, Any]) -> float:
    return float(slot.get("epochs", 1 if slot.get("use") == "full" else 10))


def _sequence_tokens(slot: Mapping[str, Any], texts: Lengths, size: Size) -> float:
    """Tokens of a sequence of a joint update, its padding included."""
    text = (texts.edit_tokens + size.context_tokens) / max(1.0, texts.joint_sequences)
    if slot.get("pad_loss") != "reference":
        return text + 1
    full = int(slot.get("max_length", 2048))
    return float(full) if slot.get("use") == "lora-reference" else min(full, text + int(slot.get("pad_nodes", 32)))


def _update_tokens(arm: Arm, texts: Lengths, size: Size) -> float:
    """Tokens, padding included, that an update on one edit is trained on."""
    slot = arm.slots.get("updater", {})
    sequences = texts.sequences if _writes(arm) else 1.0
    if slot.get("pad_loss") == "reference" and slot.get("use") == "lora-reference":
        return _epochs(slot) * sequences * int(slot.get("max_length", 2048))
    text = size.update_tokens or size.context_tokens + (texts.edit_tokens if _writes(arm) else 0)
    return _epochs(slot) * (text + 8 * sequences)


def _model(arm: Arm, config: Config, role: str) -> Mapping[str, Any]:
    who: Mapping[str, Any] | str = arm.roles.get(role, config.model)
    while isinstance(who, str):
        who = arm.roles.get(who.removeprefix("@"), config.model)
    return who


def _shape(table: Mapping[str, Any]) -> Mapping[str, float]:
    models = hardware()["model"]
    name = str(table.get("path") or table["use"])
    if name == "lab":
        return {"billions": 0.006, "layers": 6, "width": 256, "vocabulary": 4096}
    if name not in models:
        raise UsageError(f"the size of model {name!r} is not known here.{nearest(name, models)}")
    found: Mapping[str, float] = models[name]
    return found


def _judge_usd(judge: str, calls: int) -> float | None:
    if not judge.startswith("openai:"):
        return 0.0
    price = price_of(judge.removeprefix("openai:").partition("@")[0])
    return price.usd(calls * _JUDGED_IN, calls * _JUDGED_OUT) if price else None


def _memory(arm: Arm, config: Config) -> float:
    """Gigabytes on the GPU at the widest point: weights, optimiser, activations and logits of one batch."""
    shape = _shape(_model(arm, config, "student"))
    weights = 2 * shape["billions"]
    needed: float = weights
    for slot in arm.slots.values():
        if slot["kind"] != "updater" or slot["use"] not in ("lora", "lora-reference", "full"):
            continue
        # A fine-tune without padding is packed; 2,048 tokens stand for what it holds at once.
        tokens = int(slot.get("max_length", 2048)) * (
            int(slot.get("batch_size", 1)) if slot.get("pad_loss") == "reference" else 1
        )
        held = tokens * (shape["layers"] * shape["width"] * _ACTIVATIONS + shape["vocabulary"] * _LOGITS) / _GB
        optimiser = 4 * shape["billions"] if slot["use"] == "full" else 0.0
        needed = max(needed, weights + optimiser + held)
    remote = {id(who) for who in arm.roles.values() if not isinstance(who, str)}
    teacher = _model(arm, config, "teacher")
    beside = teacher is not _model(arm, config, "student") and len(remote) > 1 and "path" in teacher
    if beside and str(teacher["path"]) in hardware()["model"] and teacher != config.model:
        needed += 2 * _shape(teacher)["billions"]
    return needed


def _disk(config: Config) -> float:
    """Gigabytes: models as downloaded, and a whole model for every merged policy and every full fine-tune."""
    known = hardware()["model"]
    tables = [config.model, *(who for arm in config.arms for who in arm.roles.values() if not isinstance(who, str))]
    paths = {str(table.get("path", "")) for table in tables}
    total: float = sum(2 * known[path]["billions"] for path in paths if path in known)
    for arm in config.arms:
        whole = 2 * _shape(_model(arm, config, "student"))["billions"] * config.options.seeds
        total += whole * (_rounds(arm) > 1 and arm.slots.get("trainer", {}).get("start_as", "merge") == "merge")
        total += whole * (arm.protocol["use"] == "cpt" and arm.slots.get("cpt", {}).get("use") == "full")
        total += whole * (arm.protocol["use"] == "sequence" and arm.protocol.get("start_as") == "merge")
    return total + 1.0
